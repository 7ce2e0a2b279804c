"""health_check: answers whether the proxy is healthy, or caches what its upstream says (envoy.extensions.filters.http.health_check.v3).

Requests that are health checks are marked as such: they are not counted among the others, and not traced. Behind ``/healthcheck/fail``
every one of them fails, and all other responses tell clients to send no more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    HOLD,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead, ResponseHead, set_header
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.route.matcher import FieldsTest

CHECKED_CLUSTER = b"x-envoy-upstream-healthchecked-cluster"
IMMEDIATE_FAIL = b"x-envoy-immediate-health-check-fail"
DEGRADED = b"x-envoy-degraded"
_FLAGS = ("LH",)


@dataclass(slots=True, eq=False)
class HealthCheckStats:
    """Below ``http.<stat_prefix>.health_check.``"""

    request_total: Counter
    failed: Counter
    ok: Counter
    cached_response: Counter
    failed_cluster_not_found: Counter
    failed_cluster_empty: Counter
    failed_cluster_unhealthy: Counter
    degraded: Counter


@dataclass(frozen=True, slots=True)
class HealthCheckConfig:
    """HealthCheck. ``cache_time`` in seconds, 0 = nothing is cached; ``min_healthy`` is per cent by cluster; all ``headers`` must match."""

    pass_through: bool
    cache_time: float = 0.0
    min_healthy: tuple[tuple[str, int], ...] = ()
    headers: tuple[FieldsTest, ...] = ()

    def make(self, context: FilterContext) -> HealthCheckFactory:
        """See ``FilterConfig``."""
        return HealthCheckFactory(self, context)

    def applies(self, head: RequestHead) -> bool:
        """Whether a request is a health check."""
        return all(test(head) for test in self.headers)


class Cache:
    """The last answer to a health check. As in Envoy it is forgotten at every multiple of ``period`` seconds since ``made_at``."""

    __slots__ = ("_degraded", "_made_at", "_period", "_round", "_status")

    def __init__(self, period: float, made_at: float) -> None:
        self._period = period
        self._made_at = made_at
        self._round = -1
        self._status = 0
        self._degraded = False

    def put(self, now: float, status: int, *, degraded: bool) -> None:
        """Remember an answer."""
        self._round = self._round_of(now)
        self._status, self._degraded = status, degraded

    def get(self, now: float) -> tuple[int, bool] | None:
        """The status and whether it is degraded, None if there is none any more."""
        return (self._status, self._degraded) if self._round == self._round_of(now) else None

    def _round_of(self, now: float) -> int:
        return int((now - self._made_at) // self._period)


def cluster_health(
    clusters: ClusterManager, min_healthy: tuple[tuple[str, int], ...], stats: HealthCheckStats
) -> tuple[int, str]:
    """The status that stands for the health of clusters, and why: the first that has too few healthy endpoints fails."""
    for name, per_cent in min_healthy:
        cluster = clusters.get(name)
        if cluster is None:
            stats.failed_cluster_not_found.value += 1
            return 503, "health_check_failed_no_cluster_found"
        total = cluster.stats.membership_total.value
        if not total:
            if not per_cent:
                continue
            stats.failed_cluster_empty.value += 1
            return 503, "health_check_failed_cluster_empty"
        good = cluster.stats.membership_healthy.value + cluster.stats.membership_degraded.value
        if 100 * good < total * per_cent:
            stats.failed_cluster_unhealthy.value += 1
            return 503, "health_check_failed_cluster_unhealthy"
    return 200, "health_check_ok_cluster_healthy"


class HealthCheckFactory:
    """See ``FilterFactory``. Keeps what all exchanges of a connection manager share."""

    __slots__ = ("_surroundings", "cache", "checked_cluster", "config", "stats")

    def __init__(self, config: HealthCheckConfig, context: FilterContext) -> None:
        self.config = config
        self._surroundings = surroundings = context.surroundings
        self.checked_cluster = surroundings.service_cluster.encode()
        self.cache = Cache(config.cache_time, surroundings.reactor.now) if config.cache_time else None
        counter = context.stats.counter
        names = [each.name for each in fields(HealthCheckStats)]
        self.stats = HealthCheckStats(*(counter(f"health_check.{name}") for name in names))

    @property
    def failed(self) -> bool:
        """Whether somebody takes the proxy out of rotation."""
        return self._surroundings.health_failed()

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> HealthCheck:
        """A filter for one exchange; routes have nothing to say but that they disable it."""
        return HealthCheck(callbacks, self)

    def answer(self, now: float) -> LocalReply:
        """The answer to a health check."""
        stats = self.stats
        stats.request_total.value += 1
        cached = self.cache.get(now) if self.cache is not None else None
        degraded = False
        if self.failed:
            status, details = 503, "health_check_failed"
        elif cached is not None:
            (status, degraded), details = cached, "health_check_cached"
            stats.cached_response.value += 1
        elif self.config.min_healthy:
            status, details = cluster_health(self._surroundings.clusters, self.config.min_healthy, stats)
        else:
            status, details = 200, "health_check_ok"
        good = 200 <= status < 300
        (stats.ok if good else stats.failed).value += 1
        if degraded:
            stats.degraded.value += 1
        return LocalReply(status, details, flags=() if good else _FLAGS, headers=((DEGRADED, b""),) if degraded else ())


class HealthCheck(StreamFilter):
    """See the module."""

    __slots__ = ("_checks", "_factory", "_handles")

    def __init__(self, callbacks: FilterCallbacks, factory: HealthCheckFactory) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._checks = False
        self._handles = False

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Mark a health check, and answer it once it is complete."""
        factory, callbacks = self._factory, self.callbacks
        if not factory.config.applies(head):
            return CONTINUE
        self._checks = True
        callbacks.info.mark_health_check()
        cache = factory.cache
        cached = cache is not None and cache.get(callbacks.now) is not None
        if factory.config.pass_through and not cached and not factory.failed:
            return CONTINUE
        self._handles = True
        if not end_stream:
            return STOP
        callbacks.send_local_reply(factory.answer(callbacks.now))
        return HOLD

    def decode_data(self, data: bytes) -> bytes:
        """Nobody wants the body of a health check that is answered here."""
        return b"" if self._handles else data

    def decode_end(self, trailers: Trailers) -> int:
        """Answer."""
        if not self._handles:
            return CONTINUE
        self.callbacks.send_local_reply(self._factory.answer(self.callbacks.now))
        return HOLD

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Say which cluster this is, or that it is to be left alone."""
        factory = self._factory
        if self._checks:
            if factory.cache is not None:
                degraded = head.get(DEGRADED) is not None
                factory.cache.put(self.callbacks.now, head.status, degraded=degraded)
            set_header(head.headers, CHECKED_CLUSTER, factory.checked_cluster)
        if factory.failed:
            set_header(head.headers, IMMEDIATE_FAIL, b"true")
        return CONTINUE
