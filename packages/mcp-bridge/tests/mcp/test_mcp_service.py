"""The ADS service over real loopback connections, spoken to the way istiod and a delta sink do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_mcp_bridge.app import COUNTERS, GAUGES
from isthmus_mcp_bridge.catalog.catalog import ServiceChange
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.mcp.service import REFUSED_METRIC, REQUESTS_METRIC, McpSource, SourceSettings
from isthmus_mcp_bridge.mcp.session import MAX_TYPES
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.model import MergedService, ServiceKey, ServicePort, Workload
from isthmus_mcp_bridge.observe.metrics import Metrics
from isthmus_mcp_bridge.testing.eventually import eventually

pytestmark = pytest.mark.asyncio
SE = "networking.istio.io/v1/ServiceEntry"
OLD_SE = "networking.istio.io/v1alpha3/ServiceEntry"
GATEWAY = "networking.istio.io/v1/Gateway"
PATIENCE_S = 20


def snapshot(**ports: int) -> Snapshot:
    publication = Publication()
    for host, port in ports.items():
        key = ServiceKey("default", host)
        workloads = (Workload("10.0.0.1", (("http", port),)),)
        merged = MergedService(key, (ServicePort("http", 80, "HTTP"),), workloads)
        publication.take([ServiceChange(key, merged)])
    return Snapshot(publication.collection())


class Bench:
    """A source on a loopback port, and the channel of a client."""

    def __init__(self, source: McpSource, metrics: Metrics, stub: Any) -> None:
        self.source = source
        self.metrics = metrics
        self.sotw = stub.StreamAggregatedResources
        self.delta = stub.DeltaAggregatedResources


@contextlib.asynccontextmanager
async def bench(settings: SourceSettings | None = None) -> AsyncIterator[Bench]:
    settings = settings or SourceSettings()
    metrics = Metrics(COUNTERS, GAUGES)
    source = McpSource(settings, metrics, "space")
    server = grpc.aio.server(options=settings.channel_options())
    server.add_generic_rpc_handlers((source.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            yield Bench(source, metrics, AggregatedDiscoveryServiceStub(channel))
    finally:
        await server.stop(0)


async def read(call: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await call.read()


async def read_to_the_end(call: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for _ in call:
            pass


def entries(response: Any) -> dict[str, str]:
    """Name -> version of the MCP resources in a response."""
    found = {}
    for packed in response.resources:
        resource = Resource()
        assert getattr(packed, "resource", packed).Unpack(resource)
        found[resource.metadata.name] = resource.metadata.version
    return found


async def test_sotw_as_istiod_speaks_it() -> None:
    async with bench() as one:
        one.source.publish(snapshot(reviews=1, ratings=2))
        call = one.sotw()
        first = DiscoveryRequest(type_url=SE, response_nonce="2026-08-22 10:00:00 +0000 UTC m=+0.1")
        first.node.id = "sidecar~10.0.0.9~istiod.istio-system~istio-system.svc.cluster.local"
        await call.write(first)
        await call.write(DiscoveryRequest(type_url=GATEWAY, response_nonce="2026-08-22"))
        services, gateways = await read(call), await read(call)
        assert services.type_url == SE
        assert list(entries(services)) == ["default/ratings", "default/reviews"]
        assert (gateways.type_url, len(gateways.resources)) == (GATEWAY, 0)
        await call.write(
            DiscoveryRequest(type_url=SE, response_nonce=services.nonce, version_info=services.version_info)
        )
        await eventually(lambda: one.source.streams[0].session.status[SE].acked_version, lambda: one.source.streams)
        assert one.source.streams[0].node.startswith("sidecar~10.0.0.9")
        one.source.publish(snapshot(reviews=7))
        assert list(entries(await read(call))) == ["default/reviews"]
        call.cancel()
        await eventually(lambda: not one.source.streams, lambda: one.source.streams)


async def test_two_istiods_of_different_versions_on_one_bridge() -> None:
    async with bench() as one:
        one.source.publish(snapshot(reviews=1))
        answers = {}
        for type_url in (SE, OLD_SE):
            call = one.sotw()
            await call.write(DiscoveryRequest(type_url=type_url))
            answers[type_url] = await read(call)
        assert answers[SE].type_url == SE
        assert answers[OLD_SE].type_url == OLD_SE
        assert list(answers[SE].resources) == list(answers[OLD_SE].resources)


async def test_delta() -> None:
    async with bench() as one:
        one.source.publish(snapshot(reviews=1, ratings=2))
        call = one.delta()
        await call.write(DeltaDiscoveryRequest(type_url=SE))
        first = await read(call)
        assert {resource.name for resource in first.resources} == {"default/ratings", "default/reviews"}
        assert entries(first) == {resource.name: resource.version for resource in first.resources}
        await call.write(DeltaDiscoveryRequest(type_url=SE, response_nonce=first.nonce))
        one.source.publish(snapshot(reviews=7))
        second = await read(call)
        assert [resource.name for resource in second.resources] == ["default/reviews"]
        assert list(second.removed_resources) == ["default/ratings"]
        call.cancel()
        again = one.delta()
        held = {resource.name: resource.version for resource in second.resources}
        await again.write(DeltaDiscoveryRequest(type_url=SE, initial_resource_versions=held, response_nonce="old"))
        third = await read(again)
        assert (len(third.resources), len(third.removed_resources)) == (0, 0)


async def test_services_are_withheld_until_they_are_published() -> None:
    async with bench() as one:
        call = one.sotw()
        await call.write(DiscoveryRequest(type_url=SE, response_nonce="t"))
        await call.write(DiscoveryRequest(type_url=GATEWAY, response_nonce="t"))
        assert (await read(call)).type_url == GATEWAY
        one.source.publish(snapshot(reviews=1))
        assert list(entries(await read(call))) == ["default/reviews"]


async def test_a_rejection_is_counted_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as one:
        one.source.publish(snapshot(reviews=1))
        call = one.sotw()
        await call.write(DiscoveryRequest(type_url=SE))
        response = await read(call)
        rejection = DiscoveryRequest(type_url=SE, response_nonce=response.nonce)
        rejection.error_detail.code = 3
        rejection.error_detail.message = "port 80 is taken"
        await call.write(rejection)
        await eventually(lambda: one.source.streams[0].session.status[SE].rejection, lambda: one.source.streams)
        assert one.metrics.value(REQUESTS_METRIC, outcome="nack", type="ServiceEntry") == 1
        assert "port 80 is taken" in caplog.text
        one.source.publish(snapshot(reviews=2))
        assert (await read(call)).version_info != response.version_info


async def test_streams_at_the_limit() -> None:
    async with bench(SourceSettings(max_streams=1)) as one:
        first = one.sotw()
        await first.write(DiscoveryRequest(type_url=GATEWAY))
        await read(first)
        second = one.sotw()
        with pytest.raises(grpc.aio.AioRpcError, match="max_streams") as caught:
            await read(second)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert one.metrics.value(REFUSED_METRIC) == 1
        first.cancel()
        await eventually(lambda: not one.source.streams, lambda: one.source.streams)
        third = one.sotw()
        await third.write(DiscoveryRequest(type_url=GATEWAY))
        assert (await read(third)).type_url == GATEWAY


async def test_a_stream_that_asks_for_too_many_types_is_ended() -> None:
    async with bench() as one:
        call = one.sotw()
        for number in range(MAX_TYPES + 1):
            await call.write(DiscoveryRequest(type_url=f"t/v1/{number}"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_the_end(call)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_sink_that_closes_its_side_ends_the_stream_in_peace() -> None:
    async with bench() as one:
        call = one.delta()
        await call.write(DeltaDiscoveryRequest(type_url=GATEWAY))
        await read(call)
        await call.done_writing()
        async with asyncio.timeout(PATIENCE_S):
            assert await call.code() is grpc.StatusCode.OK


async def test_a_response_of_more_than_4_mib_arrives() -> None:
    async with bench() as one:
        publication = Publication()
        for number in range(300):
            key = ServiceKey("default", f"service-{number}")
            workloads = tuple(
                Workload("10.0.0.1", (("http", port),), labels=(("x", "y" * 60),)) for port in range(1, 200)
            )
            publication.take([ServiceChange(key, MergedService(key, (ServicePort("http", 80, "HTTP"),), workloads))])
        one.source.publish(Snapshot(publication.collection()))
        call = one.sotw()
        await call.write(DiscoveryRequest(type_url=SE))
        response = await read(call)
        assert len(response.resources) == 300
        assert response.ByteSize() > 4 * 1024 * 1024
        call.cancel()
        delta = one.delta()
        await delta.write(DeltaDiscoveryRequest(type_url=SE))
        names: list[str] = []
        while len(names) < 300:
            part = await read(delta)
            assert part.ByteSize() < 4 * 1024 * 1024
            names += [resource.name for resource in part.resources]
            await delta.write(DeltaDiscoveryRequest(type_url=SE, response_nonce=part.nonce))
        assert sorted(names) == sorted(set(names))
