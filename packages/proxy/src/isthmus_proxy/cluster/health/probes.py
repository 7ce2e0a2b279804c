"""Makes the probe of an endpoint as its cluster's health check says, and what it sends."""

from __future__ import annotations

import socket

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.http1_probe import Http1Probe
from isthmus_proxy.cluster.health.model import GrpcCheck, HealthCheckConfig, HttpCheck, TcpCheck
from isthmus_proxy.cluster.health.probe import Probe, Report
from isthmus_proxy.cluster.health.probe_connection import Connect, ProbeConnection, ProbeOwner, Secure
from isthmus_proxy.cluster.health.tcp_probe import TcpProbe
from isthmus_proxy.cluster.health.verdict import Fields, Verdict, grpc_request, judge_grpc, judge_http
from isthmus_proxy.cluster.transport import TransportOptions
from isthmus_proxy.codec.http1.serialise import request_head
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import HeaderEdits
from isthmus_proxy.upstream.transports import Securing, Transports

_BODILESS = (b"GET", b"HEAD", b"DELETE", b"TRACE")
"""Methods whose requests do not say that they have no body, as Envoy's."""

_CHECK = b"/grpc.health.v1.Health/Check"


def make_probe(
    reactor: Reactor,
    transports: Transports,
    cluster: Cluster,
    config: HealthCheckConfig,
    host: Endpoint,
    report: Report,
) -> Probe:
    """The probe of ``host``, which tells ``report``."""
    check, reuse = config.check, config.reuse_connection

    def connect(owner: ProbeOwner) -> ProbeConnection:
        return ProbeConnection(reactor, address_of(host), owner, _secure(transports, cluster, config, host))

    if isinstance(check, TcpCheck):
        return TcpProbe(connect, check, report, reuse=reuse)
    if isinstance(check, GrpcCheck):
        return _http2_probe(connect, cluster, _GrpcRequest(cluster, check, host), report, reuse=reuse)
    request = _HttpRequest(cluster, check, host)
    if check.http2:
        return _http2_probe(connect, cluster, request, report, reuse=reuse)
    return Http1Probe(connect, check, request.http1, report, reuse=reuse)


def address_of(host: Endpoint) -> tuple[str, int]:
    """Where ``host`` is checked: at its own address, but for what it says itself."""
    own = host.config.health_check
    return own.host or host.address[0], own.port or host.address[1]


def _secure(transports: Transports, cluster: Cluster, config: HealthCheckConfig, host: Endpoint) -> Secure | None:
    """What comes before the check on each connection, as the transport socket says that the check or ``host`` asks for."""
    transport = transports.of(cluster, host, config.transport_criteria)
    if transport is None:
        return None
    options = TransportOptions(application_protocols=config.alpn_protocols)

    def secure(sock: socket.socket, securing: Securing) -> Securing:
        return transports.secure(sock, transport, cluster, host, options, (), securing)

    return secure


def _http2_probe(
    connect: Connect,
    cluster: Cluster,
    request: _HttpRequest | _GrpcRequest,
    report: Report,
    *,
    reuse: bool,
) -> Probe:
    from isthmus_proxy.cluster.health.http2_probe import Http2Probe  # noqa: PLC0415 - only where it is used
    from isthmus_proxy.codec.http2.stats import Http2Stats  # noqa: PLC0415 - the same

    scope = cluster.stats.scope
    stats = Http2Stats(lambda name: scope.counter(f"http2.{name}"), lambda name: scope.gauge(f"http2.{name}"))
    options = cluster.config.http2_options
    tells_status = isinstance(request, _HttpRequest)
    return Http2Probe(
        connect, options, stats, request.http2, request.judge, report, reuse=reuse, tells_status=tells_status
    )


def _authority(cluster: Cluster, host: Endpoint, configured: bytes) -> bytes:
    return host.config.health_check.hostname.encode() or configured or cluster.name.encode()


def _edited(edits: HeaderEdits, headers: Headers, host: Endpoint) -> Headers:
    if edits:
        info = StreamInfo(0.0, 0.0)
        info.upstream_host = host.name
        header_edits.apply(edits, headers, info)
    return headers


def _block(head: RequestHead) -> bytes:
    from isthmus_proxy.http.http2_request_block import http2_request_block  # noqa: PLC0415 - only where it is used

    return http2_request_block(head)


class _HttpRequest:
    """The request of an HTTP health check."""

    __slots__ = ("_check", "_cluster", "_host")

    def __init__(self, cluster: Cluster, check: HttpCheck, host: Endpoint) -> None:
        self._cluster = cluster
        self._check = check
        self._host = host

    def _head(self) -> RequestHead:
        check = self._check
        headers = _edited(check.edits, [(b"user-agent", b"Envoy/HC")], self._host)
        return RequestHead(check.method, check.path, _authority(self._cluster, self._host, check.host), headers)

    def http1(self) -> bytes:
        """Over HTTP/1.1."""
        head = self._head()
        if head.method not in _BODILESS:
            head.headers.append((b"content-length", b"0"))
        return request_head(head.method, head.path, head.authority, head.headers)

    def http2(self) -> tuple[bytes, bytes]:
        """Over HTTP/2."""
        return _block(self._head()), b""

    def judge(self, status: int, headers: Fields, body: bytes, trailers: Fields) -> Verdict:
        """What the answer says."""
        del trailers
        return judge_http(self._check, status, headers, body[: self._check.response_buffer_size])


class _GrpcRequest:
    """The request of a gRPC health check."""

    __slots__ = ("_check", "_cluster", "_host")

    def __init__(self, cluster: Cluster, check: GrpcCheck, host: Endpoint) -> None:
        self._cluster = cluster
        self._check = check
        self._host = host

    def http2(self) -> tuple[bytes, bytes]:
        """Head and body."""
        check = self._check
        headers = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"user-agent", b"Envoy/HC")]
        authority = _authority(self._cluster, self._host, check.authority)
        head = RequestHead(b"POST", _CHECK, authority, _edited(check.edits, headers, self._host))
        return _block(head), grpc_request(check.service)

    def judge(self, status: int, headers: Fields, body: bytes, trailers: Fields) -> Verdict:
        """What the answer says."""
        return judge_grpc(status, headers, body, trailers)
