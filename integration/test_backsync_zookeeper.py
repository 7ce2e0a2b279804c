"""The suite of writers against a real ZooKeeper, in both layouts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from harness.zookeeper import ZooKeeper
from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Layout
from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.backsync.zookeeper_store import ZooKeeperStore
from isthmus_mcp_bridge.testing.writer_conformance import WriterConformance

pytestmark = [pytest.mark.asyncio, pytest.mark.peer("zookeeper")]
SESSION_S = 4.0


class ZooKeeperSubject:
    """Each test below a root of its own."""

    def __init__(self, server: ZooKeeper, sdk: KazooClient, layout: Layout, root: str) -> None:
        self.layout = layout
        self.root = root
        self._server = server
        self._sdk = sdk

    def store(self) -> EntryStore:
        return ZooKeeperStore(self._server.address, SESSION_S)

    async def names(self, place: str) -> frozenset[str]:
        try:
            return frozenset(await self._do("get_children", place))
        except NoNodeError:
            return frozenset()

    async def put(self, place: str, name: str, data: bytes) -> None:
        await self._do("create", f"{place}/{name}", data, makepath=True)

    async def read(self, place: str, name: str) -> tuple[bytes, int]:
        data, stat = await self._do("get", f"{place}/{name}")
        return data, stat.mzxid

    async def remove(self, place: str, name: str) -> None:
        await self._do("delete", f"{place}/{name}")

    async def lose_session(self, store: EntryStore) -> None:
        """As its expiry does: someone who knows the session's id and password closes it."""
        assert isinstance(store, ZooKeeperStore)
        double = KazooClient(hosts=self._server.address, client_id=store._kazoo.client_id)
        await asyncio.to_thread(double.start, 20)
        await asyncio.to_thread(double.stop)
        await asyncio.to_thread(double.close)

    async def _do(self, method: str, *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self._sdk.retry, getattr(self._sdk, method), *arguments, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    with ZooKeeper() as running:
        yield running


@pytest_asyncio.fixture(params=[DUBBO, SOFARPC], ids=lambda layout: layout.name)
async def subject(server: ZooKeeper, request: pytest.FixtureRequest) -> AsyncIterator[ZooKeeperSubject]:
    sdk = KazooClient(hosts=server.address)
    await asyncio.to_thread(sdk.start, 20)
    yield ZooKeeperSubject(server, sdk, request.param, f"/{request.node.name}")
    await asyncio.to_thread(sdk.stop)
    await asyncio.to_thread(sdk.close)


class TestZooKeeper(WriterConformance):
    """Through kazoo and a real server."""
