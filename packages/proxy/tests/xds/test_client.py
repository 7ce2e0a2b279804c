"""The client against a real HTTP/2 server on a socket: it comes back, keeps what it has, and says so once."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.endpoint import compile_assignment
from isthmus_proxy.config.extension_source import compile_extension
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.config.scoped_routes import compile_scope
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.framing import MessageReader, frame
from isthmus_proxy.http.filters.discovered import ExtensionHandles
from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.listener.model import ListenerConfig
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.testing import eventually
from isthmus_proxy.xds import cluster_discovery, listener_discovery
from isthmus_proxy.xds.apply import Discovery, Sources
from isthmus_proxy.xds.backoff import Backoff
from isthmus_proxy.xds.client import XdsClient
from isthmus_proxy.xds.extension_discovery import ExtensionDiscovery
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT
from isthmus_proxy.xds.servers import Server
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.source import ApiSource, ManagementServer

FIRST = ApiSource((ManagementServer("xds-0"),))


class ControlPlane:
    """Answers every first request for clusters with ``answer``; ``drop`` ends the current connection, ``down`` every one at once."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.answers: dict[str, bytes] = {}  # of other types
        self.paths: list[str] = []
        self.down = False
        self.requests: list[DiscoveryRequest] = []
        self.connections = 0
        self.stream_id = 0
        self.scope = trio.CancelScope()

    def drop(self) -> None:
        self.scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        if self.down:
            await stream.aclose()
            return
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        reader = MessageReader(1 << 20)
        with trio.CancelScope() as self.scope:
            while True:
                await stream.send_all(connection.data_to_send() or b"")
                data = await stream.receive_some(65536)
                if not data:
                    return
                for event in connection.receive_data(bytes(data)):
                    if isinstance(event, h2.events.RequestReceived):
                        self.stream_id = event.stream_id
                        self.paths.append(dict(event.headers)[b":path"].decode())
                        connection.send_headers(
                            event.stream_id, [(":status", "200"), ("content-type", "application/grpc")]
                        )
                    elif isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        for message in reader.feed(event.data):
                            self.take(connection, DiscoveryRequest.FromString(message))
        await stream.aclose()

    def take(self, connection: h2.connection.H2Connection, request: DiscoveryRequest) -> None:
        self.requests.append(request)
        if request.type_url == CLUSTER and not request.response_nonce:
            connection.send_data(self.stream_id, frame(self.answer))
        elif request.type_url in self.answers and not request.response_nonce:
            connection.send_data(self.stream_id, frame(self.answers[request.type_url]))


class NoListeners:
    def reserve(self, config: ListenerConfig) -> object:
        raise AssertionError(config)

    def add_or_update(self, config: ListenerConfig) -> object:
        raise AssertionError(config)

    def remove(self, name: str) -> object:
        raise AssertionError(name)


class Proxy:
    def __init__(self, *ports: int, pause: float = 0.01, own: bool = False) -> None:
        self.stats = StatsStore()
        self.clusters = ClusterManager(
            lambda name: self.stats.scope(f"cluster.{name}"), random.Random(1).random, lambda: 0.0
        )
        self.updates = 0
        self.discovery = Discovery(
            Session(Node(id="me"), "sotw"),
            Sources(
                clusters=True,
                listeners=False,
                aggregated=not own,
                clusters_source=FIRST if own else None,
                servers=frozenset({"xds-0", "xds-1"}),
            ),
            self.stats,
            trio.current_time,
            lambda: 1.0,
        )
        compilers = cluster_discovery.Compilers(compile_cluster, compile_assignment)
        clusters = cluster_discovery.ClusterDiscovery(
            self.clusters,
            compilers,
            self.discovery.subscribe_endpoints,
            trio.current_time,
            self.discovery.check_source,
        )
        listeners = listener_discovery.ListenerDiscovery(
            NoListeners(),
            RouteHandles(),
            listener_discovery.Compilers(compile_listener, compile_route_configuration, compile_scope),
            self.discovery.subscribe_routes,
            trio.current_time,
            self.discovery.check_source,
            self.discovery.subscribe_scopes,
            ExtensionDiscovery(
                ExtensionHandles,
                compile_extension,
                self.discovery.subscribe_extensions,
                self.discovery.check_source,
                self.discovery.count_extension,
            ),
        )
        self.discovery.start(clusters, listeners, (), ())
        self.servers = ClusterManager(lambda name: self.stats.scope(f"cluster.{name}"), lambda: 0.0, lambda: 0.0)
        for index, port in enumerate(ports):
            endpoints = LocalityEndpoints((EndpointConfig("127.0.0.1", port),))
            assignment = Assignment(f"xds-{index}", (endpoints,))
            self.servers.add_or_update(ClusterConfig(f"xds-{index}", "STATIC", assignment=assignment, http2=True))
        self.reactor = Reactor()
        self.surroundings = Surroundings(self.reactor, self.servers, lambda: 0.0, random.Random(1))
        grpc = GrpcClient(self.surroundings)

        def servers(*names: str) -> tuple[Server, ...]:
            return tuple(Server(name, Backoff(lambda: 0.0, pause)) for name in names)

        aggregated = () if own else servers(*(f"xds-{index}" for index in range(len(ports))))
        self.client = XdsClient(
            self.discovery,
            grpc,
            aggregated,
            self.stats,
            self.updated,
            make_servers=lambda source: servers(*(each.cluster_name for each in source.servers)),
        )

    def updated(self) -> None:
        self.updates += 1


