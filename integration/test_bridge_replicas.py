"""Two replicas of the bridge behind one address: equal bytes, and a failover after which nothing is pushed."""

import asyncio
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from harness.isthmus import Bridge
from isthmus_mcp_bridge.testing.eventually import eventually

pytestmark = pytest.mark.asyncio
TYPE = "networking.istio.io/v1/ServiceEntry"
SERVICES = """
services:
- host: s%d.shop
  ports: [{name: http, number: 80, protocol: HTTP}]
  instances:
  - {address: 10.0.0.1, port: 80, labels: {b: x, a: y}}
  - {address: 10.0.0.2, port: 80, weight: 300}
"""


def replica(tmp_path: Path, name: str) -> Bridge:
    kind = {"name": "files", "file": {"path": str(tmp_path / "services")}}
    return Bridge([kind], tmp_path / name, name=name)


def write_services(directory: Path) -> None:
    directory.mkdir()
    for number in range(20):
        (directory / f"s{number}.yaml").write_text(SERVICES % number)


async def sotw(address: str) -> bytes:
    """Everything as one SotW response carries it, without its nonce."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
        call = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        await call.write(DiscoveryRequest(type_url=TYPE))
        response = await call.read()
        response.nonce = ""
        return bytes(response.SerializeToString())


async def test_replicas_are_equal_and_a_failover_pushes_nothing(tmp_path: Path) -> None:
    write_services(tmp_path / "services")
    with replica(tmp_path, "one") as one, replica(tmp_path, "two") as two:
        assert await sotw(one.mcp_address) == await sotw(two.mcp_address)
        held: dict[str, str] = {}
        async with grpc.aio.insecure_channel(one.mcp_address) as channel, asyncio.timeout(60):
            call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            await call.write(DeltaDiscoveryRequest(type_url=TYPE))
            response = await call.read()
            held = {resource.name: resource.version for resource in response.resources}
        assert len(held) == 20
        one.kill()
        async with grpc.aio.insecure_channel(two.mcp_address) as channel, asyncio.timeout(60):
            call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            await call.write(DeltaDiscoveryRequest(type_url=TYPE, initial_resource_versions=held))
            response = await call.read()
            assert not response.resources
            assert not response.removed_resources
            await call.write(DeltaDiscoveryRequest(type_url=TYPE, response_nonce=response.nonce))
            (tmp_path / "services" / "s3.yaml").unlink()
            response = await call.read()
            assert list(response.removed_resources) == ["default/s3.shop"]
        await eventually(lambda: not _streams(two), lambda: _streams(two))


def _streams(bridge: Bridge) -> bool:
    return "isthmus_bridge_streams 0" not in bridge.admin("/metrics").text
