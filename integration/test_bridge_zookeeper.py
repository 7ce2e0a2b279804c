"""The bridge's ZooKeeper adapter against a real ZooKeeper: the conformance suite, and the ways a session can end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import quote_plus

import pytest
import pytest_asyncio
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from harness.relay import Relay
from harness.zookeeper import ZooKeeper
from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver
from isthmus_mcp_bridge.registries.zookeeper.kazoo_client import KazooZooKeeper
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance
from isthmus_mcp_bridge.testing.follower import Follower, follow

pytestmark = [pytest.mark.asyncio, pytest.mark.peer("zookeeper")]
SESSION_S = 2.0
A: Instance = ("10.0.0.1", 8001)
B: Instance = ("10.0.0.2", 8002)


class ZooKeeperSubject:
    """Services as a publisher writes them, each test below a root of its own."""

    def __init__(self, publisher: KazooClient, relay: Relay, root: str) -> None:
        self.publisher = publisher
        self.relay = relay
        self.root = root
        self.clients: list[KazooZooKeeper] = []
        self._nodes: dict[str, set[str]] = {}

    def adapter(self) -> Registry:
        def connect(handover: HandOver) -> KazooZooKeeper:
            self.clients.append(KazooZooKeeper(self.relay.address, SESSION_S, handover))
            return self.clients[-1]

        directory = Directory("zoo", NamingRule(), {})
        return ZooKeeperRegistry("zoo", self.root, connect, directory, Pace(), lambda: 0.5)

    async def establish(self) -> None:
        await self._do("ensure_path", f"{self.root}/config")

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = set()
        for address, port in instances:
            disabled = "&disabled=true" if (address, port) in offline else ""
            wanted.add(quote_plus(f"rest://{address}:{port}/{host}?interface={host}&timestamp=1{disabled}"))
        for node in sorted(wanted):
            await self._do("ensure_path", f"{self.root}/{host}/providers/{node}")
        for node in sorted(self._nodes.get(host, set()) - wanted):
            await self._do("delete", f"{self.root}/{host}/providers/{node}")
        self._nodes[host] = wanted

    async def remove(self, host: str) -> None:
        await self._do("delete", f"{self.root}/{host}", recursive=True)

    async def spoil(self, spoilt: bool) -> str:
        path = f"{self.root}/reviews/providers/not-a-url"
        await self._do("ensure_path" if spoilt else "delete", path)
        return "not-a-url"

    async def interrupt(self) -> None:
        await self.relay.cut()

    async def restore(self) -> None:
        await self.relay.open()

    async def _do(self, method: str, *arguments: Any, **options: Any) -> None:
        # With retries: after a restart of the server the publisher may come back later than the adapter.
        await asyncio.to_thread(self.publisher.retry, getattr(self.publisher, method), *arguments, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    with ZooKeeper() as running:
        yield running


@pytest_asyncio.fixture
async def subject(server: ZooKeeper, request: pytest.FixtureRequest) -> AsyncIterator[ZooKeeperSubject]:
    publisher = KazooClient(hosts=server.address, command_retry={"max_tries": 60, "max_delay": 0.5})
    await asyncio.to_thread(publisher.start, 20)
    relay = Relay(server.address)
    await relay.open()
    root = f"/{request.node.name}"
    yield ZooKeeperSubject(publisher, relay, root)
    await relay.cut()
    with contextlib.suppress(NoNodeError):
        await asyncio.to_thread(publisher.retry, publisher.delete, root, recursive=True)
    await asyncio.to_thread(publisher.stop)
    await asyncio.to_thread(publisher.close)


class TestConformance(RegistryConformance):
    """The suite that every adapter passes, through kazoo and a real server."""


def live(follower: Follower) -> bool:
    return follower.state is SourceState.LIVE


async def test_a_session_that_expired_wipes_nothing(subject: ZooKeeperSubject, server: ZooKeeper) -> None:
    await subject.put("reviews", [A, B])
    await subject.put("ratings", [A])
    async with follow(subject.adapter()) as follower:
        await follower.until(live)
        before = follower.published
        await subject.relay.cut()
        await follower.until(lambda one: not live(one))
        session = subject.clients[0]._kazoo.client_id
        await end_session(subject.clients[0], server)
        await subject.put("reviews", [B])
        assert follower.published == before
        await subject.relay.open()
        after = {"reviews": ["10.0.0.2:8002"], "ratings": ["10.0.0.1:8001"]}
        await follower.until(lambda one: live(one) and one.published == after)
        assert subject.clients[0]._kazoo.client_id != session


async def end_session(client: KazooZooKeeper, server: ZooKeeper) -> None:
    """End the client's session as its expiry does: someone who knows the session's id and password closes it."""
    double = KazooClient(hosts=server.address, client_id=client._kazoo.client_id)
    await asyncio.to_thread(double.start, 20)
    await asyncio.to_thread(double.stop)
    await asyncio.to_thread(double.close)


async def test_the_server_restarts_and_ephemeral_instances_survive_it(
    subject: ZooKeeperSubject, server: ZooKeeper
) -> None:
    await subject.put("reviews", [A])
    async with follow(subject.adapter()) as follower:
        await follower.until(live)
        await asyncio.to_thread(server.stop)
        await follower.until(lambda one: not live(one))
        assert follower.published == {"reviews": ["10.0.0.1:8001"]}
        server.start()  # not in a worker thread: the harness binds the life of a program to the thread that starts it
        await follower.until(live)
        await subject.put("reviews", [A, B])
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001", "10.0.0.2:8002"]})


async def test_an_ephemeral_instance_goes_with_its_publisher(subject: ZooKeeperSubject, server: ZooKeeper) -> None:
    await subject.establish()
    application = KazooClient(hosts=server.address, timeout=SESSION_S)
    await asyncio.to_thread(application.start, 20)
    node = quote_plus("rest://10.0.0.1:8001/reviews?interface=reviews")
    path = f"{subject.root}/reviews/providers/{node}"
    await asyncio.to_thread(application.create, path, ephemeral=True, makepath=True)
    async with follow(subject.adapter()) as follower:
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001"]})
        created = next(iter(follower.catalog.services.values())).created_ms
        assert created > 0
        await asyncio.to_thread(application.stop)
        await asyncio.to_thread(application.close)
        await follower.until(lambda one: one.published == {})
