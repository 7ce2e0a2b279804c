"""SOFARPC's layout in ZooKeeper: ``<root>/<interface>/providers/<URL>``; pure.

The URL is ``bolt://ip:port/?version=1.0&uniqueId=...&weight=100&startTime=...&appName=...``. A service is interface and
``uniqueId``; a process that was restarted stands twice for a while, on the same socket, which is one endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus_mcp_bridge.errors import HostNameError
from isthmus_mcp_bridge.model import EndpointClaim, Presence, WarmUp
from isthmus_mcp_bridge.registries.book import Entry, Provider
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, checked_url, handed_on_by, labels_of
from isthmus_mcp_bridge.registries.families import SCHEMES, service_port
from isthmus_mcp_bridge.registries.naming import NamingRule, name_service, service_name
from isthmus_mcp_bridge.registries.zookeeper.directory import InterfaceNodes

MAX_WEIGHT = 1_000_000
MAX_DIGITS = 15


def read_sofarpc(nodes: InterfaceNodes, rule: NamingRule, ports: Mapping[str, int], registry: str) -> Entry:
    """Read one interface; a node that cannot be used is a problem of the entry."""
    source = PathSource(registry, nodes.path)
    providers, problems = [], []
    for node in sorted(nodes.providers.names):
        try:
            url = checked_url(parse_node_name(node))
            providers.append(sofa_provider(url, nodes.interface, f"{nodes.path}/providers/{node}", rule, ports))
        except (NodeError, HostNameError) as error:
            problems.append(source.problem("providers", node, f"{error}; the node is left out"))
    age, created_ms = nodes.providers.czxid, nodes.providers.ctime_ms
    return Entry(tuple(providers), tuple(problems), age, created_ms, nodes.providers.revision)


def sofa_provider(url: DubboUrl, interface: str, raw_id: str, rule: NamingRule, ports: Mapping[str, int]) -> Provider:
    """One of SOFARPC's addresses as a provider. Raises HostNameError."""
    unique = url.get("uniqueId")
    naming = name_service(rule, interface, unique, "")
    port = service_port(SCHEMES[url.scheme], {**ports, **naming.ports})
    weight = _number(url, "weight") if url.get("weight") else _number(url, "_WEIGHT") if url.get("_WEIGHT") else None
    off = weight == 0 or url.get("dynamic") == "false"
    labels, raw_labels = labels_of(url, dropped=("uniqueId", "version"))
    endpoint = EndpointClaim(
        service_port=port.name,
        address=url.host,
        port=url.port,
        raw_id=raw_id,
        presence=Presence.OFFLINE if off else Presence.UP,
        weight=min(weight, MAX_WEIGHT) if weight else None,
        labels=labels,
        warm_up=_warm_up(url, weight),
        path=handed_on_by(url),
    )
    return Provider(naming, service_name(interface, unique, ""), port, endpoint, raw_labels)


def _warm_up(url: DubboUrl, weight: int | None) -> WarmUp | None:
    """``warmupWeight`` counts for ``warmupTime`` ms after ``startTime``; published as growing from the one to the other."""
    started, duration, first = (_number(url, name) for name in ("startTime", "warmupTime", "warmupWeight"))
    if not started or not duration or not first:
        return None
    return WarmUp(started, duration, max(1, min(100, first * 100 // (weight or 100))))


def _number(url: DubboUrl, name: str) -> int:
    text = url.get(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0
