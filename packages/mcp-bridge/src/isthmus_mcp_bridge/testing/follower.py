"""Runs one registry adapter into a catalog of its own, to see what it reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.events import Problem, RegistryEvent, SourceState
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.testing.eventually import eventually

_EVERYTHING = 1_000_000
Published = dict[str, list[str]]
"""Host -> sorted ``address:port`` of what is published."""


class Follower:
    """What one adapter has reported so far, as the catalog sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.catalog = Catalog([name])
        self.events: list[RegistryEvent] = []

    def take(self, event: RegistryEvent) -> None:
        """The adapter's ``emit``."""
        self.events.append(event)
        self.catalog.apply(event)
        self.catalog.take_changes(_EVERYTHING)

    @property
    def state(self) -> SourceState:
        """The source's state."""
        return self.catalog.sources[self.name].state

    @property
    def problems(self) -> list[Problem]:
        """The unusable entries reported."""
        return self.catalog.sources[self.name].problems()

    @property
    def published(self) -> Published:
        """What would be published of this registry alone."""
        return {
            key.host: sorted(
                f"{workload.address}:{port}" for workload in merged.workloads for _, port in workload.ports
            )
            for key, merged in self.catalog.services.items()
        }

    async def until(self, holds: Callable[[Follower], object]) -> None:
        """Wait until ``holds`` is true of this follower."""
        await eventually(lambda: holds(self), lambda: (self.state, self.published, self.problems))


@contextlib.asynccontextmanager
async def follow(registry: Registry) -> AsyncIterator[Follower]:
    """Run the adapter for the length of the block; an adapter that ends or raises by itself fails the test."""
    follower = Follower(registry.name)
    task = asyncio.create_task(registry.run(follower.take))
    try:
        yield follower
        if task.done():
            task.result()
            raise AssertionError("the adapter ended by itself")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
