"""Names and instance lists of Nacos as entries of the book; pure.

The layouts of SDKs on Nacos are known: Dubbo's ``providers:INTERFACE:VERSION:GROUP`` (consumers register too and are passed
over), SOFARPC's ``INTERFACE[:UNIQUE_ID]:DEFAULT``, and plain names.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import ORDINARY_WEIGHT, Presence
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.instances import Instance, Plain, read_instances, values

DEFAULT_GROUP = "DEFAULT_GROUP"
SEPARATOR = "@@"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class NacosName:
    """A service in one namespace of Nacos."""

    group: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}{SEPARATOR}{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What a service's name says: its parts by the rule for hosts, and the scheme where the instances name none."""

    interface: str
    group: str
    version: str
    scheme: str


def parse_name(text: str, group: str) -> NacosName:
    """A name as Nacos lists it, with or without its group."""
    head, separator, tail = text.partition(SEPARATOR)
    return NacosName(head, tail) if separator else NacosName(group, text)


def parts_of(name: NacosName, scheme: str) -> Parts | None:
    """What the name says; None for a consumer's entry."""
    if name.name.startswith(("consumers:", "routers:", "configurators:")):
        return None
    if name.name.startswith("providers:"):
        _, interface, version, group = [*name.name.split(":"), "", "", ""][:4]
        return Parts(interface, group, version, "dubbo")
    group = "" if name.group == DEFAULT_GROUP else name.group
    interface, _, protocol = name.name.rpartition(":")
    if protocol == "DEFAULT" and interface:
        interface, _, unique = interface.partition(":")
        return Parts(interface, "-".join(part for part in (group, unique) if part), "", "bolt")
    return Parts(name.name, group, "", scheme)


def read_service(how: Plain, name: NacosName, info: Any) -> Entry | None:
    """The entry of one service from its ServiceInfo; None for a consumer's. Raises RegistryFault."""
    parts = parts_of(name, how.scheme)
    if parts is None:
        return None
    if not isinstance(info, dict) or not isinstance(info.get("hosts"), list):
        raise RegistryFault(f"Nacos answers about {name} without hosts")
    doubted = info.get("reachProtectionThreshold") is True
    instances, problems = [], []
    for one in info["hosts"]:
        try:
            instances.append(_instance(one, doubted))
        except (KeyError, TypeError, ValueError) as error:
            message = f"is not an instance ({type(error).__name__} {error}); it is left out"
            problems.append(Problem(how.registry, str(name), str(one)[:300], message))
    reading = dataclasses.replace(how, scheme=parts.scheme)
    providers, more = read_instances(reading, str(name), parts.interface, parts.group, parts.version, instances)
    revision = f"{info.get('lastRefTime', '')} {info.get('checksum', '')}".strip()
    return Entry(tuple(providers), (*problems, *more), revision=revision)


def _instance(one: Any, doubted: bool) -> Instance:
    """``doubted``: so many are unhealthy that Nacos says all are healthy (its protection threshold)."""
    up = Presence.DOUBTED if doubted else Presence.UP
    presence = up if one.get("healthy", True) else Presence.UNHEALTHY
    weight = float(one.get("weight", 1.0)) * ORDINARY_WEIGHT
    return Instance(
        address=str(one["ip"]),
        port=int(one["port"]),
        raw_id=str(one.get("instanceId") or f"{one['ip']}#{one['port']}"),
        presence=presence if one.get("enabled", True) else Presence.OFFLINE,
        weight=max(1.0, weight) if weight > 0 else 0,
        metadata=values(one.get("metadata")) | ({"cluster": one["clusterName"]} if one.get("clusterName") else {}),
    )
