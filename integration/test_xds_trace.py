"""The xDS client against a scripted control plane, beside a live Envoy given the same script: the same messages in the same order."""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.direct_response.v3.config_pb2 import Config as DirectResponse
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.message import Message

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_port
from isthmus_proxy.tls.testing import Files, Issued, make_files
from test_xds_make_before_break import bootstrap

Side = Envoy | Proxy
_TYPES = {
    "CDS": Cluster,
    "EDS": ClusterLoadAssignment,
    "LDS": Listener,
    "RDS": RouteConfiguration,
    "SDS": Secret,
    "ECDS": TypedExtensionConfig,
    "SRDS": ScopedRouteConfiguration,
}
URLS = {name: f"type.googleapis.com/{kind.DESCRIPTOR.full_name}" for name, kind in _TYPES.items()}
NAMES = {url: name for name, url in URLS.items()}
_END = DiscoveryRequest()
_SERVICES = {
    "discovery.v3.AggregatedDiscoveryService": "StreamAggregatedResources",
    "cluster.v3.ClusterDiscoveryService": "StreamClusters",
    "endpoint.v3.EndpointDiscoveryService": "StreamEndpoints",
    "listener.v3.ListenerDiscoveryService": "StreamListeners",
    "route.v3.RouteDiscoveryService": "StreamRoutes",
    "route.v3.ScopedRoutesDiscoveryService": "StreamScopedRoutes",
    "extension.v3.ExtensionConfigDiscoveryService": "StreamExtensionConfigs",
}


