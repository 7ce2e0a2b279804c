"""The sink against a source on the loopback interface: it follows, survives the source, and never empties itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.discovery.v3.discovery_pb2 import Resource as DiscoveryResource
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.stores.base import StoreState
from isthmus_controlplane.stores.mcp_session import TYPE_URL
from isthmus_controlplane.stores.mcp_sink import Backoff, McpSink, Variant, parse_address
from isthmus_controlplane.xds.testing import eventually


def packed(name: str, version: str, port: int) -> AnyMessage:
    entry = AnyMessage()
    entry.Pack(ServiceEntry(hosts=["reviews.shop"], ports=[{"number": port, "name": "http"}]))  # type: ignore[list-item]
    resource = Resource(body=entry)
    resource.metadata.name, resource.metadata.version = name, version
    body = AnyMessage()
    body.Pack(resource)
    return body


def delta(nonce: str, *names: str, removed: tuple[str, ...] = (), version: str = "1", port: int = 80) -> Message:
    message: Message = DeltaDiscoveryResponse(
        type_url=TYPE_URL,
        nonce=nonce,
        removed_resources=removed,
        resources=[DiscoveryResource(name=n, version=version, resource=packed(n, version, port)) for n in names],
    )
    return message


def sotw(nonce: str, *names: str, version: str = "1", port: int = 80) -> Message:
    message: Message = DiscoveryResponse(
        type_url=TYPE_URL, nonce=nonce, version_info=nonce, resources=[packed(n, version, port) for n in names]
    )
    return message


class Source:
    """A source that sends what the test tells it, and keeps what it is told."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.streams: list[asyncio.Queue[Message | None]] = []
        self.server: grpc.aio.Server | None = None
        self.address = "127.0.0.1:0"

    async def start(self) -> None:
        server: Any = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods = {
            name: grpc.stream_stream_rpc_method_handler(
                self.serve, request_deserializer=request.FromString, response_serializer=response.SerializeToString
            )
            for name, request, response in (
                ("DeltaAggregatedResources", DeltaDiscoveryRequest, DeltaDiscoveryResponse),
                ("StreamAggregatedResources", DiscoveryRequest, DiscoveryResponse),
            )
        }
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        self.address = f"127.0.0.1:{server.add_insecure_port(self.address)}"
        await server.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(None)
            self.server = None

    async def serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self.streams.append(queue)

        async def listen() -> None:
            async for request in requests:
                self.requests.append(request)

        listening = asyncio.create_task(listen())
        try:
            while (message := await queue.get()) is not None:
                await context.write(message)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def requested(self, number: int) -> Any:
        """Return a request by number, from 1, as soon as it is there."""
        await eventually(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    def send(self, message: Message | None) -> None:
        """Send on the newest stream; None ends it."""
        self.streams[-1].put_nowait(message)


class Run:
    """A sink at work, with what it published and the waits it asked for; waits take no time."""

    def __init__(self, source: Source, variant: Variant) -> None:
        self.states: list[StoreState] = []
        self.waits: list[float] = []
        self.sink = McpSink(
            f"xds://{source.address}",
            node_id="isthmus-controlplane~a",
            variant=variant,
            randomness=random.Random(1),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.01)

    @property
    def names(self) -> list[str]:
        return [f"{key.namespace}/{key.name}" for key in self.states[-1].objects]


@asynccontextmanager
async def running(source: Source, variant: Variant = "delta") -> AsyncIterator[Run]:
    run = Run(source, variant)
    task = asyncio.create_task(run.sink.run(run.states.append))
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.stop()


@pytest.mark.asyncio
async def test_delta_sink_follows_and_acknowledges() -> None:
    source = Source()
    await source.start()
    async with running(source) as run:
        first = await source.requested(1)
        assert (first.type_url, list(first.resource_names_subscribe)) == (TYPE_URL, ["*"])
        assert first.node.id == "isthmus-controlplane~a"
        assert first.node.metadata["GENERATOR"] == "api"
        source.send(delta("n1", "shop/a", "shop/b"))
        answer = await source.requested(2)
        assert (answer.response_nonce, answer.HasField("error_detail")) == ("n1", False)
        assert run.names == ["shop/a", "shop/b"]
        source.send(delta("n2", "shop/a", version="2", port=81, removed=("shop/b",)))
        await source.requested(3)
        assert run.names == ["shop/a"]
        assert run.states[-1].problems == ()
        assert run.sink.status.connected


@pytest.mark.asyncio
async def test_sotw_sink_follows_and_acknowledges() -> None:
    source = Source()
    await source.start()
    async with running(source, "sotw") as run:
        await source.requested(1)
        source.send(sotw("n1", "shop/a", "shop/b"))
        answer = await source.requested(2)
        assert (answer.response_nonce, answer.version_info) == ("n1", "n1")
        source.send(sotw("n2", "shop/b", "bad"))
        answer = await source.requested(3)
        assert (answer.response_nonce, answer.version_info) == ("n2", "n1")
        assert "'bad'" in answer.error_detail.message
        assert run.names == ["shop/b"]


@pytest.mark.asyncio
async def test_bad_resource_is_rejected_by_name_while_good_ones_apply() -> None:
    source = Source()
    await source.start()
    async with running(source) as run:
        await source.requested(1)
        source.send(delta("n1", "shop/a", "bad"))
        answer = await source.requested(2)
        assert answer.response_nonce == "n1"
        assert "bad" in answer.error_detail.message
        assert run.names == ["shop/a"]
        assert [problem.origin for problem in run.states[-1].problems] == [f"xds://{source.address} bad"]
        assert run.sink.status.rejected == 1


@pytest.mark.asyncio
async def test_response_of_another_type_is_rejected_and_changes_nothing() -> None:
    source = Source()
    await source.start()
    async with running(source) as run:
        await source.requested(1)
        source.send(delta("n1", "shop/a"))
        await source.requested(2)
        source.send(DeltaDiscoveryResponse(type_url="other", nonce="n2", removed_resources=["shop/a"]))
        answer = await source.requested(3)
        assert "'other'" in answer.error_detail.message
        assert run.names == ["shop/a"]


@pytest.mark.asyncio
@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_lost_source_leaves_the_state_and_a_problem(variant: Variant) -> None:
    source = Source()
    await source.start()
    async with running(source, variant) as run:
        await source.requested(1)
        source.send(delta("n1", "shop/a") if variant == "delta" else sotw("n1", "shop/a"))
        await source.requested(2)
        await source.stop()
        await eventually(lambda: bool(run.states[-1].problems))
        assert run.names == ["shop/a"]
        assert run.states[-1].synced
        assert "disconnected" in run.states[-1].problems[0].message
        assert not run.sink.status.connected
        await eventually(lambda: len(run.waits) >= 3)
        assert all(state.objects for state in run.states if state.synced)

        source.requests.clear()
        await source.start()
        again = await source.requested(1)
        if variant == "delta":
            assert dict(again.initial_resource_versions) == {"shop/a": "1"}
        source.send(delta("m1") if variant == "delta" else sotw("m1", "shop/a"))
        await eventually(lambda: run.states[-1].problems == ())
        assert run.names == ["shop/a"]
        assert run.sink.status.failures == 0


@pytest.mark.asyncio
async def test_stream_that_the_source_ends_is_opened_again() -> None:
    source = Source()
    await source.start()
    async with running(source) as run:
        await source.requested(1)
        source.send(None)
        await source.requested(2)
        source.send(delta("n1", "shop/a"))
        await source.requested(3)
        assert run.names == ["shop/a"]
        assert len(run.waits) == 1


@pytest.mark.asyncio
async def test_source_that_was_never_there_is_a_problem_and_no_state() -> None:
    source = Source()
    await source.start()
    await source.stop()
    async with running(source) as run:
        await eventually(lambda: len(run.waits) >= 3)
        assert not run.states[0].synced
        assert "no services are known yet" in run.states[0].problems[0].message
        assert run.waits[0] < run.waits[2]


@pytest.mark.asyncio
async def test_unchanged_state_is_not_published_again() -> None:
    source = Source()
    await source.start()
    async with running(source) as run:
        await source.requested(1)
        source.send(delta("n1", "shop/a"))
        await source.requested(2)
        source.send(delta("n2", "shop/a"))
        await source.requested(3)
        assert len(run.states) == 1


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_waits_grow_to_a_bound_and_never_vanish(failures: int, seed: int) -> None:
    backoff = Backoff(first=0.5, most=8.0)
    wait = backoff.delay(failures, random.Random(seed))
    assert 0.25 <= wait <= 8.0
    assert wait >= min(8.0, 0.5 * 2.0 ** min(failures - 1, 10)) / 2


@pytest.mark.parametrize("address", ["127.0.0.1:15020", "bridge.mesh:1", "[::1]:65535"])
def test_addresses_are_read(address: str) -> None:
    assert parse_address(f"xds://{address}") == address


@pytest.mark.parametrize(
    "source", ["", "127.0.0.1:1", "http://a:1", "xds://a", "xds://:1", "xds://a:0", "xds://a:65536", "xds://a:1/x"]
)
def test_other_addresses_are_refused_by_value(source: str) -> None:
    with pytest.raises(ConfigError, match="xds://HOST:PORT"):
        parse_address(source)
