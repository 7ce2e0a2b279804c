"""The bridge as a reader of policies, against a server of MCP over xDS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.wrappers_pb2 import StringValue

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode, View
from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.dualmode.xds_source import TYPE_URL, XdsPolicies
from isthmus_mcp_bridge.testing.eventually import eventually

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def packed(message: Any) -> Packed:
    body = Packed()
    body.Pack(message)
    return body


def resource(name: str, spec: Any) -> Packed:
    return packed(Resource(metadata=Metadata(name=name, version="1"), body=packed(spec)))


def response(*resources: Packed, nonce: str = "1", type_url: str = TYPE_URL) -> DiscoveryResponse:
    return DiscoveryResponse(type_url=type_url, version_info=f"v{nonce}", nonce=nonce, resources=resources)


class Server:
    """Answers every stream with the responses that the test puts into ``out``; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[DiscoveryRequest] = []
        self.out: asyncio.Queue[DiscoveryResponse | None] = asyncio.Queue()
        self.port = 0
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def start(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=DiscoveryResponse.SerializeToString,
        )
        handlers = {"StreamAggregatedResources": handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _stream(self, requests: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        reading = asyncio.create_task(self._read(requests))
        try:
            while (message := await self.out.get()) is not None:
                await context.write(message)
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[DiscoveryRequest]) -> None:
        async for request in requests:
            self.requests.append(request)


class Bench:
    """A server, and a reader of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.changes = 0
        self.book = PolicyBook("xds://x")
        target = f"127.0.0.1:{server.port}"
        self.source = XdsPolicies(target, "bridge~a", self.book, self._changed, lambda: 7.0, lambda: 0.5)

    def _changed(self) -> None:
        self.changes += 1

    async def put(self, message: DiscoveryResponse | None) -> None:
        await self.server.out.put(message)

    async def answered(self, count: int) -> DiscoveryRequest:
        """The request of that number, the first one of a stream included."""
        await eventually(lambda: len(self.server.requests) >= count, lambda: self.server.requests)
        return self.server.requests[count - 1]

    def hosts(self) -> list[str]:
        return [policy.host for policy in self.book.policies]


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    server = Server()
    await server.start()
    one = Bench(server)
    task = asyncio.create_task(one.source.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])
        await server.stop()


@pytest.mark.asyncio
async def test_it_asks_as_a_reader_of_objects_and_acknowledges() -> None:
    async with bench() as one:
        first = await one.answered(1)
        assert (first.type_url, first.node.id, first.node.metadata["GENERATOR"]) == (TYPE_URL, "bridge~a", "api")
        await one.put(response(resource("default/one", DualMode(host="a"))))
        answer = await one.answered(2)
        assert (answer.response_nonce, answer.version_info, answer.HasField("error_detail")) == ("1", "v1", False)
        assert (one.hosts(), one.changes, one.book.live) == (["a"], 1, True)
        await one.put(response(nonce="2"))
        await one.answered(3)
        assert one.hosts() == []


@pytest.mark.asyncio
async def test_a_bad_policy_is_rejected_by_name_and_the_others_are_taken() -> None:
    async with bench() as one:
        await one.put(response(resource("default/one", DualMode(host="a"))))
        await one.answered(2)
        bad = resource("default/bad", DualMode(sdk=View(prefer=["x"])))
        await one.put(response(bad, resource("default/two", DualMode(host="b")), nonce="2"))
        answer = await one.answered(3)
        assert (answer.response_nonce, answer.version_info) == ("2", "v1")
        assert "default/bad: spec.sdk.prefer: 'x'" in answer.error_detail.message
        assert one.hosts() == ["b"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("message", "error"),
    [
        (response(type_url="x"), "the type is 'x'"),
        (response(packed(StringValue(value="x"))), "resources[0]: 'type.googleapis.com/google.protobuf.StringValue'"),
        (response(resource("default/one", StringValue(value="x"))), "resources[0] (default/one).body"),
    ],
)
async def test_what_is_no_policy_changes_nothing(message: DiscoveryResponse, error: str) -> None:
    async with bench() as one:
        await one.put(response(resource("default/one", DualMode(host="a"))))
        await one.answered(2)
        await one.put(message)
        assert error in (await one.answered(3)).error_detail.message
        assert (one.hosts(), one.changes) == (["a"], 1)


@pytest.mark.asyncio
async def test_policies_stay_while_the_control_plane_is_away_and_it_is_asked_again() -> None:
    async with bench() as one:
        await one.put(response(resource("default/one", DualMode(host="a"))))
        await one.answered(2)
        await one.put(None)  # ends the stream
        await eventually(lambda: not one.book.live, lambda: one.book.error)
        assert one.hosts() == ["a"]
        assert (await one.answered(3)).node.id == "bridge~a"
        await one.put(response(resource("default/one", DualMode(host="b"))))
        await eventually(lambda: one.hosts() == ["b"], one.hosts)
        assert one.book.live
