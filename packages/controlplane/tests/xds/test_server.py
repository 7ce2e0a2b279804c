"""The server over real gRPC connections on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import Message

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.push import PushStatus
from isthmus_controlplane.xds.server import ServerSettings, XdsServer
from isthmus_controlplane.xds.session import Limits
from isthmus_controlplane.xds.stream import Deadlines
from isthmus_controlplane.xds.testing import (
    NODE,
    cluster,
    endpoints,
    eventually,
    listener,
    names_in,
    route,
    snapshot_of,
)

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
PATIENCE = 20.0


class Harness:
    """A running server whose scopes all get the same messages."""

    def __init__(self, settings: ServerSettings | None = None) -> None:
        self.current: Snapshot | None = None
        self.needed: list[Scope] = []
        self.converged: list[PushStatus] = []
        self.server = XdsServer(
            "127.0.0.1:0", on_scope_needed=self.need, on_push_converged=self.converged.append, settings=settings
        )
        self.channels: list[grpc.aio.Channel] = []
        self.address = ""

    def need(self, scope: Scope) -> None:
        self.needed.append(scope)
        if self.current is not None:
            self.server.publish(scope, self.current, "a client arrived")

    def publish(self, *messages: Message, cause: str = "test") -> int | None:
        self.current = snapshot_of(*messages, previous=self.current)
        return self.server.publish_all(dict.fromkeys(self.server.scopes_in_use(), self.current), cause)

    def open(self, method: str, request: Any, response: Any) -> Any:
        # Without probing, the flow-control window stays small, and one that does not read is soon noticed.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        channel: Any = grpc.aio.insecure_channel(self.address, options=options)
        self.channels.append(channel)
        return channel.stream_stream(
            method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )()

    def delta(self, method: str = f"{ADS}/DeltaAggregatedResources") -> Any:
        return self.open(method, DeltaDiscoveryRequest, DeltaDiscoveryResponse)

    def sotw(self, method: str = f"{ADS}/StreamAggregatedResources") -> Any:
        return self.open(method, DiscoveryRequest, DiscoveryResponse)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close(None)
        await self.server.stop(1.0)


@asynccontextmanager
async def running(settings: ServerSettings | None = None) -> AsyncIterator[Harness]:
    made = Harness(settings)
    made.address = await made.server.start()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture
async def harness() -> AsyncIterator[Harness]:
    async with running() as made:
        yield made


async def read(stream: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await stream.read()


async def failure(stream: Any) -> tuple[grpc.StatusCode, str]:
    """Read until the stream fails."""
    try:
        while isinstance(await read(stream), Message):
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("the stream ended well")


def delta_ack(response: Any) -> Message:
    message: Message = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
    return message


def sotw_ack(response: Any, *names: str) -> Message:
    message: Message = DiscoveryRequest(
        type_url=response.type_url,
        response_nonce=response.nonce,
        version_info=response.version_info,
        resource_names=names,
    )
    return message


@pytest.mark.asyncio
async def test_sotw_stream_gets_changes_in_order(harness: Harness) -> None:
    harness.publish(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a"))
    stream = harness.sotw()
    await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER))
    names: list[str]
    for type_url, names in ((CLUSTER, []), (ENDPOINT, ["a"]), (LISTENER, []), (ROUTE, ["r"])):
        if type_url != CLUSTER:  # the node is in the first request only
            await stream.write(DiscoveryRequest(type_url=type_url, resource_names=names))
        response = await read(stream)
        assert response.type_url == type_url
        await stream.write(sotw_ack(response, *names))
    await eventually(lambda: all(row.synced for c in harness.server.clients() for row in c.types))
    harness.publish(cluster("a", 2), endpoints("a", 2), listener("l", "r", 2), route("r", "a", "a"))
    order = []
    for _ in range(4):
        response = await read(stream)
        order.append(response.type_url)
        names = {ENDPOINT: ["a"], ROUTE: ["r"]}.get(response.type_url, [])
        await stream.write(sotw_ack(response, *names))
    assert order == [CLUSTER, ENDPOINT, LISTENER, ROUTE]
    await eventually(lambda: len(harness.converged) == 2)


@pytest.mark.asyncio
async def test_delta_push_converges_when_acknowledged(harness: Harness) -> None:
    harness.publish(cluster("a"))
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    await stream.write(delta_ack(await read(stream)))
    await eventually(lambda: len(harness.converged) == 1)
    push = harness.publish(cluster("a"), cluster("b"), cause="b was added")
    response = await read(stream)
    assert names_in(response) == ["b"]
    assert harness.server.pushes()[-1].converged_after is None
    await stream.write(delta_ack(response))
    await eventually(lambda: len(harness.converged) == 2)
    done = harness.converged[-1]
    assert (done.id, done.cause, done.touched, done.acknowledged) == (push, "b was added", 1, 1)
    assert done.accepted


@pytest.mark.asyncio
async def test_rejection_shows_in_status_and_metrics(harness: Harness) -> None:
    harness.publish(cluster("a"))
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    rejection: Any = delta_ack(await read(stream))
    rejection.error_detail.message = "cluster a is bad"
    await stream.write(rejection)
    await eventually(lambda: bool(harness.converged))
    assert harness.converged[0].rejected == 1
    (client,) = harness.server.clients()
    assert (client.node_id, client.user_agent.split("/")[0], client.variant) == (NODE.id, "envoy", "delta")
    (row,) = client.types
    assert row.nack is not None
    assert (row.nack.message, row.nack.resources) == ("cluster a is bad", ("a",))
    assert 'isthmus_xds_nacks_total{type="CDS"} 1' in harness.server.metrics_text()


@pytest.mark.asyncio
async def test_nothing_is_served_before_it_is_published(harness: Harness) -> None:
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    await eventually(lambda: len(harness.needed) == 1)
    (client,) = harness.server.clients()
    assert client.types[0].version_sent == ""
    harness.publish(cluster("a"))
    assert names_in(await read(stream)) == ["a"]


@pytest.mark.asyncio
async def test_clients_of_one_scope_share_a_snapshot_and_the_last_one_ends_it(harness: Harness) -> None:
    harness.publish(cluster("a"))
    streams = [harness.delta() for _ in range(3)]
    for stream in streams:
        await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
        assert names_in(await read(stream)) == ["a"]
    assert len(harness.needed) == 1
    assert len(harness.server.clients()) == 3
    for stream in streams:
        stream.cancel()
    await eventually(lambda: harness.server.scopes_in_use() == frozenset())
    assert harness.server.snapshot(harness.needed[0]) is None
    assert harness.publish(cluster("b")) is None


@pytest.mark.asyncio
async def test_scopes_get_their_own_snapshots(harness: Harness) -> None:
    other = Node(id="sidecar~10.0.0.2~b.shop~shop.svc.cluster.local")
    first, second = harness.delta(), harness.delta()
    await first.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    await second.write(DeltaDiscoveryRequest(node=other, type_url=CLUSTER))
    await eventually(lambda: len(harness.needed) == 2)
    by_namespace = {scope.namespace: scope for scope in harness.needed}
    snapshots = {
        by_namespace["default"]: snapshot_of(cluster("a")),
        by_namespace["shop"]: snapshot_of(cluster("b")),
    }
    push = harness.server.publish_all(snapshots, "both at once")
    assert names_in(await read(first)) == ["a"]
    assert names_in(await read(second)) == ["b"]
    assert [p.clients for p in harness.server.pushes() if p.id == push] == [2]


@pytest.mark.asyncio
async def test_equal_snapshot_is_no_push(harness: Harness) -> None:
    harness.publish(cluster("a"))
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    await read(stream)
    assert harness.publish(cluster("a")) is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (DiscoveryRequest(node=NODE), "type_url is empty"),
        (DiscoveryRequest(type_url=CLUSTER), "node is missing"),
    ],
)
async def test_senseless_requests_are_refused(harness: Harness, request_: Any, words: str) -> None:
    stream = harness.sotw()
    await stream.write(request_)
    code, details = await failure(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in details
    assert 'isthmus_xds_rejected_streams_total{code="INVALID_ARGUMENT"} 1' in harness.server.metrics_text()


@pytest.mark.asyncio
async def test_bytes_that_are_no_request_are_refused(harness: Harness) -> None:
    channel: Any = grpc.aio.insecure_channel(harness.address)
    harness.channels.append(channel)
    stream = channel.stream_stream(f"{ADS}/StreamAggregatedResources")()
    await stream.write(b"\xff\xff\xff")
    code, details = await failure(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "envoy.service.discovery.v3.DiscoveryRequest" in details


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("service", "plural", "type_url", "names"),
    [
        ("cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER, []),
        ("endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT, ["a"]),
        ("listener.v3.ListenerDiscoveryService", "Listeners", LISTENER, []),
        ("route.v3.RouteDiscoveryService", "Routes", ROUTE, ["r"]),
    ],
)
async def test_per_type_services_need_no_type_url(
    harness: Harness, service: str, plural: str, type_url: str, names: list[str]
) -> None:
    harness.publish(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a"))
    sotw = harness.sotw(f"/envoy.service.{service}/Stream{plural}")
    await sotw.write(DiscoveryRequest(node=NODE, resource_names=names))
    assert (await read(sotw)).type_url == type_url
    delta = harness.delta(f"/envoy.service.{service}/Delta{plural}")
    await delta.write(DeltaDiscoveryRequest(node=NODE, resource_names_subscribe=names))
    assert (await read(delta)).type_url == type_url


@pytest.mark.asyncio
async def test_per_type_service_refuses_another_type(harness: Harness) -> None:
    stream = harness.sotw("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters")
    await stream.write(DiscoveryRequest(node=NODE, type_url=ENDPOINT))
    assert (await failure(stream))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.asyncio
async def test_client_that_never_reads_is_cut_off_and_disturbs_nobody() -> None:
    """Its flow-control window fills up; nothing is queued behind it, and the write deadline ends it."""
    settings = ServerSettings(deadlines=Deadlines(write=3.0), limits=Limits(response_bytes=64 * 1024 * 1024))
    async with running(settings) as harness:
        big = [cluster(f"cluster-{'x' * 1000}-{i}") for i in range(2000)]
        harness.publish(*big)
        deaf = harness.delta()
        await deaf.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
        await eventually(lambda: len(harness.server.clients()) == 1)
        lively = harness.delta()
        await lively.write(DeltaDiscoveryRequest(node=NODE, type_url=ENDPOINT, resource_names_subscribe=["e"]))
        for port in range(1, 20):
            harness.publish(*big, endpoints("e", port))
            await lively.write(delta_ack(await read(lively)))
        await eventually(lambda: [c.method for c in harness.server.clients()] == ["DeltaAggregatedResources"])
        assert harness.server.metrics.total("rejected_streams") == 1
        assert 'code="DEADLINE_EXCEEDED"' in harness.server.metrics_text()


@pytest.mark.asyncio
async def test_stream_without_a_request_is_ended() -> None:
    async with running(ServerSettings(deadlines=Deadlines(first_request=0.1))) as harness:
        stream = harness.sotw()
        await stream.wait_for_connection()
        code, _ = await failure(stream)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.asyncio
async def test_streams_are_bounded() -> None:
    async with running(ServerSettings(max_streams=1)) as harness:
        first = harness.delta()
        await first.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
        await eventually(lambda: len(harness.server.clients()) == 1)
        code, _ = await failure(harness.delta())
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        await eventually(lambda: not harness.server.clients())
        third = harness.delta()
        await third.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
        await eventually(lambda: len(harness.server.clients()) == 1)


@pytest.mark.asyncio
async def test_stopping_ends_streams_with_a_reason(harness: Harness) -> None:
    harness.publish(cluster("a"))
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    await read(stream)
    await harness.server.stop(10.0)
    code, _ = await failure(stream)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert harness.server.clients() == ()


@pytest.mark.asyncio
async def test_taken_address_is_a_configuration_error(harness: Harness) -> None:
    other = XdsServer(harness.address, on_scope_needed=lambda _: None)
    with pytest.raises(ConfigError, match=harness.address):
        await other.start()


@pytest.mark.asyncio
async def test_thousand_changes_while_a_client_thinks_are_one_response(harness: Harness) -> None:
    harness.publish(endpoints("a", 1))
    stream = harness.delta()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=ENDPOINT, resource_names_subscribe=["a"]))
    first = await read(stream)
    for port in range(2, 1002):
        harness.publish(endpoints("a", port))
    await stream.write(delta_ack(first))
    newest = await read(stream)
    assert newest.resources[0].resource.value == endpoints("a", 1001).SerializeToString()
    await stream.write(delta_ack(newest))
    await eventually(lambda: harness.server.pushes()[-1].converged_after is not None)
    assert harness.server.metrics.total("responses") == 2


@pytest.mark.asyncio
async def test_health_is_told_until_the_server_stops() -> None:
    async with running() as harness:
        channel: Any = grpc.aio.insecure_channel(harness.address)
        harness.channels.append(channel)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"
        name = ADS.strip("/").encode()
        assert await check(b"\x0a" + bytes([len(name)]) + name) == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await check(b"\x0a\x01x")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert await watch.read() == b"\x08\x01"
        stopping = asyncio.create_task(harness.server.stop(5.0))
        assert await watch.read() == b"\x08\x02"
        await stopping
