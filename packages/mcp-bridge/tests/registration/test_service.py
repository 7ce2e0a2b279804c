"""A sidecar's stream through the whole bridge: lease, claim in the mesh, entry in a registry, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import grpc
import pytest

from isthmus_api.registration.v1alpha1 import registration_pb2
from isthmus_api.registration.v1alpha1.registration_pb2 import Publication, RegisterRequest, RegisterResponse
from isthmus_api.registration.v1alpha1.registration_pb2_grpc import RegistrationServiceStub
from isthmus_mcp_bridge.app import serve
from isthmus_mcp_bridge.backsync.build import Parts
from isthmus_mcp_bridge.backsync.layouts import DUBBO, folder
from isthmus_mcp_bridge.backsync.write_back import WriteBack
from isthmus_mcp_bridge.backsync.writer import Writer, WriterSettings
from isthmus_mcp_bridge.config.model import Address, BridgeConfig, DebounceConfig, McpConfig, RegistrationConfig
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.leases import LeaseLimits
from isthmus_mcp_bridge.registration.model import registered
from isthmus_mcp_bridge.registration.probe import tcp_probe
from isthmus_mcp_bridge.registration.publications import read_publications
from isthmus_mcp_bridge.registration.registrations import Naming, Registrations
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.testing.eventually import eventually
from isthmus_mcp_bridge.testing.memory_store import MemoryServer, MemoryStore

pytestmark = pytest.mark.asyncio
FREE = Address("127.0.0.1", 0)
INTERFACE = "com.x.Foo"
PLACE = folder("/dubbo", INTERFACE)


class Whole:
    """A bridge that runs, the registry that it writes, and where it listens."""

    def __init__(self, grace_s: float = 0.3, max_leases: int = 10) -> None:
        loop = asyncio.get_running_loop()
        limits = LeaseLimits(grace_s=grace_s, max_leases=max_leases, probe_interval_s=0.05)
        self.config = BridgeConfig(
            (), McpConfig(FREE), FREE, DebounceConfig(1, 100), registration=RegistrationConfig(limits=limits)
        )
        self.server = MemoryServer()
        registrations = Registrations(Naming(), limits, tcp_probe(), loop.time)
        settings = WriterSettings("memory", "/dubbo", "here", 0.0, yield_after_s=0.1)
        self.store = MemoryStore(self.server)
        writer = Writer(settings, DUBBO, self.store, loop.time, lambda: 0.5)
        writer.outdone = registrations.outdone
        write_back = WriteBack("here", {"memory": writer})
        registrations.listen(write_back.registered)
        self.parts = Parts(registrations, write_back)
        self.addresses: dict[str, str] = {}

    @property
    def written(self) -> list[str]:
        found = [DUBBO.read(name, INTERFACE) for name in self.server.names(PLACE)]
        return sorted(f"{one.address} {one.marks.epoch}" for one in found if one is not None and one.marks)

    async def admin(self, path: str) -> Any:
        address = f"http://{self.addresses['admin']}{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            return json.loads(await response.text())

    async def instances(self) -> int:
        return int((await self.admin("/leases"))["instances"])

    async def published(self) -> list[str]:
        services = (await self.admin("/services"))["services"]
        return sorted(
            f"{end['address']}:{port}" for one in services for end in one["endpoints"] for port in end["ports"].values()
        )


@contextlib.asynccontextmanager
async def whole(**options: Any) -> AsyncIterator[Whole]:
    one = Whole(**options)
    async with serve(one.config, [], one.parts) as addresses:
        one.addresses = addresses
        yield one


class SidecarStream:
    """One stream."""

    def __init__(self, call: Any, node: str, epoch: int) -> None:
        self._call = call
        self._node = node
        self._epoch = epoch
        self._nonce = 0

    async def say(self, *publications: Publication, keep_alive: bool = False, leaving: bool = False) -> str:
        """Publish, and return the error of the response."""
        self._nonce += 1
        request = RegisterRequest(
            node_id=self._node,
            nonce=str(self._nonce),
            publications=publications,
            epoch=self._epoch,
            keep_alive=keep_alive,
            leaving=leaving,
        )
        async with asyncio.timeout(20):
            try:
                await self._call.write(request)
                response = await self._call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                response = None  # the call is over
            if not isinstance(response, RegisterResponse):
                pytest.fail(f"{await self._call.code()}: {await self._call.details()}")
        assert response.nonce == str(self._nonce)
        return response.error

    async def metadata(self) -> dict[str, str]:
        return {key: value for key, value in await self._call.trailing_metadata() if key.startswith("isthmus")}

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(20):
            return await self._call.code(), await self._call.details()


@contextlib.asynccontextmanager
async def stream(one: Whole, epoch: int = 1, node: str = "node") -> AsyncIterator[SidecarStream]:
    async with grpc.aio.insecure_channel(one.addresses["mcp"]) as channel:
        stub: Any = RegistrationServiceStub(channel)
        call = stub.Register()
        yield SidecarStream(call, node, epoch)
        call.cancel()


def publication(**fields: Any) -> Publication:
    return Publication(**{"service": INTERFACE, "protocol": "dubbo", "host": "127.0.0.1", "port": 20881, **fields})


async def holds(one: Whole, *expected: str) -> None:
    await eventually(lambda: one.written == sorted(expected), lambda: one.written)


async def test_a_stream_is_a_lease_a_claim_and_an_entry() -> None:
    async with whole() as one:
        async with stream(one) as sidecar:
            assert await sidecar.say(publication()) == ""
            await holds(one, "127.0.0.1:20881 1")
            await until_published(one, ["127.0.0.1:20881"])
            (lease,) = (await one.admin("/leases"))["leases"]
            assert (lease["node"], lease["state"], lease["epoch"]) == ("node", "open", 1)
            assert lease["instances"][0]["mesh_up"] is True
            (writer,) = (await one.admin("/backsync"))["writers"]
            assert (writer["held"], writer["not_yet_written"]) == (1, [])
            error = await sidecar.say(publication(), publication(service="other", port=0))
            assert error == "publications[1].port: 0: must be from 1 to 65535"
            assert await sidecar.say(keep_alive=True) == ""
            await holds(one, "127.0.0.1:20881 1")
        await holds(one)
        await until_published(one, [])


async def until_published(one: Whole, expected: list[str]) -> None:
    await until(one.published, expected)


async def until(look: Callable[[], Awaitable[Any]], expected: Any) -> None:
    for _ in range(1000):
        found = await look()
        if found == expected:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"{found} is not {expected}")


async def test_the_application_itself_is_shown_when_its_sidecar_dies_and_only_while_it_answers() -> None:
    application = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = application.sockets[0].getsockname()[1]
    async with whole() as one:
        async with stream(one) as sidecar:
            await sidecar.say(publication(native_host="127.0.0.1", native_port=port))
            await holds(one, "127.0.0.1:20881 1")
        await holds(one, f"127.0.0.1:{port} 1")
        await until_published(one, [f"127.0.0.1:{port}"])
        application.close()
        await application.wait_closed()
        await holds(one)


async def test_a_silent_application_is_not_shown() -> None:
    async with whole() as one, stream(one) as sidecar:
        await sidecar.say(publication())
        await holds(one, "127.0.0.1:20881 1")
        await sidecar.say(publication(application_health=registration_pb2.APPLICATION_HEALTH_SILENT))
        await holds(one)
        await sidecar.say(publication(application_health=registration_pb2.APPLICATION_HEALTH_ANSWERING))
        await holds(one, "127.0.0.1:20881 1")


async def test_a_next_stream_takes_over_and_an_older_one_is_refused() -> None:
    async with whole() as one, stream(one, 5) as first:
        await first.say(publication())
        async with stream(one, 6) as second:
            assert await second.say(publication()) == ""
            assert (await first.ended())[0] is grpc.StatusCode.UNAVAILABLE
            await holds(one, "127.0.0.1:20881 6")
            async with stream(one, 5) as late:
                with pytest.raises(pytest.fail.Exception, match="FAILED_PRECONDITION: epoch: 5"):
                    await late.say(publication())
                assert await late.metadata() == {"isthmus-epoch": "6"}


async def test_streams_that_may_not_be_are_refused() -> None:
    async with whole(max_leases=1) as one:
        async with stream(one, node="") as nobody:
            with pytest.raises(pytest.fail.Exception, match="INVALID_ARGUMENT: node_id"):
                await nobody.say()
        async with stream(one) as first, stream(one, node="other") as second:
            await first.say(publication())
            with pytest.raises(pytest.fail.Exception, match="max_leases"):
                await second.say(publication())


async def test_what_another_replica_holds_with_a_greater_epoch_is_left_to_it() -> None:
    async with whole(grace_s=60.0) as one, stream(one, 5) as sidecar:
        await sidecar.say(publication())
        await holds(one, "127.0.0.1:20881 5")
        (name,) = one.server.names(PLACE)
        newer = name.replace("epoch%3D5", "epoch%3D9")
        one.server.commit(99, PLACE, newer, [name])
        await until(one.instances, 0)
        assert one.server.names(PLACE) == {newer}
        assert "greater epoch 9" in await sidecar.say(publication())


async def test_what_another_replica_has_written_is_not_taken_with_a_smaller_epoch() -> None:
    async with whole() as one:
        registrations = one.parts.registrations
        assert registrations is not None
        offers, _ = read_publications([publication()], NamingRule())
        ((key, offer),) = offers.items()
        registrations.learn("zoo", PLACE, [registered(offer, ServiceKey("default", "x"), up=(False, True), epoch=7)])
        async with stream(one, 6) as late:
            with pytest.raises(pytest.fail.Exception, match="FAILED_PRECONDITION: epoch: 6"):
                await late.say(publication())
            assert await late.metadata() == {"isthmus-epoch": "7"}
        async with stream(one, 8) as newer:
            assert await newer.say(publication()) == ""
        assert key.id == "127.0.0.1:20881"


async def test_a_sidecar_that_is_about_to_stop_is_followed_by_its_application() -> None:
    application = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = application.sockets[0].getsockname()[1]
    own = publication(native_host="127.0.0.1", native_port=port)
    async with whole(grace_s=60.0) as one:
        async with stream(one) as sidecar:
            await sidecar.say(own)
            await holds(one, "127.0.0.1:20881 1")
            await sidecar.say(own, leaving=True)
            await holds(one, f"127.0.0.1:{port} 1")
            (lease,) = (await one.admin("/leases"))["leases"]
            assert lease["state"] == "leaving"
        application.close()
        await application.wait_closed()
        await holds(one)


async def test_a_bridge_that_has_lost_its_registry_sends_its_sidecars_away_once() -> None:
    async with whole(grace_s=60.0) as one:
        async with stream(one, 1) as sidecar:
            await sidecar.say(publication())
            await holds(one, "127.0.0.1:20881 1")
            one.store.partition()
            assert (await sidecar.ended())[0] is grpc.StatusCode.UNAVAILABLE
        async with stream(one, 2) as sidecar:
            assert await sidecar.say(publication()) == ""
            one.store.heal()
            await holds(one, "127.0.0.1:20881 2")
            assert await sidecar.say(keep_alive=True) == ""