def clusters(version: str, *names: str) -> bytes:
    response = DiscoveryResponse(type_url=CLUSTER, version_info=version, nonce=version)
    response.control_plane.identifier = "test"
    for name in names:
        response.resources.add().Pack(Cluster(name=name, type=Cluster.STATIC))
    message: bytes = response.SerializeToString()
    return message


@asynccontextmanager
async def running_with(*planes: ControlPlane, own: bool = False) -> AsyncIterator[Proxy]:
    async with trio.open_nursery() as nursery:
        ports = []
        for plane in planes:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, plane.serve, [listener])
            ports.append(listener.socket.getsockname()[1])
        proxy = Proxy(*ports, own=own)
        await nursery.start(proxy.reactor.run)
        nursery.start_soon(proxy.client.run)
        yield proxy
        proxy.surroundings.pools.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(answer: bytes) -> AsyncIterator[tuple[Proxy, ControlPlane]]:
    plane = ControlPlane(answer)
    async with running_with(plane) as proxy:
        yield proxy, plane


@pytest.mark.trio
async def test_updates_arrive_and_are_acknowledged() -> None:
    async with running(clusters("1", "a", "b")) as (proxy, plane):
        await eventually(lambda: len(plane.requests) == 2)
        assert plane.requests[0].node.id == "me"
        assert (plane.requests[1].version_info, plane.requests[1].response_nonce) == ("1", "1")
        assert proxy.clusters.names() == ["a", "b"]
        assert proxy.stats.value("control_plane.connected_state") == 1
        assert proxy.stats.scope("control_plane").text("identifier").value == "test"
        assert proxy.updates == 1


@pytest.mark.trio
async def test_after_a_loss_it_comes_back_with_what_it_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isthmus_proxy.xds.stream")
    async with running(clusters("1", "a")) as (proxy, plane):
        await eventually(lambda: len(plane.requests) == 2)
        plane.answer = clusters("2", "a", "c")
        plane.drop()
        await eventually(lambda: len(plane.requests) == 4)
        assert plane.connections == 2
        assert (plane.requests[2].version_info, plane.requests[2].response_nonce) == ("1", "")
        assert proxy.clusters.names() == ["a", "c"]
        levels = [record.levelname for record in caplog.records]
        assert levels == ["WARNING", "INFO"]
        assert "connected to the control plane again" in caplog.text


@pytest.mark.trio
async def test_the_second_server_serves_until_the_first_is_back() -> None:
    first, second = ControlPlane(clusters("1", "of-first")), ControlPlane(clusters("1", "of-second"))
    first.down = True
    async with running_with(first, second) as proxy:
        server = proxy.stats.scope("control_plane").text("server")
        await eventually(lambda: len(second.requests) == 2)
        assert (proxy.clusters.names(), server.value, first.connections) == (["of-second"], "xds-1", 2)
        second.drop()
        await eventually(lambda: len(second.requests) == 4)
        assert first.connections == 4
        assert proxy.stats.value("control_plane.server_changes") == 0
        first.down = False
        second.drop()
        await eventually(lambda: len(first.requests) == 2)
        # The versions of another server mean nothing here: 1 is not 1.
        assert (first.requests[0].version_info, proxy.clusters.names()) == ("", ["of-first"])
        assert proxy.stats.value("control_plane.server_changes") == 1
        assert (server.value, second.connections) == ("xds-0", 2)
        assert proxy.stats.value("control_plane.connected_state") == 1


