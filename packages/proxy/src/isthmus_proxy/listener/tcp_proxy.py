"""The TCP proxy: each client connection gets a connection of its own to an endpoint, and bytes pass (Envoy's tcp_proxy)."""

from __future__ import annotations

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.hashing import xx_hash_64
from isthmus_proxy.cluster.original_dst import parse_destination
from isthmus_proxy.cluster.transport import TransportOptions
from isthmus_proxy.http.balancing import ip_of
from isthmus_proxy.http.stream_info import ConnectionEnded, DownstreamSecurity, StreamInfo
from isthmus_proxy.http.surroundings import AccessLog, Surroundings
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import SocketAddress, TcpProxyConfig
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.relay import DOWNSTREAM_RESET, IDLE, Relay
from isthmus_proxy.route.model import ClusterWeight
from isthmus_proxy.upstream.connecting import Connecting, end_of
from isthmus_proxy.upstream.transports import NO_OPTIONS, transport_failure


class TcpStats:
    """What a TCP proxy counts, under Envoy's names below ``tcp.<stat_prefix>.``."""

    __slots__ = ("active", "idle_timeout", "max_duration", "no_route", "received", "scope", "sent", "total")

    def __init__(self, scope: StatsScope) -> None:
        self.scope = scope
        self.total = scope.counter("downstream_cx_total")
        self.no_route = scope.counter("downstream_cx_no_route")
        self.received = scope.counter("downstream_cx_rx_bytes_total")
        self.sent = scope.counter("downstream_cx_tx_bytes_total")
        self.active = scope.gauge("downstream_cx_active")
        self.idle_timeout = scope.counter("idle_timeout")
        self.max_duration = scope.counter("max_downstream_connection_duration")


class TcpProxy:
    """One configured TCP proxy and its connections. Draining leaves them alone: there is no way to ask the peers to stop."""

    __slots__ = (
        "_loggers",
        "_surroundings",
        "_total_weight",
        "buffer_limit",
        "config",
        "connections",
        "on_close",
        "stats",
    )

    def __init__(
        self,
        config: TcpProxyConfig,
        surroundings: Surroundings,
        stats: TcpStats,
        loggers: tuple[AccessLog, ...],
        buffer_limit: int,
        on_close: ConnectionEnded,
    ) -> None:
        self.config = config
        self.stats = stats
        self.buffer_limit = buffer_limit
        self.connections: set[_TcpSession] = set()
        self.on_close = on_close
        self._surroundings = surroundings
        self._loggers = loggers
        self._total_weight = sum(target.weight for target in config.clusters)

    def accept(self, accepted: AcceptedSocket) -> None:
        """Serve a new connection."""
        surroundings = self._surroundings
        now = surroundings.reactor.now
        info = StreamInfo(now, surroundings.clock.at(now))
        info.protocol = ""
        info.connection_id = accepted.connection_id
        info.downstream_remote, info.downstream_local = str(accepted.remote), str(accepted.local)
        info.downstream_direct_remote = str(accepted.direct_remote)
        server_name = accepted.server_name if self.config.cluster_from_sni else ""
        session = _TcpSession(self, surroundings, accepted, info, server_name)
        if accepted.local_restored:
            session.original_destination = info.downstream_local
        self.connections.add(session)
        self.stats.total.value += 1
        self.stats.active.value += 1
        session.connect()

    def target(self) -> ClusterWeight:
        """The cluster of the next connection, drawn by weight."""
        mark = self._surroundings.random() * self._total_weight
        for target in self.config.clusters:
            mark -= target.weight
            if mark < 0:
                return target
        return self.config.clusters[-1]

    def lifetime(self) -> float:
        """Seconds after which the next connection is closed, 0 = never; longer by a random part of the jitter."""
        config = self.config
        return config.max_connection_duration * (
            1.0 + config.max_connection_duration_jitter * self._surroundings.random()
        )

    def context(self, target: ClusterWeight, info: StreamInfo) -> LoadBalancerContext | None:
        """What the choice of an endpoint must regard; None if nothing."""
        key = None
        if self.config.hash_source_ip:
            ip = ip_of(info.downstream_remote)
            key = xx_hash_64(ip.encode()) if ip else None
        if key is None and target.metadata_match is None:
            return None
        return LoadBalancerContext(hash_key=key, criteria=target.metadata_match)

    def finished(self, session: _TcpSession, info: StreamInfo) -> None:
        """Account for a connection that is over."""
        self.connections.discard(session)
        info.downstream_security = session.security()
        ended = info.ended_at = self._surroundings.reactor.now
        self.stats.active.value -= 1
        self.stats.received.value += info.bytes_received
        self.stats.sent.value += info.bytes_sent
        for logger in self._loggers:
            logger.log(info)
        self.on_close(ended - info.started_at, session.describe)

    def drain(self) -> None:
        """Nothing to ask of connections whose protocol is unknown: they end by themselves or with ``close``."""

    def close(self) -> None:
        """Close every connection at once."""
        for session in list(self.connections):
            session.close()


