"""What is known about one exchange when it ends: the input of access logs, stats and tracing (Envoy's StreamInfo)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead

if TYPE_CHECKING:
    from isthmus_proxy.tls.info import TlsInfo


class TraceSpan(Protocol):
    """The span of an exchange (``trace.span.Span``)."""

    def inject(self, headers: Headers) -> None:
        """Tell whoever gets ``headers`` of it."""

    def unsample(self) -> None:
        """Report it to nobody, nor let those behind do so."""


class DownstreamSecurity:
    """What is known of a connection that came as TLS, whoever ends it: set for such ones alone.

    ``server_name`` is what the client asked for, ``tls`` the rest where TLS ends here, ``failure`` why it broke.
    """

    __slots__ = ("failure", "server_name", "tls")

    def __init__(self, server_name: str, tls: TlsInfo | None = None, failure: str = "") -> None:
        self.server_name = server_name
        self.tls = tls
        self.failure = failure


class UpstreamEnd:
    """The connection to an endpoint that a request went over: both of its ends as ``host:port``, and its TLS."""

    __slots__ = ("local", "remote", "tls")

    def __init__(self, local: str, remote: str, tls: TlsInfo | None) -> None:
        self.local = local
        self.remote = remote
        self.tls = tls


class StreamInfo:
    """Filled in by the data path while an exchange runs; read once, at its end, by the access loggers.

    Times named ``*_at`` are seconds of the reactor's monotonic clock (None = did not happen); ``start_time`` is wall-clock
    seconds. ``downstream_remote`` is the client as trusted proxies tell it, ``downstream_direct_remote`` the peer. Byte
    counts exclude heads. Flags are Envoy's short names (``UF``, ``NR``) in the order in which they arose.

    ``upstream_host`` is the endpoint that was chosen, ``upstream`` the connection to it, once there was one.
    ``dynamic_metadata`` is what filters say of the exchange, by namespace: values as JSON has them. ``filter_state`` is what they keep by
    key. Both are None as long as nobody said anything. ``health_check``: the request is one, by the filter of that name.
    """

    __slots__ = (
        "attempts",
        "bytes_received",
        "bytes_sent",
        "connection_id",
        "connection_termination_details",
        "downstream_direct_remote",
        "downstream_local",
        "downstream_remote",
        "downstream_security",
        "dynamic_metadata",
        "ended_at",
        "filter_state",
        "flags",
        "health_check",
        "local_reply_body",
        "original_path",
        "protocol",
        "request",
        "request_end_at",
        "request_id",
        "response",
        "response_code_details",
        "response_first_byte_at",
        "route_name",
        "span",
        "start_time",
        "started_at",
        "status",
        "upstream",
        "upstream_cluster",
        "upstream_first_byte_at",
        "upstream_host",
        "upstream_transport_failure",
        "virtual_cluster",
        "virtual_host",
    )

    def __init__(self, started_at: float, start_time: float) -> None:
        self.started_at = started_at
        self.start_time = start_time
        self.ended_at: float | None = None
        self.request_end_at: float | None = None
        self.upstream_first_byte_at: float | None = None
        self.response_first_byte_at: float | None = None
        self.request: RequestHead | None = None
        self.response: ResponseHead | None = None
        self.local_reply_body = b""
        self.original_path: bytes | None = None
        self.protocol = "HTTP/1.1"
        self.status = 0
        self.flags: tuple[str, ...] = ()
        self.health_check = False
        self.response_code_details = ""
        self.connection_termination_details = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.attempts = 0
        self.connection_id = 0
        self.request_id: bytes | None = None
        self.route_name = ""
        self.span: TraceSpan | None = None
        self.virtual_host = ""
        self.upstream_cluster = ""
        self.upstream_host = ""
        self.upstream: UpstreamEnd | None = None
        self.upstream_transport_failure = ""
        self.virtual_cluster = ""
        self.downstream_remote = ""
        self.downstream_security: DownstreamSecurity | None = None
        self.downstream_direct_remote = ""
        self.downstream_local = ""
        self.dynamic_metadata: dict[str, dict[str, Any]] | None = None
        self.filter_state: dict[str, Any] | None = None

    def flag(self, name: str) -> None:
        """Add a response flag once."""
        if name not in self.flags:
            self.flags = (*self.flags, name)

    def mark_health_check(self) -> None:
        """The request asks for the proxy's health: it is not counted among the others, and not traced."""
        self.health_check = True
        if self.span is not None:
            self.span.unsample()

    def set_metadata(self, namespace: str, values: dict[str, Any]) -> None:
        """Add ``values`` to the dynamic metadata of ``namespace``; a key that is there gets the new value."""
        if self.dynamic_metadata is None:
            self.dynamic_metadata = {}
        self.dynamic_metadata.setdefault(namespace, {}).update(values)

    def metadata(self, namespace: str, *path: str) -> Any:
        """The value at ``path`` in the dynamic metadata of ``namespace``; None if there is none."""
        found: Any = (self.dynamic_metadata or {}).get(namespace)
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    def set_filter_state(self, key: str, value: object) -> None:
        """Keep ``value`` under ``key``, in place of what was there."""
        if self.filter_state is None:
            self.filter_state = {}
        self.filter_state[key] = value


class Counted(Protocol):
    """A connection that counts its bytes."""

    bytes_in: int
    bytes_out: int


def connection_info(connection_id: int, remote: str, local: str, connection: Counted | None = None) -> StreamInfo:
    """What is known of every connection; the log of its listener sets the times."""
    info = StreamInfo(0.0, 0.0)
    info.protocol = ""
    info.connection_id = connection_id
    info.downstream_remote = info.downstream_direct_remote = remote
    info.downstream_local = local
    if connection is not None:
        info.bytes_received, info.bytes_sent = connection.bytes_in, connection.bytes_out
    return info


ConnectionEnded = Callable[[float, Callable[[], StreamInfo]], None]
"""What a network filter calls with the seconds that a connection lasted, and with how to describe it for a listener's log."""