@pytest.mark.trio
async def test_a_server_that_goes_down_while_it_serves_is_followed_by_the_next() -> None:
    first, second = ControlPlane(clusters("1", "a")), ControlPlane(clusters("7", "a", "b"))
    async with running_with(first, second) as proxy:
        await eventually(lambda: len(first.requests) == 2)
        first.down = True
        first.drop()
        await eventually(lambda: proxy.clusters.names() == ["a", "b"])
        assert (first.connections, second.connections) == (3, 1)
        assert second.requests[0].version_info == ""
        assert proxy.stats.value("control_plane.connected_state") == 2
        assert proxy.stats.value("control_plane.server_changes") == 1


def clusters_with_endpoints_elsewhere(version: str, *names: str) -> bytes:
    response = DiscoveryResponse(type_url=CLUSTER, version_info=version, nonce=version)
    for name in names:
        made = Cluster(name=name, type=Cluster.EDS)
        source = made.eds_cluster_config.eds_config.api_config_source
        source.api_type, source.transport_api_version = source.GRPC, 2
        source.grpc_services.add().envoy_grpc.cluster_name = "xds-1"
        response.resources.add().Pack(made)
    message: bytes = response.SerializeToString()
    return message


def endpoints_of(name: str, port: int) -> bytes:
    assignment = ClusterLoadAssignment(cluster_name=name)
    address = assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    response = DiscoveryResponse(type_url=ENDPOINT, version_info="1", nonce="1")
    response.resources.add().Pack(assignment)
    message: bytes = response.SerializeToString()
    return message


@pytest.mark.trio
async def test_types_come_by_streams_of_their_own_from_servers_of_their_own() -> None:
    first, second = ControlPlane(clusters_with_endpoints_elsewhere("1", "a")), ControlPlane(b"")
    second.answers[ENDPOINT] = endpoints_of("a", 4)
    async with running_with(first, second, own=True) as proxy:
        await eventually(lambda: len(first.requests) == 2 and len(second.requests) == 2)
        assert first.paths == ["/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"]
        assert second.paths == ["/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"]
        assert [host.address for host in proxy.clusters.hosts("a")] == [("127.0.0.1", 4)]
        connected = ["cluster_manager.cds.control_plane.connected_state", "control_plane.eds.xds-1.connected_state"]
        assert [proxy.stats.value(name) for name in connected] == [1, 1]
        # Each comes back by itself, with what it has.
        second.answers[ENDPOINT] = endpoints_of("a", 5)
        second.drop()
        await eventually(lambda: len(second.requests) == 4)
        assert (second.requests[2].version_info, list(second.requests[2].resource_names)) == ("1", ["a"])
        assert [host.address for host in proxy.clusters.hosts("a")] == [("127.0.0.1", 5)]
        assert (first.connections, second.connections) == (1, 2)
        # Nobody needs endpoints any more, and so not their stream.
        first.answer = clusters("2", "b")
        first.drop()
        await eventually(lambda: proxy.clusters.names() == ["b"])
        await eventually(lambda: proxy.stats.value("control_plane.eds.xds-1.connected_state") == 0)
        assert second.connections == 2


@pytest.mark.trio
async def test_an_unreadable_response_ends_the_stream_and_nothing_else() -> None:
    async with running(b"\xff\xff\xff") as (proxy, plane):
        await eventually(lambda: plane.stream_id >= 3)
        plane.answer = clusters("1", "a")
        await eventually(lambda: proxy.clusters.names() == ["a"])


@pytest.mark.trio
async def test_a_fault_in_applying_an_update_does_not_end_the_proxy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(clusters("1", "a")) as (proxy, plane):
        await eventually(lambda: len(plane.requests) == 2)
        broken = True
        update = proxy.clusters.add_or_update

        def add_or_update(config: object) -> bool:
            if broken:
                raise RuntimeError("a fault of ours")
            return update(config)  # type: ignore[arg-type]

        manager = proxy.discovery.clusters._clusters
        proxy.discovery.clusters._clusters = type(  # a cluster manager whose additions fail for a while
            "Faulty", (), {"add_or_update": staticmethod(add_or_update), "remove": manager.remove}
        )()
        plane.answer = clusters("2", "b")
        plane.drop()
        await eventually(lambda: "an update could not be applied" in caplog.text)
        assert proxy.clusters.names() == ["a"]
        broken = False
        await eventually(lambda: proxy.clusters.names() == ["b"])


@pytest.mark.trio
async def test_waits_end_without_any_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        proxy = Proxy(1, pause=0.5)
        await nursery.start(proxy.reactor.run)
        nursery.start_soon(proxy.client.run)
        await trio.sleep(14.5)
        states = [proxy.discovery.initialized]
        await trio.sleep(1)
        states.append(proxy.discovery.initialized)
        assert states == [False, True]
        assert proxy.stats.value("cluster_manager.cds.init_fetch_timeout") == 1
        nursery.cancel_scope.cancel()
