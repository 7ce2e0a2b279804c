"""Two replicas on an etcd of three members: a leader, a majority and a replica are lost, and no client is told anything wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from conformance.xds import world
from harness.etcd_cluster import EtcdCluster
from harness.eventually import eventually, eventually_async
from harness.isthmus import ControlPlane
from isthmus_controlplane.snapshot.resource_type import ENDPOINT

pytestmark = pytest.mark.asyncio

SERVICES = [f"svc-{number}.shop" for number in range(5)]
NAMES = [f"outbound|80||{host}" for host in SERVICES]
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
STREAMS_A_CHANNEL = 100
CLIENTS = 2_000


class Fleet:
    """Clients that go to another replica when theirs is lost, and write down what they are told."""

    def __init__(self, replicas: list[ControlPlane], clients: int) -> None:
        self.addresses = [replica.grpc_address for replica in replicas]
        self.wrong: list[str] = []
        self.told = 0
        self.ports: list[dict[str, list[int]]] = [{} for _ in range(clients)]
        self._versions: list[dict[str, str]] = [{} for _ in range(clients)]
        self._channels: dict[tuple[str, int], Any] = {}
        self._tasks = [asyncio.create_task(self._follow(number)) for number in range(clients)]

    def _channel(self, address: str, number: int) -> Any:
        key = (address, number // STREAMS_A_CHANNEL)
        if key not in self._channels:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)]
            self._channels[key] = grpc.aio.insecure_channel(address, options=options)
        return self._channels[key]

    async def _follow(self, number: int) -> None:
        for attempt in itertools.count(number):
            try:
                await self._stream(number, self.addresses[attempt % len(self.addresses)])
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)

    async def _stream(self, number: int, address: str) -> None:
        open_stream = self._channel(address, number).stream_stream(
            ADS,
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )
        call = open_stream()
        await call.write(
            DeltaDiscoveryRequest(
                node=Node(id=f"sidecar~10.0.0.1~c{number}.default~default.svc.cluster.local"),
                type_url=ENDPOINT,
                resource_names_subscribe=NAMES,
                initial_resource_versions=self._versions[number],
            )
        )
        while isinstance(response := await call.read(), DeltaDiscoveryResponse):
            self._take(number, response)
            await call.write(DeltaDiscoveryRequest(type_url=ENDPOINT, response_nonce=response.nonce))

    def _take(self, number: int, response: Any) -> None:
        self.told += 1
        self.wrong += [f"client {number} was told that {name} is gone" for name in response.removed_resources]
        for resource in response.resources:
            assignment = ClusterLoadAssignment.FromString(resource.resource.value)
            ports = [
                each.endpoint.address.socket_address.port_value
                for locality in assignment.endpoints
                for each in locality.lb_endpoints
            ]
            if not ports:
                self.wrong.append(f"client {number} was told that {resource.name} has no endpoint")
            self.ports[number][resource.name] = ports
            self._versions[number][resource.name] = resource.version

    async def all_have(self, wanted: int) -> float:
        """Wait until every client has this port for the first service; seconds that it took."""
        since = time.monotonic()

        async def check() -> bool:
            return all(ports.get(NAMES[0]) == [wanted] and len(ports) == len(NAMES) for ports in self.ports)

        await eventually_async(check)
        return time.monotonic() - since

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close(None)


class Bench:
    """The cluster, the replicas and the folder for documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = EtcdCluster()
        self.replicas = [ControlPlane(self.cluster.url, folder, name=f"replica-{number}") for number in (1, 2)]
        self.apply(self.replicas[0], *((host, 9000) for host in SERVICES))
        eventually(lambda: all(len(self.objects(replica)) == len(SERVICES) for replica in self.replicas))

    def apply(self, replica: ControlPlane, *services: tuple[str, int]) -> None:
        file = self.folder / "apply.yaml"
        file.write_text(yaml.safe_dump_all([world.service(host, port) for host, port in services]))
        eventually(lambda: replica.ctl("apply", "-f", file, check=False).returncode == 0, what="apply")

    def objects(self, replica: ControlPlane) -> Any:
        return json.loads(replica.ctl("get", "-o", "json").stdout)

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()
        self.cluster.stop()


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = await asyncio.to_thread(Bench, tmp_path)
    yield made
    await asyncio.to_thread(made.stop)


async def test_a_lost_leader_and_a_lost_majority_tell_clients_nothing_wrong(bench: Bench) -> None:
    fleet = Fleet(bench.replicas, 50)
    await fleet.all_have(9000)
    leader = await asyncio.to_thread(bench.cluster.leader)
    since = time.monotonic()
    await asyncio.to_thread(bench.cluster.kill, leader)
    await asyncio.to_thread(bench.apply, bench.replicas[0], (SERVICES[0], 9001))
    await fleet.all_have(9001)
    gap = time.monotonic() - since
    # Two of three are gone: nothing can be written, what was served stays.
    told = fleet.told
    second = await asyncio.to_thread(lambda: bench.cluster.leader() or bench.cluster.others(leader)[0])
    await asyncio.to_thread(bench.cluster.kill, second)
    refused = await asyncio.to_thread(bench.replicas[0].ctl, "apply", "-f", bench.folder / "apply.yaml", check=False)
    assert "unchanged" in refused.stdout or refused.returncode
    assert [len(await asyncio.to_thread(bench.objects, each)) for each in bench.replicas] == [len(SERVICES)] * 2
    assert fleet.told == told
    for member in (leader, second):
        await asyncio.to_thread(bench.cluster.start, member)
    await asyncio.to_thread(bench.apply, bench.replicas[1], (SERVICES[0], 9002))
    revision = json.loads(
        await asyncio.to_thread(bench.cluster.ctl, leader, "get", "--prefix", "/isthmus/", "-w", "json")
    )["header"]["revision"]
    await asyncio.to_thread(bench.cluster.ctl, leader, "compact", str(revision))
    await fleet.all_have(9002)
    await fleet.stop()
    assert fleet.wrong == []
    print(f"leader killed -> change acknowledged by all through the next leader: {gap:.2f} s")


async def test_a_lost_replica_costs_its_clients_a_reconnect_and_nothing_else(bench: Bench) -> None:
    fleet = Fleet(bench.replicas, CLIENTS)
    first = await fleet.all_have(9000)
    told = fleet.told
    await asyncio.to_thread(bench.replicas[0].kill)
    since = time.monotonic()
    survivor = bench.replicas[1]

    async def all_there() -> bool:
        status = (await asyncio.to_thread(survivor.admin, "/metrics")).text
        return f"isthmus_xds_clients {CLIENTS}\n" in status

    await eventually_async(all_there)
    moved = time.monotonic() - since
    assert fleet.told == told, "versions are equal on both replicas, so nothing had to be sent"
    await asyncio.to_thread(bench.apply, survivor, (SERVICES[0], 9001))
    await fleet.all_have(9001)
    await fleet.stop()
    assert fleet.wrong == []
    print(f"{CLIENTS} clients configured in {first:.1f} s; those of the killed replica moved in {moved:.1f} s")
