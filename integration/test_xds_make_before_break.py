"""Real Envoy under load while every cluster is replaced, again and again: the order of pushes loses no request."""

from __future__ import annotations

import asyncio
import collections
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)

from harness.envoy import OLDEST, VERSION, Envoy
from harness.eventually import eventually_async
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.xds.server import XdsServer

ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
REPLACEMENTS = 8
CONNECTIONS = 4


def listener() -> Any:
    manager = HttpConnectionManager(stat_prefix="shop", http_filters=[HttpFilter(name="envoy.filters.http.router")])
    manager.http_filters[0].typed_config.Pack(Router())
    manager.rds.route_config_name = "shop"
    manager.rds.config_source.CopyFrom(ADS)
    network_filter = Filter(name="envoy.filters.network.http_connection_manager")
    network_filter.typed_config.Pack(manager)
    message = Listener(name="shop", filter_chains=[FilterChain(filters=[network_filter])])
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = 0
    return message


def route(cluster: str) -> Any:
    message = RouteConfiguration(name="shop")
    only = message.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    only.match.prefix = "/"
    only.route.cluster = cluster
    return message


def cluster(name: str) -> Any:
    message = Cluster(name=name, type=Cluster.EDS)
    message.connect_timeout.seconds = 5
    message.eds_cluster_config.eds_config.CopyFrom(ADS)
    return message


def endpoints(name: str, port: int) -> Any:
    message = ClusterLoadAssignment(cluster_name=name)
    address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return message


def generation(number: int, port: int, previous: Snapshot | None) -> Snapshot:
    """Make a snapshot whose only cluster has a name of its own."""
    name = f"reviews-{number}"
    messages = {
        CLUSTER: {name: cluster(name)},
        ENDPOINT: {name: endpoints(name, port)},
        LISTENER: {"shop": listener()},
        ROUTE: {"shop": route(name)},
    }
    return build(messages, previous)


def bootstrap(address: str, variant: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local", "cluster": "client"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": variant,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        options: {
                            "@type": f"type.googleapis.com/{options}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of the service behind the proxy."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def load(address: str, statuses: collections.Counter[str]) -> None:
    """Send requests on one keep-alive connection until cancelled."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        while True:
            writer.write(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            statuses[head.split()[1].decode()] += 1
    finally:
        writer.close()


class Shop:
    """The xDS server with one service; each generation has a new cluster for it and drops the old one."""

    def __init__(self, port: int) -> None:
        self.server = XdsServer("127.0.0.1:0", on_scope_needed=self._need)
        self._port = port
        self._number = 0
        self._snapshot = generation(0, port, None)

    def _need(self, scope: Scope) -> None:
        self.server.publish(scope, self._snapshot, "a client arrived")

    def replace(self) -> None:
        """Move the route to a new cluster and drop the old one, in one push."""
        self._number += 1
        self._snapshot = generation(self._number, self._port, self._snapshot)
        self.server.publish_all(dict.fromkeys(self.server.scopes_in_use(), self._snapshot), "replacement")

    async def converged(self) -> bool:
        """Whether Envoy has acknowledged every push, the removal of the old cluster included."""
        return all(push.accepted for push in self.server.pushes()) and all(
            row.synced and row.resources == 1 for client in self.server.clients() for row in client.types
        )


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    backend = await asyncio.start_server(answer, "127.0.0.1", 0)
    made = Shop(backend.sockets[0].getsockname()[1])
    address = await made.server.start()
    try:
        yield made, address
    finally:
        await made.server.stop(1.0)
        backend.close()


@pytest.mark.peer("envoy")
@pytest.mark.asyncio
@pytest.mark.parametrize("version", [OLDEST, VERSION])
@pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
async def test_replacing_every_cluster_fails_no_request(variant: str, version: str, tmp_path: Path) -> None:
    async with shop() as (made, address):
        # Envoy is waited for by blocking calls, and must be served meanwhile.
        start = functools.partial(Envoy, bootstrap(address, variant), tmp_path, version=version)
        envoy = await asyncio.to_thread(start)
        statuses: collections.Counter[str] = collections.Counter()
        loads: list[asyncio.Task[None]] = []
        try:
            await asyncio.to_thread(envoy.wait_ready)
            target = await asyncio.to_thread(envoy.listener_address, "shop")
            loads = [asyncio.create_task(load(target, statuses)) for _ in range(CONNECTIONS)]
            for _ in range(REPLACEMENTS):
                seen = statuses.total()
                made.replace()
                await eventually_async(made.converged, what="the push acknowledged by Envoy")
                await eventually_async(functools.partial(_more, statuses, seen), what="requests after the push")
            assert not any(task.done() for task in loads)
            assert statuses.keys() == {"200"}
        finally:
            for task in loads:
                task.cancel()
            await asyncio.gather(*loads, return_exceptions=True)
            await asyncio.to_thread(envoy.stop)


async def _more(statuses: collections.Counter[str], seen: int) -> bool:
    return statuses.total() > seen + CONNECTIONS
