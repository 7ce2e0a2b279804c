"""The bridge's etcd adapter against a real etcd: the conformance suite, leases and compaction."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import quote_plus

import pytest
import pytest_asyncio

from harness.etcd import Etcd
from harness.relay import Relay
from isthmus_mcp_bridge.events import SourceListed, SourceState
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.etcd.registry import EtcdRegistry
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance
from isthmus_mcp_bridge.testing.follower import Follower, follow

pytestmark = [pytest.mark.asyncio, pytest.mark.peer("etcd")]
A: Instance = ("10.0.0.1", 8001)
B: Instance = ("10.0.0.2", 8002)


class EtcdSubject:
    """Services in Dubbo's layout, each test below a root of its own."""

    def __init__(self, etcd: Etcd, relay: Relay, root: str) -> None:
        self.etcd = etcd
        self.relay = relay
        self.root = root

    def adapter(self) -> Registry:
        return EtcdRegistry("etcd", [self.relay.address], self.root, NamingRule(), {}, 300, lambda: 0.5)

    async def establish(self) -> None:
        await self.ctl("put", f"{self.root}/established", "")

    def key(self, host: str, instance: Instance, more: str = "") -> str:
        address, port = instance
        return f"{self.root}/{host}/providers/{quote_plus(f'rest://{address}:{port}/{host}?interface={host}{more}')}"

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = {self.key(host, one, "&disabled=true" if one in offline else "") for one in instances}
        for key in sorted(wanted):
            await self.ctl("put", key, "")
        found = await self.ctl("get", "--prefix", "--keys-only", f"{self.root}/{host}/")
        for key in sorted(set(found.split()) - wanted):
            await self.ctl("del", key)

    async def remove(self, host: str) -> None:
        await self.ctl("del", "--prefix", f"{self.root}/{host}/")

    async def spoil(self, spoilt: bool) -> str:
        key = f"{self.root}/reviews/providers/not-a-url"
        await (self.ctl("put", key, "") if spoilt else self.ctl("del", key))
        return "not-a-url"

    async def interrupt(self) -> None:
        await self.relay.cut()

    async def restore(self) -> None:
        await self.relay.open()

    async def ctl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.etcd.ctl, *arguments)


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    with Etcd() as running:
        yield running


@pytest_asyncio.fixture
async def subject(server: Etcd, request: pytest.FixtureRequest) -> AsyncIterator[EtcdSubject]:
    relay = Relay(server.address)
    await relay.open()
    yield EtcdSubject(server, relay, f"/{request.node.name}")
    await relay.cut()


class TestConformance(RegistryConformance):
    """The suite that every adapter passes, against a real server."""


def live(follower: Follower) -> bool:
    return follower.state is SourceState.LIVE


async def test_an_instance_goes_when_its_lease_ends(subject: EtcdSubject) -> None:
    await subject.establish()
    lease = (await subject.ctl("lease", "grant", "600")).split()[1]
    await subject.ctl("put", f"--lease={lease}", subject.key("reviews", A), "")
    async with follow(subject.adapter()) as follower:
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001"]})
        await subject.ctl("lease", "revoke", lease)
        await follower.until(lambda one: one.published == {})


async def test_a_compaction_while_it_is_away_costs_a_listing(subject: EtcdSubject) -> None:
    await subject.put("reviews", [A])
    async with follow(subject.adapter()) as follower:
        await follower.until(live)
        await subject.interrupt()
        await follower.until(lambda one: not live(one))
        await subject.put("reviews", [B])
        status = await subject.ctl("get", "x", "-w", "fields")
        revision = next(line.split(":")[1] for line in status.splitlines() if '"Revision"' in line)
        await subject.ctl("compact", revision.strip())
        await subject.restore()
        await follower.until(lambda one: live(one) and one.published == {"reviews": ["10.0.0.2:8002"]})
        assert [type(event) for event in follower.events].count(SourceListed) == 2
