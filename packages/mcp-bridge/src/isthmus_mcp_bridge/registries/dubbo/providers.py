"""Turns one interface's nodes into claims. Pure: node names in, named claims and problems out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from isthmus_mcp_bridge.catalog.istio_rules import is_ip
from isthmus_mcp_bridge.errors import HostNameError, shorten
from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import EndpointClaim, Labels, Presence, WarmUp
from isthmus_mcp_bridge.registries.book import Provider
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.overrides import (
    Override,
    apply_overrides,
    as_registered,
    in_order,
    parse_override,
)
from isthmus_mcp_bridge.registries.families import SCHEMES, service_port
from isthmus_mcp_bridge.registries.labels import mended_labels
from isthmus_mcp_bridge.registries.naming import (
    NO_VERSIONS,
    NamingRule,
    name_service,
    service_name,
)

MAX_WEIGHT = 1_000_000
MAX_DIGITS = 15
FIRST_PERCENT = 1


_TECHNICAL = frozenset({
    "accepts", "anyhost", "background", "bind.ip", "bind.port", "category", "check", "codec", "deprecated", "delay",
    "disabled", "dubbo", "dynamic", "enabled", "executor-management-mode", "file-cache", "generic", "heartbeat", "id",
    "interface", "ipv6", "language", "loadbalance", "methods", "metadata-type", "monitor", "owner", "path", "payload",
    "pid", "prefer.serialization", "protocol", "qos.enable", "qos.port", "register", "register-mode", "release",
    "retries", "revision", "rpcVer", "scope", "serialization", "server", "service-name-mapping", "service.name",
    "side", "startTime", "stub", "threads", "threadpool", "timeout", "timestamp", "token", "uptime", "warmup", "weight",
})  # fmt: skip
"""Parameters that concern the SDK or one process and would only make labels differ (``token`` is a secret)."""
MARKS = "isthmus."
"""What the names of the marks begin with that bridges put on entries that they write."""
MAX_PATH = 32
_RENAMED = {"application": "app", "appName": "app"}


@dataclasses.dataclass(frozen=True, slots=True)
class PathSource:
    """Where nodes come from, for problems: the registry's name and the interface's path in ZooKeeper."""

    registry: str
    path: str

    def problem(self, folder: str, node: str, message: str) -> Problem:
        """A problem with one node of the interface."""
        return Problem(self.registry, f"{self.path}/{folder}", shorten(node, 300), message)


def read_overrides(source: PathSource, interface: str, nodes: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """The configurators of an interface in the order in which they apply, and the nodes that are none."""
    overrides, problems = [], []
    for node in sorted(nodes):
        try:
            override = parse_override(node, interface)
        except NodeError as error:
            problems.append(source.problem("configurators", node, str(error)))
            continue
        if override is not None:
            overrides.append(override)
    return in_order(overrides), problems


def read_providers(
    source: PathSource,
    interface: str,
    nodes: Sequence[str],
    overrides: Sequence[Override],
    rule: NamingRule,
    ports: Mapping[str, int],
) -> tuple[list[Provider], list[Problem]]:
    """The providers of an interface, and the nodes that could not be used; ``ports`` are configured ones by family."""
    providers, problems = [], []
    for node in sorted(nodes):
        try:
            url = apply_overrides(as_registered(checked_url(parse_node_name(node))), overrides)
            providers.append(dubbo_provider(url, interface, f"{source.path}/providers/{node}", rule, ports))
        except (NodeError, HostNameError) as error:
            problems.append(source.problem("providers", node, f"{error}; the node is left out"))
            continue
        if _bad_weight(url):
            problems.append(source.problem("providers", node, "weight is not a number up to 1000000; 100 is taken"))
    return providers, problems


def checked_url(url: DubboUrl) -> DubboUrl:
    """The URL, if it names an endpoint that can be used. Raises NodeError."""
    if url.scheme not in SCHEMES:
        raise NodeError(f"has the scheme {url.scheme!r}; known are {', '.join(sorted(SCHEMES))}")
    if not is_ip(url.host):
        raise NodeError(
            f"names the host {url.host[:80]!r}, but an endpoint needs an IP address (see dubbo.protocol.host)"
        )
    if url.port == 0:
        raise NodeError("names no port")
    return url


def dubbo_provider(url: DubboUrl, interface: str, raw_id: str, rule: NamingRule, ports: Mapping[str, int]) -> Provider:
    """One of Dubbo's addresses as a provider. Raises HostNameError."""
    group, version = url.get("group"), url.get("version")
    naming = name_service(rule, interface, group, version)
    family = SCHEMES[url.scheme]
    port = service_port(family, {**ports, **naming.ports})
    labels, raw_labels = labels_of(url)
    endpoint = EndpointClaim(
        service_port=port.name,
        address=url.host,
        port=url.port,
        raw_id=raw_id,
        presence=_presence(url),
        weight=_weight(url) or None,
        labels=labels,
        warm_up=_warm_up(url),
        path=handed_on_by(url),
    )
    return Provider(naming, service_name(interface, group, version), port, endpoint, raw_labels)


def _presence(url: DubboUrl) -> Presence:
    off = url.get("enabled") == "false" or url.get("disabled") == "true" or _weight(url) == 0
    return Presence.OFFLINE if off else Presence.UP


def _weight(url: DubboUrl) -> int | None:
    """Dubbo's weight, whose default of 100 is also ours; 0 means no traffic."""
    text = url.get("weight")
    return None if not text or _bad_weight(url) else int(text)


def _bad_weight(url: DubboUrl) -> bool:
    text = url.get("weight", "0")
    return not (text.isascii() and text.isdigit() and int(text[:10]) <= MAX_WEIGHT)


def _warm_up(url: DubboUrl) -> WarmUp | None:
    """Dubbo's warm-up: the weight grows from a hundredth within ``warmup`` ms after the start, if one is stated."""
    started, duration = url.get("timestamp"), url.get("warmup")
    if not (_is_number(started) and _is_number(duration)) or not int(duration):
        return None
    return WarmUp(int(started), int(duration), FIRST_PERCENT)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def labels_of(url: DubboUrl, dropped: Sequence[str] = ()) -> tuple[Labels, Labels]:
    """The URL's parameters as labels, without those that concern the SDK; and those that had to be mended."""
    pairs = {
        _RENAMED.get(name, name): value
        for name, value in sorted(url.parameters.items())
        if name not in _TECHNICAL
        and name not in dropped
        and not name.startswith(MARKS)
        and not name.endswith((".methods", ".timeout", ".retries"))
    }
    if pairs.get("version") in NO_VERSIONS:
        pairs.pop("version", None)
    return mended_labels(pairs.items())


def handed_on_by(url: DubboUrl) -> tuple[str, ...]:
    """The bridge clusters that an entry went through; none for an SDK's own."""
    path = url.get(f"{MARKS}path")
    return tuple(part for part in path.split(",")[:MAX_PATH] if part) if path else ()
