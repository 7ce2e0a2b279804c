"""Listener filters: what is found out about a connection before a filter chain is chosen for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from isthmus_proxy.listener import client_hello, http_detection, proxy_protocol
from isthmus_proxy.listener.accepted_socket import RAW_BUFFER, TLS, AcceptedSocket
from isthmus_proxy.listener.model import (
    HttpInspectorConfig,
    ListenerFilterConfig,
    OriginalDstConfig,
    Predicate,
    ProxyProtocolConfig,
    RpcInspectorConfig,
    SocketAddress,
    TlsInspectorConfig,
)
from isthmus_proxy.listener.original_dst import original_destination
from isthmus_proxy.observe.stats_scope import StatsScope

WAIT = -1
"""``inspect``: more bytes may tell."""


_HTTP_STATS = {
    http_detection.HTTP10: "http10_found",
    http_detection.HTTP11: "http11_found",
    http_detection.HTTP2: "http2_found",
    http_detection.NOT_HTTP: "http_not_found",
}


class RefusedConnectionError(Exception):
    """A listener filter does not want the connection: it is closed, and the reason was counted."""


class ListenerFilter(Protocol):
    """Looks at the first bytes of a connection. Keeps nothing of one connection for the next call."""

    @property
    def max_bytes(self) -> int:
        """How much it wants to see at most; 0: it does not look at bytes."""

    def inspect(self, accepted: AcceptedSocket, data: bytes) -> int:
        """Note findings in ``accepted``; answer how many bytes to take off the connection, or ``WAIT``.

        ``data`` is everything received so far, up to ``max_bytes``. Raises RefusedConnectionError.
        """


class Stats(Protocol):
    """Where scopes are made (``observe.stats.StatsStore``)."""

    def scope(self, prefix: str) -> StatsScope:
        """The scope below ``prefix``."""


@dataclass(frozen=True, slots=True)
class ConfiguredFilter:
    """A filter, whom it leaves alone, and the scope of its stats."""

    inspector: ListenerFilter
    disabled: Predicate | None
    scope: StatsScope | None


def make_filter(config: ListenerFilterConfig, stats: Stats) -> ConfiguredFilter:
    """The filter of a configuration."""
    kind = config.kind
    scope: StatsScope | None = None
    inspector: ListenerFilter
    if isinstance(kind, OriginalDstConfig):
        inspector = OriginalDst()
    elif isinstance(kind, TlsInspectorConfig):
        scope = stats.scope("tls_inspector")
        inspector = TlsInspector(kind, scope)
    elif isinstance(kind, HttpInspectorConfig):
        scope = stats.scope("http_inspector")
        inspector = HttpInspector(scope)
    elif isinstance(kind, RpcInspectorConfig):
        scope = stats.scope("rpc_inspector")
        inspector = RpcInspector(kind, scope)
    else:
        scope = stats.scope("proxy_proto" + (f".{kind.stat_prefix}" if kind.stat_prefix else ""))
        inspector = ProxyProtocol(kind, scope)
    return ConfiguredFilter(inspector, config.disabled, scope)


def applies(predicate: Predicate | None, accepted: AcceptedSocket) -> bool:
    """Whether a filter with this ``filter_disabled`` leaves the connection alone."""
    if predicate is None:
        return False
    if predicate.kind == "port":
        ports, local = predicate.ports, accepted.local
        return ports is not None and isinstance(local, SocketAddress) and ports.start <= local.port < ports.end
    if predicate.kind == "not":
        return not applies(predicate.rules[0], accepted)
    if predicate.kind == "or":
        return any(applies(rule, accepted) for rule in predicate.rules)
    if predicate.kind == "and":
        return all(applies(rule, accepted) for rule in predicate.rules)
    return True


class OriginalDst:
    """envoy.filters.listener.original_dst: the connection goes where it went before iptables redirected it."""

    __slots__ = ()
    max_bytes = 0

    def inspect(self, accepted: AcceptedSocket, _data: bytes) -> int:
        """See ListenerFilter."""
        destination = original_destination(accepted.sock)
        if destination is not None:
            accepted.restore_local(destination)
        return 0


class TlsInspector:
    """envoy.filters.listener.tls_inspector: TLS or not, server name and protocols of the ClientHello."""

    __slots__ = ("_count", "_limit", "max_bytes")

    def __init__(self, config: TlsInspectorConfig, scope: StatsScope) -> None:
        self._limit = config.max_client_hello_size
        self.max_bytes = 2 * config.max_client_hello_size + 64  # with the heads of its records
        self._count = _counters(
            scope,
            "client_hello_too_large tls_found tls_not_found alpn_found alpn_not_found sni_found sni_not_found",
        )

    def inspect(self, accepted: AcceptedSocket, data: bytes) -> int:
        """See ListenerFilter."""
        try:
            hello = client_hello.read_client_hello(data)
        except client_hello.NotTls:
            self._count("tls_not_found")
            return 0
        if isinstance(hello, client_hello.Incomplete):
            if hello.handshake_bytes > self._limit or len(data) >= self.max_bytes:
                self._count("client_hello_too_large")
                raise RefusedConnectionError
            return WAIT
        accepted.transport_protocol = TLS
        accepted.server_name = hello.server_name
        accepted.application_protocols = hello.application_protocols
        self._count("tls_found")
        self._count("sni_found" if hello.server_name else "sni_not_found")
        self._count("alpn_found" if hello.application_protocols else "alpn_not_found")
        return 0


class HttpInspector:
    """envoy.filters.listener.http_inspector: plain HTTP or not, and its version as application protocol."""

    __slots__ = ("_count",)
    max_bytes = http_detection.MAX_BYTES

    def __init__(self, scope: StatsScope) -> None:
        self._count = _counters(scope, "http10_found http11_found http2_found http_not_found read_error")

    def inspect(self, accepted: AcceptedSocket, data: bytes) -> int:
        """See ListenerFilter."""
        if accepted.transport_protocol not in ("", RAW_BUFFER):
            return 0
        found = http_detection.detect(data)
        if found is None:
            return WAIT
        self._count(_HTTP_STATS[found])
        if found:
            accepted.application_protocols = (found,)
        return 0


class RpcInspector:
    """isthmus.listener.rpc_inspector: the RPC protocol of a connection, as its application protocol."""

    __slots__ = ("_codecs", "_count", "_detect", "_tr", "max_bytes")

    def __init__(self, config: RpcInspectorConfig, scope: StatsScope) -> None:
        from isthmus_proxy.listener import rpc_detection  # noqa: PLC0415 - loaded where it is configured
        from isthmus_proxy.rpc.codecs import make_codec  # noqa: PLC0415 - the same

        self._detect = rpc_detection.detect
        self._tr = rpc_detection.TR in config.protocols
        self._codecs = [make_codec(name) for name in config.protocols if name != rpc_detection.TR]
        self._count = _counters(scope, " ".join([*(f"{name}_found" for name in config.protocols), "not_found"]))
        self.max_bytes = rpc_detection.MAX_BYTES

    def inspect(self, accepted: AcceptedSocket, data: bytes) -> int:
        """See ListenerFilter."""
        if accepted.transport_protocol not in ("", RAW_BUFFER):
            return 0
        found = self._detect(self._codecs, data, tr=self._tr)
        if found is None:
            return WAIT
        self._count(f"{found}_found" if found else "not_found")
        if found:
            accepted.application_protocols = (found,)
        return 0


class ProxyProtocol:
    """envoy.filters.listener.proxy_protocol: who the client is says the proxy before us."""

    __slots__ = ("_config", "_count")
    max_bytes = proxy_protocol.MAX_BYTES

    def __init__(self, config: ProxyProtocolConfig, scope: StatsScope) -> None:
        self._config = config
        versions = " ".join(
            f"versions.v{version}.{what}" for version in (1, 2) for what in ("found", "disallowed", "error")
        )
        self._count = _counters(scope, f"not_found_allowed not_found_disallowed {versions}")

    def inspect(self, accepted: AcceptedSocket, data: bytes) -> int:
        """See ListenerFilter."""
        try:
            header = proxy_protocol.read_proxy_header(data)
        except proxy_protocol.NoProxyHeader:
            return self._without()
        except proxy_protocol.BadProxyHeaderError as error:
            self._count(f"versions.v{error.version}.error")
            raise RefusedConnectionError from error
        if header is None:
            return WAIT
        if header.version in self._config.disallowed_versions:
            self._count(f"versions.v{header.version}.disallowed")
            if self._config.allow_requests_without_proxy_protocol:
                return 0
            raise RefusedConnectionError
        self._count(f"versions.v{header.version}.found")
        if header.source is not None and header.destination is not None:
            accepted.remote = header.source
            accepted.restore_local(header.destination)
        return header.size

    def _without(self) -> int:
        if not self._config.allow_requests_without_proxy_protocol:
            self._count("not_found_disallowed")
            raise RefusedConnectionError
        self._count("not_found_allowed")
        return 0


def _counters(scope: StatsScope, names: str) -> Callable[[str], None]:
    counters = {name: scope.counter(name) for name in names.split()}

    def count(name: str) -> None:
        counters[name].value += 1

    return count
