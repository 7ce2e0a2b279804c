"""The configurators that hide from Dubbo consumers what their policy hides: addresses that applications registered themselves. Pure.

A foreign entry is never touched. Dubbo passes over a provider that an ``override://HOST:PORT/INTERFACE?disabled=true`` below
``configurators`` is for, and takes it again when that node is gone. Only where a policy speaks about SDK consumers, only while an
address that they are shown instead is registered, and never for one that is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote_plus

from isthmus_mcp_bridge.dualmode.decide import Decided, Decision
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.model import EndpointClaim, Side, SourcedClaim
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.overrides import BRIDGE_MARK

PROVIDERS = "/providers/"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Hidden:
    """One configurator to write: below which interface (a path), under which name, and instead of which addresses."""

    interface: str
    node: str
    instead: tuple[Address, ...] = dataclasses.field(compare=False)


def hidden(
    decisions: Mapping[str, Decision], claims: Iterable[SourcedClaim], registry: str, replica: str
) -> frozenset[Hidden]:
    """What to hide of one service in one registry; ``replica`` marks the nodes as this bridge's."""
    native = {
        one.instance.native: one
        for decision in decisions.values()
        for one in decision.instances.values()
        if one.instance.native is not None and _hides_native(one)
    }
    found = set()
    for endpoint in _endpoints(claims, registry):
        decided = native.get(Address(endpoint.address, endpoint.port))
        if decided is not None and PROVIDERS in endpoint.raw_id:
            interface, _, node = endpoint.raw_id.partition(PROVIDERS)
            try:
                url = parse_node_name(node)
            except NodeError:
                continue
            found.add(Hidden(interface, override_node(url, replica), decided.sdk.addresses))
    return frozenset(found)


def _hides_native(one: Decided) -> bool:
    shown = one.sdk.addresses
    return one.sdk.ordered.policy is not None and bool(shown) and one.instance.native not in shown


def _endpoints(claims: Iterable[SourcedClaim], registry: str) -> Iterator[EndpointClaim]:
    for sourced in claims:
        if sourced.source == registry:
            yield from (one for one in sourced.claim.endpoints if one.side is Side.NATIVE)


def override_node(provider: DubboUrl, replica: str) -> str:
    """The name of the configurator that takes a provider out; only Dubbo's own scheme has them."""
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    same = "".join(f"&{name}={provider.get(name)}" for name in ("group", "version") if provider.get(name))
    interface = provider.get("interface", provider.path)
    marks = f"&dynamic=false&{BRIDGE_MARK}={replica}"
    url = (
        f"override://{host}:{provider.port}/{interface}?category=configurators&disabled=true&enabled=true{marks}{same}"
    )
    return quote_plus(url)


def registered(nodes: Iterable[str]) -> set[Address]:
    """The addresses that stand below ``providers``."""
    found = set()
    for node in nodes:
        try:
            url = parse_node_name(node)
        except BridgeError:
            continue
        if url.get("disabled") != "true" and url.get("enabled") != "false":
            found.add(Address(url.host, url.port))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """What to create and delete below the ``configurators`` of one interface; ``held`` nodes are ours then."""

    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    held: int = 0


def steps(wanted: Iterable[Hidden], providers: Iterable[str], configurators: Iterable[str], replica: str) -> Steps:
    """From what stands there to what is wanted; touches only nodes with this replica's mark."""
    there = registered(providers)
    want = {one.node for one in wanted if there.intersection(one.instead)}
    mine = {node for node in configurators if is_mine(node, replica)}
    return Steps(tuple(sorted(want - mine)), tuple(sorted(mine - want)), len(want))


def is_mine(node: str, replica: str) -> bool:
    """Whether a configurator has this replica's mark."""
    try:
        return parse_node_name(node).get(BRIDGE_MARK) == replica
    except NodeError:
        return False