@dataclass
class Plane:
    """Answers what is asked for with the latest of each type, and pushes what changes. ``trace`` is what clients said."""

    trace: list[str] = field(default_factory=list)
    resources: dict[str, list[Message]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    port: int = 0

    def start(self) -> None:
        self._streams: list[queue.Queue[DiscoveryRequest | str]] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        method = grpc.stream_stream_rpc_method_handler(
            self._stream, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
        )
        for service, name in _SERVICES.items():
            handler = grpc.method_handlers_generic_handler(f"envoy.service.{service}", {name: method})
            self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def say(self, kind: str, *messages: Message) -> None:
        """A new version of a type for whoever asked, or will ask, for it."""
        self.resources[kind] = list(messages)
        self.versions[kind] = self.versions.get(kind, 0) + 1
        for stream in self._streams:
            stream.put(kind)

    def _stream(self, requests: Iterator[DiscoveryRequest], _context: object) -> Iterator[DiscoveryResponse]:
        events: queue.Queue[DiscoveryRequest | str] = queue.Queue()
        self._streams.append(events)
        asked: dict[str, frozenset[str]] = {}

        def read() -> None:
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            finally:
                events.put(_END)

        threading.Thread(target=read, daemon=True).start()
        while (event := events.get()) is not _END:
            if isinstance(event, str):
                if event in asked:
                    yield self._response(event, asked[event])
                continue
            kind, names = NAMES[event.type_url], frozenset(event.resource_names)
            self._note(kind, event)
            if asked.get(kind) != names or not event.response_nonce:
                asked[kind] = names
                if kind in self.versions:
                    yield self._response(kind, names)
        self._streams.remove(events)

    def _note(self, kind: str, request: DiscoveryRequest) -> None:
        words = [kind, ",".join(sorted(request.resource_names)) or "*", f"v{request.version_info or 0}"]
        words.append(f"of {request.response_nonce}" if request.response_nonce else "first")
        if request.HasField("error_detail"):
            words.append("refused")
        self.trace.append(" ".join(words))

    def _response(self, kind: str, names: frozenset[str]) -> DiscoveryResponse:
        version = str(self.versions[kind])
        response = DiscoveryResponse(type_url=URLS[kind], version_info=version, nonce=f"{kind}{version}")
        for message in self.resources[kind]:
            name = getattr(message, "cluster_name", "") or getattr(message, "name", "")
            if not names or name in names:
                response.resources.add().Pack(message)
        return response


def cluster(name: str, *, sound: bool = True) -> Cluster:
    made = Cluster(name=name, type=Cluster.EDS)
    made.connect_timeout.seconds = 1
    if sound:
        made.eds_cluster_config.eds_config.ads.SetInParent()
        made.eds_cluster_config.eds_config.resource_api_version = 2
    return made


def endpoints(name: str, *ports: int) -> ClusterLoadAssignment:
    made = ClusterLoadAssignment(cluster_name=name)
    locality = made.endpoints.add()
    for port in ports:
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return made


def listener(name: str, port: int, routes: str) -> Listener:
    made = Listener(name=name)
    made.address.socket_address.address, made.address.socket_address.port_value = "127.0.0.1", port
    manager = HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = routes
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.http_filters.add(name="router").typed_config.Pack(Router())
    made.filter_chains.add().filters.add(name="http").typed_config.Pack(manager)
    return made


def routes(name: str, target: str) -> RouteConfiguration:
    made = RouteConfiguration(name=name)
    host = made.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.route.cluster = target
    return made


def play(kind: type[Side], directory: Path, port: int) -> dict[str, Any]:
    plane = Plane()
    plane.start()
    steps: dict[str, Any] = {}

    def step(name: str, *ends: str) -> None:
        """All that was said since the last step, once each of ``ends`` was."""
        eventually(
            lambda: all(any(line.startswith(end) for line in plane.trace) for end in ends), what=f"{name}: {ends}"
        )
        steps[name], plane.trace[:] = list(plane.trace), []

    plane.say("CDS", cluster("a"), cluster("b"))
    plane.say("EDS", endpoints("a", 1), endpoints("b", 2))
    plane.say("LDS", listener("l", port, "r"))
    plane.say("RDS", routes("r", "a"))
    try:
        with kind(bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), directory) as side:
            side.wait_ready()
            step("start", "RDS r v1 of RDS1", "LDS * v1 of LDS1", "EDS a,b v1 of EDS1", "CDS * v1 of CDS1")
            plane.say("EDS", endpoints("a", 3), endpoints("b", 2))
            step("endpoints", "EDS a,b v2 of EDS2")
            plane.say("CDS", cluster("a"), cluster("b"), cluster("bad", sound=False))
            step("a bad cluster", "CDS * v1 of CDS2 refused")
            plane.say("CDS", cluster("a"))
            step("a cluster removed", "CDS * v3 of CDS3", "EDS a ")
            steps["clusters"] = sorted(
                each for each in ("a", "b", "bad") if f"{each}::" in side.admin("/clusters").text
            )
            plane.say("RDS", routes("r", "b"))
            step("routes", "RDS r v2 of RDS2")
            plane.say("LDS", listener("l", port, "r"), listener("m", port + 1, "s"))
            plane.say("RDS", routes("r", "b"), routes("s", "a"))
            step("a listener more", "LDS * v2 of LDS2", "RDS r,s v3 of RDS3")
            plane.say("LDS", listener("l", port, "r"))
            step("a listener removed", "LDS * v3 of LDS3")
            plane.stop()
            second = Plane(plane.trace, plane.resources, plane.versions, plane.port)
            second.start()
            plane = second
            step("another server at the address", "CDS * v3 of", "LDS * v3 of", "RDS r")
            steps["updates"] = {
                name: side.stat(name)
                for name in (
                    "cluster_manager.cds.update_rejected",
                    "listener_manager.lds.update_rejected",
                    "cluster_manager.warming_clusters",
                )
            }
    finally:
        plane.stop()
    return steps


@pytest.mark.peer("envoy")
def test_messages_are_envoys_in_envoys_order(tmp_path: Path) -> None:
    port = free_port()
    expected = play(Envoy, tmp_path / "envoy", port)
    found = play(Proxy, tmp_path / "isthmus", port)
    compare(expected, found, draining=("a listener removed", "another server at the address"))


