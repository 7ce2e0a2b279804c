"""Dubbo 3's application-level layout in ZooKeeper.

``/services/<app>/<ip:port>`` holds Curator's JSON of an instance. Which interfaces it serves stands in
``/dubbo/metadata/<app>/<revision>``; where the metadata is kept in the application itself (``storage-type`` local), only
``/dubbo/mapping/<interface>`` says which applications serve an interface, without group and version.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from isthmus_mcp_bridge.catalog.istio_rules import is_ip
from isthmus_mcp_bridge.errors import HostNameError, shorten
from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import EndpointClaim, Presence
from isthmus_mcp_bridge.registries.book import Entry, Provider
from isthmus_mcp_bridge.registries.families import SCHEMES, service_port
from isthmus_mcp_bridge.registries.labels import mended_labels
from isthmus_mcp_bridge.registries.naming import NO_VERSIONS, NamingRule, name_service, service_name
from isthmus_mcp_bridge.registries.zookeeper.client import NO_CHILDREN, ZooKeeperClient
from isthmus_mcp_bridge.registries.zookeeper.directory import InterfaceNodes

MAX_MAPPED = 10_000
"""Interfaces of which the mapping is read for an application whose metadata is elsewhere."""
INTERNAL = frozenset({"org.apache.dubbo.metadata.MetadataService", "org.apache.dubbo.metadata.MetadataServiceV2"})
"""What every Dubbo application serves to its own framework."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Service:
    """One interface of an application, and the scheme and port that it is served by (0: whatever the instance has)."""

    interface: str
    group: str = ""
    version: str = ""
    scheme: str = ""
    port: int = 0


class ApplicationFetch:
    """Reads one application with all that belongs to it."""

    def __init__(self, dubbo_root: str, services: str) -> None:
        """``dubbo_root`` is where ``metadata`` and ``mapping`` are, ``services`` where the applications are."""
        self._services = services.rstrip("/")
        self._root = dubbo_root.rstrip("/")

    def owner(self, path: str) -> str | None:
        """The application whose metadata a path holds."""
        head, _, rest = path.partition(f"{self._root}/metadata/")
        app = rest.partition("/")[0]
        return f"{self._services}/{app}" if not head and app else None

    async def __call__(self, client: ZooKeeperClient, path: str) -> InterfaceNodes:
        """Read ``/services/<app>``. Raises ZooKeeperFault."""
        app = path.rpartition("/")[2]
        instances = await client.children(path) or NO_CHILDREN
        data: dict[str, bytes] = {}
        revisions: set[str] = set()
        local = False
        for name in sorted(instances.names):
            found = await client.data(f"{path}/{name}")
            if found is not None:
                data[name] = found
                metadata = _metadata(found)
                revision = metadata.get("dubbo.metadata.revision", "")
                local = local or metadata.get("dubbo.metadata.storage-type") != "remote"
                if revision and "/" not in revision:
                    revisions.add(revision)
        for revision in sorted(revisions):
            found = await client.data(f"{self._root}/metadata/{app}/{revision}")
            if found is not None:
                data[f"metadata/{revision}"] = found
        if local:
            data |= await self._mapped(client, unquote_plus(app))
        return InterfaceNodes(unquote_plus(app), path, instances, data=data)

    async def _mapped(self, client: ZooKeeperClient, app: str) -> dict[str, bytes]:
        """The interfaces that are mapped to the application."""
        found: dict[str, bytes] = {}
        names = await client.children(f"{self._root}/mapping") or NO_CHILDREN
        for name in sorted(names.names)[:MAX_MAPPED]:
            apps = await client.data(f"{self._root}/mapping/{name}") or b""
            if app in apps.decode(errors="replace").split(","):
                found[f"mapping/{name}"] = apps
        return found


def read_application(nodes: InterfaceNodes, rule: NamingRule, ports: Mapping[str, int], registry: str) -> Entry:
    """The services of an application; what cannot be used is a problem of the entry."""
    providers, problems = [], []
    mapped = [
        _Service(unquote_plus(name.removeprefix("mapping/"))) for name in nodes.data if name.startswith("mapping/")
    ]
    for name, data in nodes.data.items():
        if "/" in name:
            continue
        try:
            providers += _providers(nodes, name, data, mapped, rule, ports)
        except (ValueError, KeyError, TypeError, AttributeError, HostNameError) as error:
            text = f"is no instance that can be used ({error}); it is left out"
            problems.append(
                Problem(registry, f"{nodes.path}/{name}", shorten(data.decode(errors="replace"), 300), text)
            )
    age, created_ms = nodes.providers.czxid, nodes.providers.ctime_ms
    return Entry(tuple(providers), tuple(problems), age, created_ms, nodes.providers.revision)


def _providers(
    nodes: InterfaceNodes, name: str, data: bytes, mapped: list[_Service], rule: NamingRule, ports: Mapping[str, int]
) -> list[Provider]:
    """One instance, once for each interface that it serves."""
    instance = json.loads(data)
    address = str(instance["address"])
    if not is_ip(address):
        raise ValueError(f"the address {address[:80]!r} is not an IP address")
    metadata = _metadata(data)
    endpoints = {one["protocol"]: int(one["port"]) for one in json.loads(metadata.get("dubbo.endpoints") or "[]")}
    endpoints = endpoints or {"dubbo": int(instance["port"])}
    revision = metadata.get("dubbo.metadata.revision", "")
    stored = nodes.data.get(f"metadata/{revision}")
    services = [*_stored(stored)] if stored is not None else mapped
    labels, raw_labels = mended_labels(
        (key, value) for key, value in metadata.items() if not key.startswith(("dubbo.", "meta-v", "timestamp"))
    )
    found = []
    for service in services:
        for scheme, port in endpoints.items():
            if scheme not in SCHEMES or (service.scheme and service.scheme != scheme):
                continue
            naming = name_service(rule, service.interface, service.group, service.version)
            at = service_port(SCHEMES[scheme], {**ports, **naming.ports})
            own = tuple(
                sorted({**dict(labels), "app": dict(mended_labels([("app", nodes.interface)])[0])["app"]}.items())
            )
            endpoint = EndpointClaim(
                at.name, address, service.port or port, f"{nodes.path}/{name}", presence=_presence(metadata),
                weight=_weight(metadata), labels=own,
            )  # fmt: skip
            raw = service_name(service.interface, service.group, service.version)
            found.append(Provider(naming, raw, at, endpoint, raw_labels))
    return found


def _stored(data: bytes) -> Iterator[_Service]:
    """The interfaces in stored metadata. Raises ValueError and its like when it is none."""
    for one in json.loads(data)["services"].values():
        version = str(one.get("version") or "")
        if one["name"] not in INTERNAL:
            yield _Service(
                str(one["name"]), str(one.get("group") or ""), "" if version in NO_VERSIONS else version,
                str(one.get("protocol") or ""), int(one.get("port") or 0),
            )  # fmt: skip


def _metadata(data: bytes) -> dict[str, str]:
    """The instance's metadata, as far as it can be read."""
    try:
        found: Any = json.loads(data)["payload"]["metadata"]
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _presence(metadata: Mapping[str, str]) -> Presence:
    off = metadata.get("enabled") == "false" or metadata.get("disabled") == "true" or _weight(metadata) == 0
    return Presence.OFFLINE if off else Presence.UP


def _weight(metadata: Mapping[str, str]) -> int | None:
    text = metadata.get("weight", "")
    return min(int(text), 1_000_000) or None if text.isascii() and text.isdigit() and len(text) < 10 else None
