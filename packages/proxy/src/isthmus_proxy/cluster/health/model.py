"""Compiled config.core.v3.HealthCheck. Immutable; built by ``config.health_check``. Durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.route.model import HeaderEdits

Statuses = tuple[tuple[int, int], ...]
"""Ranges of statuses: first, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """HealthCheck.HttpHealthCheck. ``host`` is empty for the name of the cluster; ``receive`` are pieces of the body, in order."""

    path: bytes = b"/"
    host: bytes = b""
    method: bytes = b"GET"
    edits: HeaderEdits = field(default_factory=HeaderEdits)
    expected: Statuses = ((200, 201),)
    retriable: Statuses = ()
    receive: tuple[bytes, ...] = ()
    response_buffer_size: int = 1024
    http2: bool = False


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """HealthCheck.TcpHealthCheck. With nothing to ``receive`` a connection is all that is asked for."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    """HealthCheck.GrpcHealthCheck: the service grpc.health.v1.Health."""

    service: str = ""
    authority: bytes = b""
    edits: HeaderEdits = field(default_factory=HeaderEdits)


@dataclass(frozen=True, slots=True)
class HealthCheckConfig:
    """See the module. Intervals that are not set follow others, which the compiler has resolved.

    ``alpn_protocols`` are offered instead of those of the transport socket; ``transport_criteria`` choose that among the cluster's
    transport_socket_matches instead of the endpoint's metadata.
    """

    check: HttpCheck | TcpCheck | GrpcCheck
    timeout: float
    interval: float
    unhealthy_threshold: int
    healthy_threshold: int
    initial_jitter: float = 0.0
    interval_jitter: float = 0.0
    interval_jitter_percent: int = 0
    reuse_connection: bool = True
    no_traffic_interval: float = 60.0
    no_traffic_healthy_interval: float = 60.0
    unhealthy_interval: float = 60.0
    unhealthy_edge_interval: float = 60.0
    healthy_edge_interval: float = 60.0
    event_logs: tuple[str, ...] = ()
    always_log_failures: bool = False
    always_log_success: bool = False
    alpn_protocols: tuple[str, ...] = ()
    transport_criteria: Criteria | None = None

    @property
    def kind(self) -> str:
        """data.core.v3.HealthCheckerType."""
        return {HttpCheck: "HTTP", TcpCheck: "TCP", GrpcCheck: "GRPC"}[type(self.check)]


@dataclass(frozen=True, slots=True)
class EndpointHealthCheck:
    """config.endpoint.v3.Endpoint.HealthCheckConfig: where and under which name an endpoint is checked, if at all."""

    host: str = ""
    port: int = 0
    hostname: str = ""
    disabled: bool = False
