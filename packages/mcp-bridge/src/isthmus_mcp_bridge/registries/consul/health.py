"""Consul's health entries of one service as an entry of the book; pure."""

from __future__ import annotations

from typing import Any

from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import ORDINARY_WEIGHT, Presence
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, read_providers
from isthmus_mcp_bridge.registries.dubbo.url_text import encode_url
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.instances import Instance, Plain, read_instances, values

DUBBO_TAG = "dubbo"
_MAINTENANCE = ("_node_maintenance", "_service_maintenance")


def read_health(how: Plain, name: str, found: Any) -> Entry:
    """The entry of one service from ``/v1/health/service/NAME``. Raises RegistryFault when it is something else."""
    if not isinstance(found, list):
        raise RegistryFault(f"/v1/health/service/{name}: the answer is not a list")
    instances, urls, problems, age = [], [], [], 0
    for one in found:
        try:
            service = one["Service"]
            created = int(service.get("CreateIndex") or 0)
            age = min(age or created, created)
            url = service.get("Meta", {}).get("url") if service.get("Meta") else None
            if url and DUBBO_TAG in (service.get("Tags") or ()):
                urls.append(encode_url(url, disabled=_presence(one["Checks"]) is not Presence.UP))
            else:
                instances.append(_instance(one, service))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"is not a health entry ({type(error).__name__} {error}); it is left out"
            problems.append(Problem(how.registry, name, str(one)[:300], message))
    providers, more = read_instances(how, name, name, "", "", instances)
    dubbo, faulty = read_providers(PathSource(how.registry, name), name, urls, (), how.rule, how.ports)
    return Entry((*providers, *dubbo), (*problems, *more, *faulty), age)


def _instance(one: Any, service: Any) -> Instance:
    presence, node = _presence(one["Checks"]), one["Node"]
    warning = presence is Presence.UP and any(check["Status"] == "warning" for check in one["Checks"])
    weights = service.get("Weights") or {}
    weight = weights.get("Warning" if warning else "Passing", 1)
    tags = {f"tag-{tag}": "true" for tag in service.get("Tags") or () if "=" not in tag}
    tags |= dict(tag.split("=", 1) for tag in service.get("Tags") or () if "=" in tag)
    return Instance(
        address=service["Address"] or node["Address"],
        port=service["Port"],
        raw_id=f"{node['Node']}/{service['ID']}",
        presence=presence,
        weight=weight * ORDINARY_WEIGHT,
        metadata=tags | values(service.get("Meta") or {}),
        locality=node.get("Datacenter") or "",
    )


def _presence(checks: Any) -> Presence:
    """Maintenance is somebody's will; a critical check is a finding."""
    if any(check["CheckID"].startswith(_MAINTENANCE) for check in checks):
        return Presence.OFFLINE
    return Presence.UNHEALTHY if any(check["Status"] == "critical" for check in checks) else Presence.UP
