"""The MCP services over a real gRPC connection, in both directions of dialling."""

from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio
import pytest

from isthmus_api.istio.mcp.v1alpha1 import mcp_pb2_grpc
from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources, Resources, SinkNode

COLLECTION = "istio/networking/v1alpha3/serviceentries"
DEADLINE_S = 30.0


class Source(mcp_pb2_grpc.ResourceSourceServicer):
    """Answers each request with the nonce that belongs to its number."""

    async def EstablishResourceStream(  # noqa: N802 - the name of the method in the protocol
        self, request_iterator: AsyncIterator[RequestResources], context: object
    ) -> AsyncIterator[Resources]:
        number = 0
        async for request in request_iterator:
            number += 1
            yield Resources(collection=request.collection, nonce=str(number))


class Sink(mcp_pb2_grpc.ResourceSinkServicer):
    """Subscribes, then acknowledges whatever arrives."""

    async def EstablishResourceStream(  # noqa: N802 - the name of the method in the protocol
        self, request_iterator: AsyncIterator[Resources], context: object
    ) -> AsyncIterator[RequestResources]:
        yield RequestResources(sink_node=SinkNode(id="sink"), collection=COLLECTION)
        async for resources in request_iterator:
            yield RequestResources(collection=resources.collection, response_nonce=resources.nonce)


async def serve(register: Callable[[grpc.aio.Server], None]) -> tuple[grpc.aio.Server, grpc.aio.Channel]:
    server = grpc.aio.server()
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, grpc.aio.insecure_channel(f"127.0.0.1:{port}")


@pytest.mark.asyncio
async def test_a_sink_dials_its_source() -> None:
    server, channel = await serve(lambda server: mcp_pb2_grpc.add_ResourceSourceServicer_to_server(Source(), server))

    async def requests() -> AsyncIterator[RequestResources]:
        yield RequestResources(sink_node=SinkNode(id="sink"), collection=COLLECTION)
        yield RequestResources(collection=COLLECTION, response_nonce="1")

    async with channel:
        stub = mcp_pb2_grpc.ResourceSourceStub(channel)
        answers = [answer async for answer in stub.EstablishResourceStream(requests(), timeout=DEADLINE_S)]
    await server.stop(None)
    assert [(answer.collection, answer.nonce) for answer in answers] == [(COLLECTION, "1"), (COLLECTION, "2")]


@pytest.mark.asyncio
async def test_a_source_dials_its_sink() -> None:
    server, channel = await serve(lambda server: mcp_pb2_grpc.add_ResourceSinkServicer_to_server(Sink(), server))

    async def resources() -> AsyncIterator[Resources]:
        yield Resources(collection=COLLECTION, nonce="7")

    async with channel:
        stub = mcp_pb2_grpc.ResourceSinkStub(channel)
        answers = [answer async for answer in stub.EstablishResourceStream(resources(), timeout=DEADLINE_S)]
    await server.stop(None)
    assert [(answer.collection, answer.response_nonce) for answer in answers] == [(COLLECTION, ""), (COLLECTION, "7")]


@pytest.mark.asyncio
async def test_the_method_has_istios_path() -> None:
    """A peer that knows only the path and the bytes is served."""
    server, channel = await serve(lambda server: mcp_pb2_grpc.add_ResourceSourceServicer_to_server(Source(), server))

    async def requests() -> AsyncIterator[bytes]:
        yield b"\x12\x03a/b"

    async with channel:
        path = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream"
        call = channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
        answers = [answer async for answer in call(requests(), timeout=DEADLINE_S)]
    await server.stop(None)
    assert answers == [b"\x12\x03a/b\x2a\x011"]
