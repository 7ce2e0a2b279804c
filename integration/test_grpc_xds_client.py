"""grpcio's own ``xds:///`` client against the xDS server: a proxyless client takes what Envoy takes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message

from harness.eventually import eventually_async, patience
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service, virtual_service
from isthmus_controlplane.snapshot.resource import type_url_of
from isthmus_controlplane.snapshot.resource_type import CLUSTER
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.translate import translate
from isthmus_controlplane.xds.server import XdsServer

TARGET = "who.shop:80"
ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)

# A process of its own: gRPC reads the bootstrap once, from the environment. It makes one call per line it is sent.
CLIENT = f"""
import sys, grpc
channel = grpc.insecure_channel("xds:///{TARGET}")
ask = channel.unary_unary("/test.Who/Ask")
for line in sys.stdin:
    try:
        print(ask(b"", timeout=5, wait_for_ready=True).decode(), flush=True)
    except grpc.RpcError as error:
        print("error", error.code().name, error.details(), flush=True)
"""


def listener(route: str) -> Message:
    manager = HttpConnectionManager(http_filters=[HttpFilter(name="router")])
    manager.http_filters[0].typed_config.Pack(Router())
    manager.rds.route_config_name = route
    manager.rds.config_source.CopyFrom(ADS)
    message = Listener(name=TARGET, api_listener=ApiListener())
    message.api_listener.api_listener.Pack(manager)
    result: Message = message
    return result


def route(name: str, cluster: str) -> Message:
    message = RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="who", domains=[TARGET])
    only = host.routes.add()
    only.match.prefix = ""
    only.route.cluster = cluster
    result: Message = message
    return result


def cluster(name: str, policy: int = Cluster.ROUND_ROBIN) -> Message:
    message = Cluster(name=name, type=Cluster.EDS, lb_policy=policy)
    message.eds_cluster_config.eds_config.CopyFrom(ADS)
    result: Message = message
    return result


def endpoints(name: str, *ports: int) -> Message:
    message = ClusterLoadAssignment(cluster_name=name)
    locality = message.endpoints.add()
    locality.locality.SetInParent()  # gRPC rejects a locality without one, and skips one without a weight
    locality.load_balancing_weight.value = 1
    for port in ports:
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    result: Message = message
    return result


def snapshot_of(messages: list[Any], previous: Snapshot | None) -> Snapshot:
    by_type: dict[str, dict[str, Message]] = {}
    for message in messages:
        name = message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name
        by_type.setdefault(type_url_of(message), {})[name] = message
    return build(by_type, previous)


class Mesh:
    """The server, one client process and a backend per name."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.server = XdsServer("127.0.0.1:0", on_scope_needed=self._need)
        self.ports = ports
        self._client: Process | None = None
        self._snapshot: Snapshot | None = None

    async def start(self) -> None:
        """Listen, and start the client."""
        self._client = await start_client(await self.server.start())

    async def stop(self) -> None:
        """End the client, then the server."""
        if self._client is not None:
            self._client.kill()
            await self._client.wait()
        await self.server.stop(1.0)

    def publish(self, *messages: Message) -> int | None:
        """Give every client these resources and nothing else."""
        self._snapshot = snapshot_of(list(messages), self._snapshot)
        return self.server.publish_all(dict.fromkeys(self.server.scopes_in_use(), self._snapshot), "test")

    def _need(self, scope: Scope) -> None:
        if self._snapshot is not None:
            self.server.publish(scope, self._snapshot, "a client arrived")

    async def ask(self) -> str:
        """Make one call; returns the name of the backend that answered, or the error."""
        assert self._client is not None
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(b"\n")
        async with asyncio.timeout(patience()):
            return (await self._client.stdout.readline()).decode().strip()

    async def answered_by(self, *names: str) -> bool:
        """Whether the next few calls are answered by exactly these backends."""
        return {await self.ask() for _ in range(2 * len(names))} == set(names)


async def start_backend(name: str) -> tuple[grpc.aio.Server, int]:
    async def ask(_request: bytes, _context: object) -> bytes:
        return name.encode()

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: Any = {"Ask": grpc.unary_unary_rpc_method_handler(ask)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def start_client(address: str) -> Process:
    bootstrap = {
        "xds_servers": [
            {"server_uri": address, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        ],
        "node": {"id": "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local"},
    }
    environment = {**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)}
    return await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, stdin=PIPE, stdout=PIPE, env=environment)


@asynccontextmanager
async def running(*names: str) -> AsyncIterator[Mesh]:
    backends = {name: await start_backend(name) for name in names}
    mesh = Mesh({name: port for name, (_, port) in backends.items()})
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()
        for backend, _ in backends.values():
            await backend.stop(None)


