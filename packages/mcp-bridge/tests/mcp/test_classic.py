"""Classic MCP as transcripts, and over gRPC in both directions of dialling."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources, Resources, SinkNode
from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_mcp_bridge.app import COUNTERS, GAUGES
from isthmus_mcp_bridge.mcp import messages
from isthmus_mcp_bridge.mcp.classic import (
    SERVICE_ENTRIES,
    TRIGGER,
    ClassicRequest,
    ClassicSession,
    UnsupportedCollection,
)
from isthmus_mcp_bridge.mcp.dialler import dial
from isthmus_mcp_bridge.mcp.service import McpSource, SourceSettings
from isthmus_mcp_bridge.mcp.session import Outcome, Rejection
from isthmus_mcp_bridge.mcp.snapshot import Collection, Snapshot, SnapshotResource
from isthmus_mcp_bridge.observe.metrics import Metrics

GATEWAYS = "istio/networking/v1alpha3/gateways"


def resource(name: str, version: str, size: int = 0) -> SnapshotResource:
    from google.protobuf.any_pb2 import Any as ProtoAny

    inner = Resource(metadata=Metadata(name=name, version=version, annotations={"x": "x" * size} if size else {}))
    packed = ProtoAny()
    packed.Pack(inner)
    return SnapshotResource(name, version, packed.SerializeToString())


def snapshot(**versions: str) -> Snapshot:
    return Snapshot(Collection({f"ns/{name}": resource(f"ns/{name}", version) for name, version in versions.items()}))


def session(max_bytes: int = 10_000) -> ClassicSession:
    numbers = itertools.count(1)
    return ClassicSession(lambda: f"n{next(numbers)}", max_bytes)


def sent(one: ClassicSession) -> Resources | None:
    response = one.next_response()
    if response is None:
        return None
    data = messages.classic_response(response, incremental=one.is_incremental(response.type_url))
    return Resources.FromString(data)


def names(response: Resources | None) -> tuple[str, bool, list[tuple[str, str]], list[str]]:
    assert response is not None
    listed = [(one.metadata.name, one.metadata.version) for one in response.resources]
    return response.nonce, response.incremental, listed, list(response.removed_resources)


def ask(nonce: str = "", error: Rejection | None = None, **held: str) -> ClassicRequest:
    return ClassicRequest(SERVICE_ENTRIES, nonce, {f"ns/{name}": one for name, one in held.items()}, True, error)


def test_the_transcript_of_an_incremental_sink() -> None:
    one = session()
    one.publish(snapshot(A="1", B="1"))
    assert one.handle_request(ask()) is Outcome.SUBSCRIBE
    assert names(sent(one)) == ("n1", True, [("ns/A", "1"), ("ns/B", "1")], [])
    one.publish(snapshot(B="2"))
    assert sent(one) is None  # one response outstanding
    assert one.handle_request(ask("n1")) is Outcome.ACK
    assert names(sent(one)) == ("n2", True, [("ns/B", "2")], ["ns/A"])
    assert one.handle_request(ask("n2", Rejection(3, "no"))) is Outcome.NACK
    assert sent(one) is None  # the same is not sent again
    assert one.handle_request(ask("n1")) is Outcome.STALE
    one.publish(snapshot(B="3"))
    assert names(sent(one)) == ("n3", True, [("ns/B", "3")], ["ns/A"])


def test_a_sink_that_comes_back_says_what_it_has() -> None:
    one = session()
    one.publish(snapshot(A="1", B="2"))
    one.handle_request(ask(A="1", B="1", C="1"))
    assert names(sent(one)) == ("n1", True, [("ns/B", "2")], ["ns/C"])


def test_a_sink_without_increments_gets_everything_each_time() -> None:
    one = session(max_bytes=1)
    one.publish(snapshot(A="1", B="1"))
    one.handle_request(ClassicRequest(SERVICE_ENTRIES))
    assert names(sent(one)) == ("n1", False, [("ns/A", "1"), ("ns/B", "1")], [])
    one.publish(snapshot(B="2"))
    one.handle_request(ClassicRequest(SERVICE_ENTRIES, "n1"))
    assert names(sent(one)) == ("n2", False, [("ns/B", "2")], [])


def test_increments_that_are_too_big_travel_in_parts() -> None:
    one = session(max_bytes=2000)
    big = {f"ns/{name}": resource(f"ns/{name}", "1", 1500) for name in "ABC"}
    one.publish(Snapshot(Collection(big)))
    one.handle_request(ask())
    for number, name in enumerate("ABC", 1):
        assert names(sent(one)) == (f"n{number}", True, [(f"ns/{name}", "1")], [])
        one.handle_request(ask(f"n{number}"))
    assert sent(one) is None


def test_other_collections_are_empty_and_foreign_ones_are_refused() -> None:
    one = session()
    one.handle_request(ClassicRequest(GATEWAYS))
    assert names(sent(one)) == ("n1", False, [], [])
    assert one.handle_request(ClassicRequest(TRIGGER, error=Rejection(12, "unimplemented"))) is Outcome.STALE
    assert sent(one) is None
    with pytest.raises(UnsupportedCollection):
        one.handle_request(ClassicRequest("k8s/core/v1/pods"))


def source() -> McpSource:
    made = McpSource(SourceSettings(), Metrics(COUNTERS, GAUGES), "t")
    made.publish(snapshot(A="1"))
    return made


@pytest.mark.asyncio
async def test_a_sink_dials() -> None:
    made = source()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((made.classic_handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with asyncio.timeout(20), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_stream(
            "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream",
            RequestResources.SerializeToString,
            Resources.FromString,
        )
        call = method()
        await call.write(RequestResources(sink_node=SinkNode(id="pilot"), collection=SERVICE_ENTRIES, incremental=True))
        response = await call.read()
        assert [one.metadata.name for one in response.resources] == ["ns/A"]
        assert [(one.variant, one.node) for one in made.streams] == [("classic", "pilot")]
        await call.write(RequestResources(collection="nonsense"))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    await server.stop(0)


@pytest.mark.asyncio
async def test_the_bridge_dials_and_comes_back_when_the_stream_ends() -> None:
    made, streams = source(), []
    done = asyncio.Event()

    async def sink(requests: Any, context: Any) -> None:
        first = await anext(aiter(requests))
        assert first.collection == TRIGGER
        await context.write(RequestResources(collection=SERVICE_ENTRIES, incremental=True))
        response = await anext(aiter(requests))
        streams.append([one.metadata.name for one in response.resources])
        if len(streams) == 2:
            done.set()

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(sink, Resources.FromString, RequestResources.SerializeToString)
    handlers = {"EstablishResourceStream": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("istio.mcp.v1alpha1.ResourceSink", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    task = asyncio.create_task(dial(f"127.0.0.1:{port}", made.serve_classic))
    async with asyncio.timeout(20):
        await done.wait()
    assert streams == [["ns/A"], ["ns/A"]]
    task.cancel()
    await asyncio.wait([task])
    await server.stop(0)