def compare(expected: dict[str, Any], found: dict[str, Any], draining: Sequence[str]) -> None:
    """What was said in each step is the same.

    Envoy goes on asking for the routes of a listener that drains, ten minutes long; here its connections keep what they have. So
    routes do not count in the steps ``draining``.
    """
    for name in draining:
        for seen in (expected, found):
            seen[name] = [line for line in seen[name] if not line.startswith("RDS")]
    for name, lines in expected.items():
        assert found[name] == lines, name


def own(source: ConfigSource) -> None:
    """Let what ``source`` is of come by a stream of its own."""
    source.api_config_source.api_type = ApiConfigSource.GRPC
    source.api_config_source.transport_api_version = 2
    source.api_config_source.grpc_services.add().envoy_grpc.cluster_name = "xds"


def own_bootstrap(port: int) -> dict[str, Any]:
    config = bootstrap(f"127.0.0.1:{port}", "GRPC")
    source = {"api_config_source": config["dynamic_resources"]["ads_config"], "resource_api_version": "V3"}
    config["dynamic_resources"] = {"cds_config": source, "lds_config": source}
    return config


def own_cluster(name: str) -> Cluster:
    made = cluster(name)
    own(made.eds_cluster_config.eds_config)
    return made


def own_listener(name: str, port: int, routes: str) -> Listener:
    made = listener(name, port, routes)
    manager = HttpConnectionManager()
    made.filter_chains[0].filters[0].typed_config.Unpack(manager)
    own(manager.rds.config_source)
    made.filter_chains[0].filters[0].typed_config.Pack(manager)
    return made


def play_own(kind: type[Side], directory: Path, port: int, origin: Origin) -> dict[str, Any]:
    """What is said of each type, and what is answered at the end. Streams have no order among each other."""
    plane = Plane()
    plane.start()
    plane.say("CDS", own_cluster("a"))
    plane.say("EDS", endpoints("a", 1))
    plane.say("LDS", own_listener("l", port, "r"))
    plane.say("RDS", routes("r", "gone"))

    def wait_for(*lines: str) -> None:
        eventually(lambda: all(line in plane.trace for line in lines), what=f"{lines}: {plane.trace}")

    try:
        with kind(own_bootstrap(plane.port), directory) as side:
            side.wait_ready()
            wait_for("CDS * v1 of CDS1", "EDS a v1 of EDS1", "LDS * v1 of LDS1", "RDS r v1 of RDS1")
            plane.say("EDS", endpoints("a", origin.port))
            wait_for("EDS a v2 of EDS2")
            plane.say("CDS", own_cluster("a"), cluster("bad", sound=False))
            wait_for("CDS * v1 of CDS2 refused")
            plane.say("RDS", routes("r", "a"))
            wait_for("RDS r v2 of RDS2")
            plane.say("LDS", own_listener("l", port, "r"), own_listener("m", port + 1, "s"))
            plane.say("RDS", routes("r", "a"), routes("s", "a"))
            wait_for("LDS * v2 of LDS2")
            eventually(lambda: answered(port) == 200 and answered(port + 1) == 200)
            said: dict[str, Any] = {name: [line for line in plane.trace if line.startswith(name)] for name in _TYPES}
            # Envoy opens a stream for each route configuration, here all of a type and server share one.
            said["RDS"] = [
                line
                for line in said["RDS"]
                if line.endswith(("first", "of RDS1", "of RDS2")) and "s" not in line.split()[1]
            ]
            for name in ("cluster_manager.cds.update_rejected", "listener_manager.lds.update_success"):
                said[name] = side.stat(name)
            for name in ("cluster_manager.cds", "listener_manager.lds"):
                said[f"{name} connected"] = side.stat(f"{name}.control_plane.connected_state")
    finally:
        plane.stop()
    return said


