"""From registered instances to what the writers of the registries shall write."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from isthmus_mcp_bridge.backsync.entry import Wanted, WantedEntry
from isthmus_mcp_bridge.backsync.layouts import Description, Layout, entry_name
from isthmus_mcp_bridge.backsync.marks import Marks
from isthmus_mcp_bridge.backsync.writer import Writer
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.show import Show, mesh_else_native
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.model import InstanceKey, Registered

HAND_OVER_S = 3.0
"""How long the entries of an instance that another replica holds now may wait for it to replace them, registry by registry."""


def wanted_of(one: Registered, show: Show, layout: Layout, cluster: str) -> Wanted:
    """The entries of an instance in a layout. Pure."""
    entries, down = [], _down(one)
    for address in _shown(one, show, down):
        url = layout.url(
            one.key.service,
            address,
            Description(one.instance.application, one.metadata, one.zone),
            _marks(one, cluster),
        )
        entries.append(WantedEntry(entry_name(url), address))
    return Wanted(one.key, one.epoch, (cluster,), tuple(entries), down)


def _shown(one: Registered, show: Show, down: frozenset[Address]) -> tuple[Address, ...]:
    """What consumers are shown. ``show`` may not know yet that an address is down, which we do: then what is up, until it does."""
    said = show(one.instance)
    shown = tuple(address for address in said if address not in down)
    return shown or (mesh_else_native(one.instance) if said else ())


def _down(one: Registered) -> frozenset[Address]:
    instance = one.instance
    both = ((instance.native, instance.native_up), (instance.mesh, instance.mesh_up))
    return frozenset(address for address, up in both if address is not None and not up)


def _marks(one: Registered, cluster: str) -> Marks:
    instance = one.instance
    up = (instance.native_up, instance.mesh_up)
    return Marks((cluster,), one.key.id, one.epoch, instance.native, instance.mesh, up)


class WriteBack:
    """Tells every writer whose layout speaks an instance's protocol what to write; lives in one event loop."""

    def __init__(self, cluster: str, writers: Mapping[str, Writer], show: Show = mesh_else_native) -> None:
        """``writers`` by the name of their registry; ``show`` says what SDK consumers are shown."""
        self.cluster = cluster
        self.writers = writers
        self._show = show
        self._instances: dict[InstanceKey, Registered] = {}
        self._leaving: dict[InstanceKey, asyncio.TimerHandle] = {}

    def registered(self, key: InstanceKey, one: Registered | None, moved: bool = False) -> None:
        """An instance is held here like this; None: not any more, because another replica has it (``moved``) or because it is gone."""
        timer = self._leaving.pop(key, None)
        if timer is not None:
            timer.cancel()
        if one is not None:
            self._instances[key] = one
            self._write(one)
            return
        self._instances.pop(key, None)
        if moved:
            self._leaving[key] = asyncio.get_running_loop().call_later(HAND_OVER_S, self._leave, key)
        else:
            self._leave(key)

    def show_by(self, show: Show) -> None:
        """SDK consumers are shown by another rule from now on."""
        self._show = show
        for one in self._instances.values():
            self._write(one)

    def show_again(self, services: Collection[ServiceKey]) -> None:
        """The rule may show SDK consumers something else of these services."""
        for one in self._instances.values():
            if one.instance.service in services:
                self._write(one)

    def _write(self, one: Registered) -> None:
        for writer in self._of(one.key):
            writer.want(one.key, wanted_of(one, self._show, writer.layout, self.cluster))

    def _leave(self, key: InstanceKey) -> None:
        self._leaving.pop(key, None)
        for writer in self._of(key):
            writer.want(key, None)

    def _of(self, key: InstanceKey) -> list[Writer]:
        return [one for one in self.writers.values() if key.service.protocol in one.layout.protocols]

    @property
    def held(self) -> int:
        """Entries that stand in registries and belong to our sessions."""
        return sum(one.held for one in self.writers.values())

    async def wait_taken_over(self) -> None:
        """Wait until nothing that stands in a registry belongs to our sessions."""
        for writer in self.writers.values():
            await writer.wait_empty()

    def status(self) -> dict[str, Any]:
        """For the administration endpoint."""
        return {"cluster": self.cluster, "writers": [one.status() for one in self.writers.values()]}
