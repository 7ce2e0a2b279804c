"""The suite of writers on the registry in memory, in both layouts."""

from __future__ import annotations

import pytest

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Layout
from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.testing.memory_store import MemoryServer, MemoryStore
from isthmus_mcp_bridge.testing.writer_conformance import WriterConformance

pytestmark = pytest.mark.asyncio


class MemorySubject:
    root = "/it"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.server = MemoryServer()

    def store(self) -> EntryStore:
        return MemoryStore(self.server)

    async def names(self, place: str) -> frozenset[str]:
        return self.server.names(place)

    async def put(self, place: str, name: str, data: bytes) -> None:
        self.server.put(place, name)

    async def read(self, place: str, name: str) -> tuple[bytes, int]:
        return b"", self.server.folders[place][name].created

    async def remove(self, place: str, name: str) -> None:
        self.server.remove(place, name)

    async def lose_session(self, store: EntryStore) -> None:
        assert isinstance(store, MemoryStore)
        store.expire()


@pytest.fixture(params=[DUBBO, SOFARPC], ids=lambda layout: layout.name)
def subject(request: pytest.FixtureRequest) -> MemorySubject:
    return MemorySubject(request.param)


class TestMemory(WriterConformance):
    """The registry in memory."""
