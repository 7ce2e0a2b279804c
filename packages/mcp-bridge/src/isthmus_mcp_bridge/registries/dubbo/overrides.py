"""Configurators: what operators changed about registered providers without restarting them.

What bridges write to carry out policies of dual mode (``BRIDGE_MARK``) says nothing about a provider's health and is passed over.
Read are ``override://`` and ``absent://`` nodes and in them ``weight`` and ``disabled``; ``enabled=false`` switches the
configurator itself off. Other parameters (timeouts, load balancing) concern only what the SDK does inside a consumer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name

ANY_HOST = "0.0.0.0"  # noqa: S104 - Dubbo's sign for "every provider", nothing is bound
READ = ("weight", "disabled")
MAX_DIGITS = 10
BRIDGE_MARK = "isthmus.bridge"
"""The parameter that names the bridge that wrote a configurator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Override:
    """One configurator: for which providers it counts, and which parameters it sets."""

    host: str
    port: int
    matches: tuple[tuple[str, str], ...]
    sets: tuple[tuple[str, str], ...]
    only_absent: bool
    priority: int

    def covers(self, provider: DubboUrl) -> bool:
        """Whether the configurator is meant for this provider."""
        if self.host not in (ANY_HOST, provider.host) or self.port not in (0, provider.port):
            return False
        return all(provider.get(name) == value for name, value in self.matches)


def parse_override(name: str, interface: str) -> Override | None:
    """Read a node below ``configurators``; None for one without effect on providers. Raises NodeError."""
    url = parse_node_name(name)
    if url.scheme == "empty":
        return None
    if url.scheme not in ("override", "absent"):
        raise NodeError(f"has the scheme {url.scheme!r}; configurators are override:// or absent://")
    sets = tuple((name, url.get(name)) for name in READ if url.get(name))
    switched_off = url.get("enabled") == "false"
    if (
        url.get(BRIDGE_MARK)
        or not sets
        or switched_off
        or url.get("side") == "consumer"
        or url.path not in ("*", interface)
    ):
        return None
    matches = tuple(
        (name, url.get(name)) for name in ("group", "version", "application") if url.get(name) not in ("", "*")
    )
    digits = url.get("priority", "0")
    priority = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < MAX_DIGITS else 0
    return Override(url.host, url.port, matches, sets, url.scheme == "absent", priority)


def in_order(overrides: Sequence[Override]) -> list[Override]:
    """The order in which they are applied: by priority, those for every host before those for one; the last one wins."""
    return sorted(overrides, key=lambda one: (one.priority, one.host != ANY_HOST, one.port, one.host, one.sets))


def apply_overrides(provider: DubboUrl, overrides: Sequence[Override]) -> DubboUrl:
    """The provider with the parameters that the configurators (``in_order``) set for it."""
    parameters = dict(provider.parameters)
    for override in overrides:
        if not override.covers(provider):
            continue
        for name, value in override.sets:
            if not override.only_absent or name not in parameters:
                parameters[name] = value
    return dataclasses.replace(provider, parameters=parameters)


def as_registered(provider: DubboUrl) -> DubboUrl:
    """The provider without what a bridge's configurator has added: Dubbo's providers register anew with what overrides them."""
    if not provider.get(BRIDGE_MARK):
        return provider
    added = (BRIDGE_MARK, "disabled")
    kept = {name: value for name, value in provider.parameters.items() if name not in added}
    return dataclasses.replace(provider, parameters=kept)