@pytest.mark.asyncio
async def test_proxyless_client_follows_endpoints_routes_and_listeners() -> None:
    async with running("one", "two", "three") as m:
        ports = m.ports
        m.publish(listener("r"), route("r", "a"), cluster("a"), endpoints("a", ports["one"]))
        assert await m.ask() == "one"
        m.publish(listener("r"), route("r", "a"), cluster("a"), endpoints("a", ports["one"], ports["two"]))
        await eventually_async(lambda: m.answered_by("one", "two"), what="both endpoints in turn")
        both = (cluster("a"), endpoints("a", ports["one"]), cluster("b"), endpoints("b", ports["three"]))
        m.publish(listener("r"), route("r", "b"), *both)
        await eventually_async(lambda: m.answered_by("three"), what="the new cluster")
        m.publish(listener("other"), route("other", "a"), *both)
        await eventually_async(lambda: m.answered_by("one"), what="the new route configuration")
        await eventually_async(lambda: _settled(m.server), what="every push acknowledged")
        (client,) = m.server.clients()
        assert (client.variant, client.scope.kind if client.scope else "") == ("sotw", "grpc")
        assert not any(row.wildcard for row in client.types)


@pytest.mark.asyncio
async def test_rejection_names_the_resource_and_traffic_goes_on() -> None:
    async with running("one") as m:
        good = (listener("r"), route("r", "a"), endpoints("a", m.ports["one"]))
        m.publish(*good, cluster("a"))
        assert await m.ask() == "one"
        m.publish(*good, cluster("a", Cluster.MAGLEV))
        await eventually_async(lambda: _rejected(m.server), what="a rejection")
        assert await m.ask() == "one"
        m.publish(*good, cluster("a"))
        await eventually_async(lambda: _settled(m.server), what="every push acknowledged")
        assert await m.ask() == "one"


@pytest.mark.asyncio
async def test_service_without_resources_fails_and_heals() -> None:
    async with running("one") as m:
        m.publish(listener("r"), route("r", "a"))
        answer = asyncio.create_task(m.ask())
        assert (await answer).startswith("error")
        m.publish(listener("r"), route("r", "a"), cluster("a"), endpoints("a", m.ports["one"]))
        await eventually_async(lambda: m.answered_by("one"), what="the service that was added")


def translated(port: int, *http: dict[str, Any]) -> list[Message]:
    """What Istio objects about the one service become for a gRPC client."""
    host = TARGET.partition(":")[0]
    endpoint = {"address": "127.0.0.1", "ports": {"main": port}}
    policy = {
        "connectionPool": {"http": {"http2MaxRequests": 100, "idleTimeout": "60s"}, "tcp": {"connectTimeout": "2s"}},
        "outlierDetection": {"consecutive5xxErrors": 5, "interval": "1s", "minHealthPercent": 10},
        "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "maglev": {}}},
    }
    objects = (
        service(host, port=80, protocol="GRPC", endpoints=[endpoint]),
        rule(host, trafficPolicy=policy),
        virtual_service(host, *http),
    )
    resources = translate(admitted(objects).model, Scope(kind="grpc")).messages
    return [message for messages in resources.values() for message in messages.values()]


@pytest.mark.asyncio
async def test_what_istio_objects_become_is_taken_and_faults_are_injected() -> None:
    to_host: dict[str, Any] = {"route": [{"destination": {"host": TARGET.partition(":")[0]}}]}
    extras = {"mirrors": [to_host["route"][0]], "corsPolicy": {"allowOrigins": [{"exact": "*"}]}}
    everyone = {"percentage": {"value": 100}}
    async with running("one") as m:
        m.publish(*translated(m.ports["one"], to_host | extras))
        assert await m.ask() == "one"
        fault = {"fault": {"abort": {"grpcStatus": "DATA_LOSS"} | everyone, "delay": {"fixedDelay": "1ms"} | everyone}}
        m.publish(*translated(m.ports["one"], to_host | extras | fault))
        await eventually_async(lambda: _answers(m, "error DATA_LOSS"), what="the abort")
        m.publish(*translated(m.ports["one"], to_host))
        await eventually_async(lambda: m.answered_by("one"), what="the end of the fault")
        await eventually_async(lambda: _settled(m.server), what="every push acknowledged")


async def _answers(mesh: Mesh, start: str) -> bool:
    return (await mesh.ask()).startswith(start)


async def _settled(server: XdsServer) -> bool:
    return bool(server.clients()) and all(row.synced for client in server.clients() for row in client.types)


async def _rejected(server: XdsServer) -> bool:
    nacks = [row.nack for client in server.clients() for row in client.types if row.type_url == CLUSTER and row.nack]
    return [nack.resources for nack in nacks] == [("a",)]
