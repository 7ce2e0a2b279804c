"""Registered instances as claims of the catalog: read as the entries that are written of them, so every replica claims the same. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Description, Layout
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.model import Side
from isthmus_mcp_bridge.registration.model import Registered, SdkService
from isthmus_mcp_bridge.registries.book import Entry, Provider
from isthmus_mcp_bridge.registries.dubbo.providers import dubbo_provider
from isthmus_mcp_bridge.registries.families import SCHEMES
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.sofarpc import sofa_provider


def layout_of(service: SdkService) -> Layout:
    """The layout in which the service's SDK speaks of its addresses."""
    return SOFARPC if SCHEMES[service.protocol] == "bolt" else DUBBO


def entry_of(instances: Iterable[Registered], rule: NamingRule, ports: Mapping[str, int]) -> Entry:
    """All instances of one service as an origin's entry: each address that is up, with its side and instance."""
    found: dict[Address, Provider] = {}
    for one in sorted(instances, key=lambda one: (-one.epoch, one.key)):
        for address, side in addresses_up(one):
            if address not in found:
                found[address] = _provider(one, address, side, rule, ports)
    return Entry(tuple(found[address] for address in sorted(found)))


def addresses_up(one: Registered) -> list[tuple[Address, Side]]:
    """The addresses of the instance that are up."""
    instance = one.instance
    found = ((instance.mesh, instance.mesh_up, Side.MESH), (instance.native, instance.native_up, Side.NATIVE))
    return [(address, side) for address, up, side in found if address is not None and up]


def _provider(one: Registered, address: Address, side: Side, rule: NamingRule, ports: Mapping[str, int]) -> Provider:
    service = one.key.service
    layout = layout_of(service)
    url = layout.url(service, address, Description(one.instance.application, one.metadata))
    read = sofa_provider if layout is SOFARPC else dubbo_provider
    provider = read(url, service.interface, f"instance {one.key.id}, epoch {one.epoch}", rule, ports)
    endpoint = dataclasses.replace(provider.endpoint, side=side, instance=one.key.id)
    return dataclasses.replace(provider, endpoint=endpoint)