def answered(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.mark.peer("envoy")
def test_messages_on_streams_of_single_types_are_envoys(tmp_path: Path) -> None:
    port = free_port()
    with Origin("one", "v1", tmp_path) as origin:
        expected = play_own(Envoy, tmp_path / "envoy", port, origin)
        assert play_own(Proxy, tmp_path / "isthmus", port, origin) == expected


def secret(issued: Issued) -> Secret:
    made = Secret(name="server")
    made.tls_certificate.certificate_chain.inline_string = issued.pem
    made.tls_certificate.private_key.inline_string = issued.key_pem
    return made


def secure_listener(port: int) -> Listener:
    made = Listener(name="s")
    made.address.socket_address.address, made.address.socket_address.port_value = "127.0.0.1", port
    hello = DirectResponse()
    hello.response.inline_string = "hello"
    chain = made.filter_chains.add()
    chain.filters.add(name="direct").typed_config.Pack(hello)
    context = DownstreamTlsContext()
    reference = context.common_tls_context.tls_certificate_sds_secret_configs.add(name="server")
    reference.sds_config.ads.SetInParent()
    reference.sds_config.resource_api_version = 2
    chain.transport_socket.name = "tls"
    chain.transport_socket.typed_config.Pack(context)
    return made


def shown(port: int) -> bytes:
    """The certificate that a server at ``port`` shows; nothing if it does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as sock, context.wrap_socket(sock) as secure:
            return secure.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def play_secrets(kind: type[Side], directory: Path, files: Files, port: int) -> list[Any]:
    plane = Plane()
    plane.start()
    plane.say("CDS")
    plane.say("LDS", secure_listener(port))
    plane.say("SDS", secret(files.server))
    seen: list[Any] = []
    wild, server = (ssl.PEM_cert_to_DER_cert(each.pem) for each in (files.wild, files.server))
    try:
        with kind(bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), directory) as side:
            side.wait_ready()
            eventually(lambda: shown(port) == server)
            plane.say("SDS", secret(files.wild))
            eventually(lambda: shown(port) == wild)
            broken = secret(files.server)
            broken.tls_certificate.private_key.inline_string = files.rsa.key_pem
            plane.say("SDS", broken)
            eventually(lambda: any("of SDS3" in line for line in plane.trace))
            seen.append([line for line in plane.trace if line.startswith("SDS")])
            eventually(lambda: shown(port) == wild)
            assert files.wild.key_pem.splitlines()[1] not in side.admin("/config_dump").text
    finally:
        plane.stop()
    return seen


@pytest.mark.peer("envoy")
def test_secrets_are_envoys(tmp_path: Path) -> None:
    files, port = make_files(tmp_path / "certificates"), free_port()
    expected = play_secrets(Envoy, tmp_path / "envoy", files, port)
    assert play_secrets(Proxy, tmp_path / "isthmus", files, port) == expected


UPDATES, PER_SECOND, CLIENTS = 400, 100, 4


class Load:
    """Clients that ask one thing after the other, until they are told to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answered = 0
        self.failed: list[object] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                return
            self.answered += 1
            if response.status != 200:
                self.failed.append(response.status)
        connection.close()


def test_endpoints_that_change_a_hundred_times_a_second_fail_no_request(tmp_path: Path) -> None:
    plane, port = Plane(), free_port()
    plane.start()
    with Origin("one", "v1", tmp_path) as one, Origin("two", "v1", tmp_path) as two:
        plane.say("CDS", cluster("a"))
        plane.say("EDS", endpoints("a", one.port))
        plane.say("LDS", listener("l", port, "r"))
        plane.say("RDS", routes("r", "a"))
        try:
            with Proxy(bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), tmp_path) as proxy:
                proxy.wait_ready()
                with Load(port) as load:
                    for number in range(UPDATES):
                        ports = ((one.port,), (two.port,), (one.port, two.port))[number % 3]
                        plane.say("EDS", endpoints("a", *ports))
                        time.sleep(1 / PER_SECOND)
                    eventually(lambda: _last(plane, UPDATES + 1))
                assert load.failed == []
                assert load.answered > UPDATES
        finally:
            plane.stop()


def _last(plane: Plane, version: int) -> bool:
    return any(line.startswith(f"EDS a v{version} ") for line in plane.trace)
