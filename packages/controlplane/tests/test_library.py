"""The library face over a real connection, and its examples."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.runtime.v3.rtds_pb2 import Runtime

import isthmus_controlplane
from isthmus_controlplane import Aliased, Callbacks, LinearCache, Server, ServerSettings, SnapshotCache, Timed
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, RUNTIME, SECRET, VIRTUAL_HOST
from isthmus_controlplane.xds.message import Nack
from isthmus_controlplane.xds.push import PushStatus
from isthmus_controlplane.xds.testing import cluster, endpoints, eventually, names_in

EXAMPLES = Path(__file__).parents[1] / "examples"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
pytestmark = pytest.mark.asyncio


class Remembering(Callbacks):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def stream_opened(self, client: Any) -> None:
        self.heard.append("opened")

    def stream_closed(self, client: Any) -> None:
        self.heard.append(f"closed {client.node.id}")

    def request(self, client: Any, request: Any) -> None:
        self.heard.append(f"request {request.type_url.rpartition('.')[2]}")

    def rejected(self, client: Any, type_url: str, nack: Nack) -> None:
        self.heard.append(f"rejected {nack.message}")

    def response(self, client: Any, response: Any) -> None:
        self.heard.append(f"response {len(response.resources)}")


class Peer:
    """A client."""

    def __init__(self, channel: Any, node: Node, method: str, request: Any, response: Any) -> None:
        self.request = request
        self.node: Node | None = node
        self.call = channel.stream_stream(
            method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )()

    async def ask(self, **fields: Any) -> Any:
        await self.say(**fields)
        return await self.hear()

    async def say(self, error: str = "", **fields: Any) -> None:
        request = self.request(**fields)
        if self.node is not None:
            request.node.CopyFrom(self.node)
            self.node = None
        if error:
            request.error_detail.message = error
        await self.call.write(request)

    async def hear(self) -> Any:
        async with asyncio.timeout(20):
            return await self.call.read()


class Bench:
    """Peers of one server."""

    def __init__(self) -> None:
        self.address = ""
        self.channels: list[Any] = []

    def peer(self, node: Node, *, delta: bool = False, method: str = "") -> Peer:
        channel: Any = grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.channels.append(channel)
        if delta:
            name = method or f"{ADS}DeltaAggregatedResources"
            return Peer(channel, node, name, DeltaDiscoveryRequest, DeltaDiscoveryResponse)
        return Peer(channel, node, method or f"{ADS}StreamAggregatedResources", DiscoveryRequest, DiscoveryResponse)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for channel in made.channels:
        await channel.close(None)


async def test_groups_have_snapshots_of_their_own(bench: Bench) -> None:
    cache = SnapshotCache(group=lambda node: node.cluster)
    told: list[PushStatus] = []
    server = Server("127.0.0.1:0", cache, on_converged=told.append)
    bench.address = await server.start()
    cache.set_snapshot("one", [cluster("a")])
    one, two = (bench.peer(Node(id="n", cluster=name)) for name in ("one", "two"))
    first = await one.ask(type_url=CLUSTER)
    assert names_in(first) == ["a"]
    await one.say(type_url=CLUSTER, response_nonce=first.nonce, version_info=first.version_info)
    await two.say(type_url=CLUSTER)  # not answered before its group is known
    await eventually(lambda: "two" in {status.scope for status in server.clients()})
    cache.set_snapshots({"two": [cluster("b"), cluster("c")], "one": [cluster("a")]}, "the second group")
    assert names_in(await two.hear()) == ["b", "c"]
    assert {status.scope for status in server.clients()} == {"one", "two"}
    assert server.pushes()[-1].cause == "the second group"
    assert server.pushes()[-1].clients == 1
    assert cache.snapshot("one").version == SnapshotCache().set_snapshot("x", [cluster("a")]).version
    cache.clear_snapshot("one")
    with pytest.raises(KeyError):
        cache.snapshot("one")
    await server.stop(0)


async def test_a_virtual_host_goes_by_all_of_its_names(bench: Bench) -> None:
    cache = LinearCache([Aliased(VirtualHost(name="80/a", domains=["a", "a:80"]), ("80/a:80",))])
    async with Server("127.0.0.1:0", cache) as server:
        bench.address = server.address
        peer = bench.peer(Node(id="n"), delta=True)
        first = await peer.ask(type_url=VIRTUAL_HOST, resource_names_subscribe=["80/a:80", "80/b"])
        assert [(each.name, list(each.aliases)) for each in first.resources] == [
            ("80/a:80", ["80/a", "80/a:80"]),
            ("80/b", ["80/b"]),
        ]
    with pytest.raises(ValueError, match="'80/a:80' is given twice"):
        LinearCache([Aliased(VirtualHost(name="80/a"), ("80/a:80",)), VirtualHost(name="80/a:80")])


async def test_clients_poll_by_rest_and_by_unary_methods(bench: Bench) -> None:
    cache = SnapshotCache(group=lambda node: node.cluster)
    cache.set_snapshot("one", [cluster("a"), cluster("b"), endpoints("a", 1)])
    async with Server("127.0.0.1:0", cache, rest="127.0.0.1:0") as server, aiohttp.ClientSession() as session:

        async def poll(kind: str, **fields: Any) -> tuple[int, Any]:
            body = {"node": {"id": "n", "cluster": "one"}, **fields}
            async with session.post(f"http://{server.rest_address}/v3/discovery:{kind}", json=body) as response:
                return response.status, await response.json() if response.status != 304 else None

        status, first = await poll("clusters")
        assert (status, [each["name"] for each in first["resources"]]) == (200, ["a", "b"])
        assert first["resources"][0]["@type"] == CLUSTER
        assert (await poll("clusters", versionInfo=first["versionInfo"]))[0] == 304
        rejected = {"errorDetail": {"message": "no"}, "versionInfo": first["versionInfo"]}
        assert (await poll("clusters", **rejected))[0] == 200
        cache.set_snapshot("one", [cluster("b", 2), endpoints("a", 1)])
        status, second = await poll("clusters", versionInfo=first["versionInfo"], resourceNames=["b", "gone"])
        assert (status, [each["name"] for each in second["resources"]]) == (200, ["b"])
        status, found = await poll("endpoints", resourceNames=["a", "unknown"])
        assert [each["clusterName"] for each in found["resources"]] == ["a", "unknown"]
        assert "endpoints" not in found["resources"][1]
        assert (await poll("nonsense"))[0] == 404
        assert (await poll("clusters", node=None))[0] == 400
        assert (await poll("clusters", typeUrl=ENDPOINT))[0] == 400
        assert (await poll("clusters", resourceNames=7))[0] == 400
        await _call_unary(bench, server.address)
        assert 'isthmus_xds_polls_total{type="CDS"}' in server.metrics_text()


async def _call_unary(bench: Bench, address: str) -> None:
    channel: Any = grpc.aio.insecure_channel(address)
    bench.channels.append(channel)
    path = "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters"
    method = channel.unary_unary(path, DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString)
    assert names_in(await method(DiscoveryRequest(node=Node(id="n", cluster="one")))) == ["b"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await method(DiscoveryRequest())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    grpc_client = Node(id="n", cluster="one", user_agent_name="gRPC Python")
    assert names_in(await method(DiscoveryRequest(node=grpc_client))) == []


async def test_a_linear_cache_tells_what_changed_and_what_is_gone(bench: Bench) -> None:
    cache = LinearCache([endpoints("a", 1), endpoints("b", 1)])
    server = Server("127.0.0.1:0", cache)
    bench.address = await server.start()
    peer = bench.peer(Node(id="n"), delta=True)
    first = await peer.ask(type_url=ENDPOINT, resource_names_subscribe=["*"])
    assert names_in(first) == ["a", "b"]
    await peer.say(type_url=ENDPOINT, response_nonce=first.nonce)
    cache.update(endpoints("b", 2), endpoints("c", 1), removed=[(ENDPOINT, "a"), (ENDPOINT, "never")])
    second = await peer.hear()
    assert (names_in(second), list(second.removed_resources)) == (["b", "c"], ["a"])
    assert cache.snapshot.version == LinearCache([endpoints("c", 1), endpoints("b", 2)]).snapshot.version
    await server.stop(0)


async def test_any_type_is_served_by_its_own_service_too(bench: Bench) -> None:
    cache = LinearCache([Secret(name="cert"), Timed(Runtime(name="layer"), ttl=60)])
    async with Server("127.0.0.1:0", cache) as server:
        bench.address = server.address
        secrets = bench.peer(Node(id="n"), method="/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets")
        response = await secrets.ask(resource_names=["cert"])
        assert [Secret.FromString(each.value).name for each in response.resources] == ["cert"]
        assert response.type_url == SECRET
        layers = bench.peer(
            Node(id="n"), delta=True, method="/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime"
        )
        response = await layers.ask(resource_names_subscribe=["layer"])
        assert (response.type_url, response.resources[0].ttl.seconds) == (RUNTIME, 60)


async def test_callbacks_hear_what_happens(bench: Bench) -> None:
    callbacks = Remembering()
    server = Server("127.0.0.1:0", LinearCache([cluster("a")]), callbacks=callbacks)
    bench.address = await server.start()
    peer = bench.peer(Node(id="me"))
    first = await peer.ask(type_url=CLUSTER)
    await peer.say(type_url=CLUSTER, response_nonce=first.nonce, error="no")
    await eventually(lambda: "rejected no" in callbacks.heard)
    await bench.channels.pop().close(None)
    await eventually(lambda: callbacks.heard[-1] == "closed me")
    assert callbacks.heard == ["opened", "request Cluster", "response 1", "request Cluster", "rejected no", "closed me"]
    await server.stop(0)


async def test_limits_on_streams(bench: Bench) -> None:
    settings = ServerSettings(streams_per_second=0.001, stream_burst=1, max_stream_age=0.2)
    async with Server("127.0.0.1:0", LinearCache([cluster("a")]), settings=settings) as server:
        bench.address = server.address
        old, refused = bench.peer(Node(id="old")), None
        assert names_in(await old.ask(type_url=CLUSTER)) == ["a"]
        refused = bench.peer(Node(id="refused"))
        assert await refused.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await old.call.code() is grpc.StatusCode.UNAVAILABLE
        assert "reconnect" in await old.call.details()


async def test_streams_of_one_node_are_limited(bench: Bench) -> None:
    settings = ServerSettings(streams_per_node=1)
    async with Server("127.0.0.1:0", LinearCache([cluster("a")]), settings=settings) as server:
        bench.address = server.address
        first = bench.peer(Node(id="one"))
        assert names_in(await first.ask(type_url=CLUSTER)) == ["a"]
        second, other = bench.peer(Node(id="one")), bench.peer(Node(id="other"))
        await second.say(type_url=CLUSTER)
        assert await second.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "node 'one' has 1 streams" in await second.call.details()
        assert names_in(await other.ask(type_url=CLUSTER)) == ["a"]
        first.call.cancel()
        await eventually(lambda: len(server.clients()) == 1)
        again = bench.peer(Node(id="one"))
        assert names_in(await again.ask(type_url=CLUSTER)) == ["a"]


@pytest.mark.parametrize(
    ("resources", "message"), [([cluster("")], "has no name"), ([cluster("a"), cluster("a", 2)], "'a' is given twice")]
)
async def test_resources_without_a_name_of_their_own_are_refused(resources: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SnapshotCache().set_snapshot("g", resources)


@pytest.mark.parametrize("name", sorted(each.stem for each in EXAMPLES.glob("*.py")))
async def test_examples_serve(bench: Bench, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    if name == "linear_cache":
        cache = LinearCache()
        example.take(cache, "a 1 2")
        example.take(cache, "b 1")
        example.take(cache, "a")
        assert list(cache.snapshot.collection(ENDPOINT).resources) == ["b"]
        return
    task = asyncio.create_task(example.main("127.0.0.1:0"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert names_in_snapshot(example.cluster("x")) == "x"


def names_in_snapshot(message: Any) -> str:
    return str(message.name)


async def test_the_command_line_does_not_load_the_server() -> None:
    code = "import sys, isthmus_controlplane; sys.exit('grpc' in sys.modules)"
    assert await asyncio.to_thread(subprocess.call, [sys.executable, "-c", code]) == 0
    with pytest.raises(AttributeError, match="nonsense"):
        _ = isthmus_controlplane.nonsense