class _TcpSession:
    """One client connection: choosing, connecting (again, up to max_connect_attempts), relaying."""

    __slots__ = (
        "_accepted",
        "_age",
        "_cluster",
        "_connecting",
        "_downstream",
        "_endpoint",
        "_failure",
        "_info",
        "_proxy",
        "_relay",
        "_server_name",
        "_surroundings",
        "_timer",
        "original_destination",
    )

    def __init__(
        self, proxy: TcpProxy, surroundings: Surroundings, accepted: AcceptedSocket, info: StreamInfo, server_name: str
    ) -> None:
        self._proxy = proxy
        self._server_name = server_name
        self.original_destination = ""
        self._surroundings = surroundings
        self._info = info
        self._downstream = accepted.open(surroundings.reactor, self, proxy.buffer_limit)
        self._accepted = accepted
        self._failure = ""
        self._connecting: Connecting | None = None
        self._cluster: Cluster | None = None
        self._endpoint: Endpoint | None = None
        self._relay: Relay | None = None
        self._timer = surroundings.reactor.timer(self._connect_timed_out)
        lifetime = proxy.lifetime()
        self._age = surroundings.reactor.call_later(lifetime, self._too_old) if lifetime else None
        # The client is watched, but not read, until there is somebody to give its bytes to.
        self._downstream.start()
        self._downstream.pause()

    def connect(self) -> None:
        """Choose an endpoint and begin to connect."""
        surroundings, info = self._surroundings, self._info
        target = self._proxy.target()
        name = self._server_name or target.cluster
        cluster = self._cluster = surroundings.clusters.get(name)
        if cluster is None:
            self._proxy.stats.no_route.value += 1
            self._fail("NC")
            return
        info.upstream_cluster = name
        breaker = cluster.breakers[0]
        if breaker.active_connections >= breaker.limits.max_connections:
            cluster.stats.upstream_cx_overflow.value += 1
            self._fail("UO")
            return
        endpoint = self._endpoint = cluster.choose(self._context(cluster, target, info))
        if endpoint is None:
            self._fail("UH")
            return
        info.attempts += 1
        info.upstream = None
        info.upstream_host = endpoint.name
        self._count(1)
        limit, options = cluster.config.per_connection_buffer_limit_bytes, _options(self._accepted)
        transports = surroundings.pools.transports
        self._connecting = Connecting(
            transports, cluster, endpoint, options, (), self, limit, self._opened, self._connect_failed
        )
        self._timer.set(surroundings.reactor.now + cluster.config.connect_timeout)
        self._connecting.start()

    def _context(self, cluster: Cluster, target: ClusterWeight, info: StreamInfo) -> LoadBalancerContext | None:
        if cluster.config.original_dst is None:
            return self._proxy.context(target, info)
        return LoadBalancerContext(destination=parse_destination(self.original_destination))

    def _count(self, change: int) -> None:
        cluster, endpoint = self._cluster, self._endpoint
        if cluster is None or endpoint is None:
            return
        cluster.breakers[0].active_connections += change
        endpoint.cx_active += change
        if cluster.config.close_connections_on_host_health_failure:
            self._depend(endpoint, change)
        cluster.stats.upstream_cx_active.value += change
        if change > 0:
            endpoint.cx_total += 1
            cluster.stats.upstream_cx_total.value += 1
        else:
            cluster.stats.upstream_cx_destroy.value += 1

    def _depend(self, endpoint: Endpoint, change: int) -> None:
        """Be closed when ``endpoint`` fails its health checks, or no longer."""
        dependents = endpoint.dependents
        if dependents is None:
            dependents = endpoint.dependents = set()
        if change > 0:
            dependents.add(self)
        else:
            dependents.discard(self)

    def _opened(self, upstream: Connection) -> None:
        self._connecting = None
        self._timer.cancel()
        if self._endpoint is not None and self._endpoint.monitor is not None:
            self._endpoint.monitor.served()
        reactor = self._surroundings.reactor
        self._info.upstream = end_of(upstream)
        self._relay = Relay(reactor, self._downstream, upstream, self._proxy.config.idle_timeout, self._relayed)
        self._relay.propagate_resets = True
        self._relay.start()

    def _connect_failed(self, error: OSError) -> None:
        self._info.upstream_transport_failure = transport_failure(error)
        self._try_again(503)

    def _connect_timed_out(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._cluster is not None:
            self._cluster.stats.upstream_cx_connect_timeout.value += 1
        self._try_again(504)

    def _try_again(self, status: int) -> None:
        """The endpoint did not take the connection; ``status`` stands for that in outlier detection."""
        self._connecting = None
        self._timer.cancel()
        self._count(-1)
        self._info.flag("UF")
        if self._cluster is not None and self._endpoint is not None:
            self._cluster.stats.upstream_cx_connect_fail.value += 1
            self._endpoint.cx_connect_fail += 1
            if self._endpoint.monitor is not None:
                self._endpoint.monitor.failed(status)
        self._endpoint = None
        if self._info.attempts < self._proxy.config.max_connect_attempts:
            self.connect()
        else:
            self._fail("URX")

    def _fail(self, *flags: str) -> None:
        for flag in flags:
            self._info.flag(flag)
        self._downstream.close()
        self._over()

    def _relayed(self, sent: int, received: int) -> None:
        info = self._info
        info.bytes_sent, info.bytes_received = sent, received
        ended_by = self._relay.ended_by if self._relay is not None else ""
        if ended_by == IDLE:
            self._proxy.stats.idle_timeout.value += 1
        elif ended_by:
            info.flag("DR" if ended_by == DOWNSTREAM_RESET else "UR")
        cluster = self._cluster
        if cluster is not None:
            cluster.stats.upstream_cx_rx_bytes_total.value += sent
            cluster.stats.upstream_cx_tx_bytes_total.value += received
        self._count(-1)
        self._over()

    def _over(self) -> None:
        self._timer.discard()
        if self._age is not None:
            self._age.discard()
        if self in self._proxy.connections:
            self._proxy.finished(self, self._info)

    def security(self) -> DownstreamSecurity | None:
        """What is known of a client that speaks TLS, to this proxy or to the endpoint."""
        tls, name = self._downstream.tls, self._accepted.server_name
        if tls is not None:
            return DownstreamSecurity(name, tls)
        return DownstreamSecurity(name, failure=self._failure) if name or self._failure else None

    def describe(self) -> StreamInfo:
        """What a listener logs of the connection: the same as the proxy."""
        return self._info

    def _too_old(self) -> None:
        self._proxy.stats.max_duration.value += 1
        self._info.flag("DT")
        self.close()

    def close(self) -> None:
        """Close at once."""
        if self._relay is not None:
            self._relay.close()
            return
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
            self._count(-1)
        self._downstream.close()
        self._over()

    def data_received(self, data: bytes) -> None:
        """Not while connecting: the client is not read then."""

    def eof_received(self) -> None:
        """Not while connecting."""

    def connection_lost(self, error: OSError) -> None:
        """The client gave up while the endpoint was being connected, or its TLS handshake failed."""
        self._failure = getattr(error, "transport_reason", "")
        self._info.flag("DC")
        self.close()

    def high_watermark_reached(self) -> None:
        """Nothing is written before the relay begins."""

    def low_watermark_reached(self) -> None:
        """Nothing is written before the relay begins."""

    def drained(self) -> None:
        """Nothing is written before the relay begins."""


def _options(accepted: AcceptedSocket) -> TransportOptions:
    """What a PROXY header tells the endpoint; nothing for a client without a network address."""
    remote, local = accepted.remote, accepted.local
    if not isinstance(remote, SocketAddress) or not isinstance(local, SocketAddress):
        return NO_OPTIONS
    return TransportOptions("", (remote.host, remote.port), (local.host, local.port))
