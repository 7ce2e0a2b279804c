"""The bridge's Eureka adapter against a real Eureka: the conformance suite."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio

from harness.eureka import Eureka
from harness.relay import Relay
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.eureka.registry import eureka_registry
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance

pytestmark = [pytest.mark.asyncio, pytest.mark.peer("eureka")]


class EurekaSubject:
    """Applications as their instances register themselves."""

    def __init__(self, eureka: Eureka, relay: Relay) -> None:
        self.eureka = eureka
        self.relay = relay

    def adapter(self) -> Registry:
        http = JsonHttp([f"http://{self.relay.address}/eureka"], {"Accept": "application/json"})
        return eureka_registry(Plain("eureka", NamingRule(), {}), http, 0.2, lambda: 0.5)

    async def establish(self) -> None:
        await self.relay.open()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        await asyncio.to_thread(self._put, host.upper(), instances, offline)

    async def remove(self, host: str) -> None:
        await self.put(host, [])

    async def spoil(self, spoilt: bool) -> str:
        await self.put("bad", [("not-an-ip", 1)] if spoilt else [])
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.relay.cut()

    async def restore(self) -> None:
        await self.relay.open()

    def _put(self, app: str, instances: Sequence[Instance], offline: Sequence[Instance]) -> None:
        wanted = {f"{address}:{port}" for address, port in instances}
        for instance_id in self.eureka.instances().get(app, []):
            if instance_id not in wanted:
                self.eureka.call("DELETE", f"/apps/{app}/{instance_id}")
        for address, port in instances:
            self.eureka.register(app, address, port)
            path = f"/apps/{app}/{address}:{port}/status"
            if (address, port) in offline:
                self.eureka.call("PUT", f"{path}?value=OUT_OF_SERVICE")
            else:
                self.eureka.call("DELETE", f"{path}?value=UP")


@pytest.fixture(scope="module")
def server() -> Iterator[Eureka]:
    with Eureka() as running:
        yield running


@pytest_asyncio.fixture
async def subject(server: Eureka) -> AsyncIterator[EurekaSubject]:
    relay = Relay(server.address)
    await relay.open()
    await relay.cut()
    yield EurekaSubject(server, relay)
    await relay.cut()
    for app, ids in server.instances().items():
        for instance_id in ids:
            server.call("DELETE", f"/apps/{app}/{instance_id}")


class TestConformance(RegistryConformance):
    """The suite that every adapter passes, against a real server."""
