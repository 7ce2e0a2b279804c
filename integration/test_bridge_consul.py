"""The bridge's Consul adapter against a real Consul: the conformance suite, and checks that flip."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio

from harness.consul import Consul
from harness.relay import Relay
from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.consul.registry import ConsulOptions, ConsulRegistry
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance
from isthmus_mcp_bridge.testing.follower import Follower, follow

pytestmark = [pytest.mark.asyncio, pytest.mark.peer("consul")]
A: Instance = ("10.0.0.1", 8001)
B: Instance = ("10.0.0.2", 8002)


class ConsulSubject:
    """Services as an agent registers them."""

    def __init__(self, consul: Consul, relay: Relay) -> None:
        self.consul = consul
        self.relay = relay

    def adapter(self) -> Registry:
        how = Plain("consul", NamingRule(), {})
        return ConsulRegistry(how, ConsulOptions(), lambda: JsonHttp([f"http://{self.relay.address}"]), lambda: 0.5)

    async def establish(self) -> None:
        await self.relay.open()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        await asyncio.to_thread(self._put, host, instances, offline)

    async def remove(self, host: str) -> None:
        await self.put(host, [])

    async def spoil(self, spoilt: bool) -> str:
        if spoilt:
            body = {"Name": "bad", "ID": "bad", "Address": "not-an-ip", "Port": 1}
            await asyncio.to_thread(self.consul.put, "/v1/agent/service/register", body)
        else:
            await asyncio.to_thread(self.consul.put, "/v1/agent/service/deregister/bad")
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.relay.cut()

    async def restore(self) -> None:
        await self.relay.open()

    def _put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance]) -> None:
        ids = {f"{host}-{address}-{port}": (address, port) for address, port in instances}
        for name, (address, port) in ids.items():
            body = {"Name": host, "ID": name, "Address": address, "Port": port}
            self.consul.put("/v1/agent/service/register", body)
            enable = str((address, port) in offline).lower()
            self.consul.put(f"/v1/agent/service/maintenance/{name}?enable={enable}")
        for name, service in self.consul.services().items():
            if service["Service"] == host and name not in ids:
                self.consul.put(f"/v1/agent/service/deregister/{name}")


@pytest.fixture(scope="module")
def server() -> Iterator[Consul]:
    with Consul() as running:
        yield running


@pytest_asyncio.fixture
async def subject(server: Consul) -> AsyncIterator[ConsulSubject]:
    relay = Relay(server.address)
    await relay.open()
    await relay.cut()
    yield ConsulSubject(server, relay)
    await relay.cut()
    for name in server.services():
        server.put(f"/v1/agent/service/deregister/{name}")


class TestConformance(RegistryConformance):
    """The suite that every adapter passes, against a real server."""


def live(follower: Follower) -> bool:
    return follower.state is SourceState.LIVE


async def test_a_check_that_flips_takes_the_instance_out_and_back(subject: ConsulSubject) -> None:
    await subject.establish()
    body = {
        "Name": "reviews",
        "ID": "r1",
        "Address": "10.0.0.1",
        "Port": 8001,
        "Check": {"TTL": "10m", "Status": "passing"},
    }
    await asyncio.to_thread(subject.consul.put, "/v1/agent/service/register", body)
    async with follow(subject.adapter()) as follower:
        await follower.until(lambda one: live(one) and one.published == {"reviews": ["10.0.0.1:8001"]})
        await asyncio.to_thread(subject.consul.put, "/v1/agent/check/fail/service:r1")
        await follower.until(lambda one: one.published == {"reviews": []})
        await asyncio.to_thread(subject.consul.put, "/v1/agent/check/pass/service:r1")
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001"]})
