"""What a cluster counts, under Envoy's names below ``cluster.<name>.``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge
from isthmus_proxy.observe.stats_scope import StatsScope, make_metrics


@dataclass(slots=True, eq=False)
class ClusterStats:
    """Stats of one cluster in use; made by ``cluster_stats`` when the cluster is first used, never before."""

    scope: StatsScope
    classes: tuple[Counter, ...]
    """Counters by the hundreds of the status; index 0 takes statuses beyond 599, which count as server errors."""

    lb_healthy_panic: Counter
    retry_or_shadow_abandoned: Counter
    upstream_cx_close_notify: Counter
    upstream_cx_connect_fail: Counter
    upstream_cx_connect_timeout: Counter
    upstream_cx_destroy: Counter
    upstream_cx_destroy_local: Counter
    upstream_cx_destroy_local_with_active_rq: Counter
    upstream_cx_destroy_remote: Counter
    upstream_cx_destroy_remote_with_active_rq: Counter
    upstream_cx_destroy_with_active_rq: Counter
    upstream_cx_http1_total: Counter
    upstream_cx_http2_total: Counter
    upstream_cx_idle_timeout: Counter
    upstream_cx_max_requests: Counter
    upstream_cx_none_healthy: Counter
    upstream_cx_overflow: Counter
    upstream_cx_pool_overflow: Counter
    upstream_cx_protocol_error: Counter
    upstream_cx_rx_bytes_total: Counter
    upstream_cx_total: Counter
    upstream_cx_tx_bytes_total: Counter
    upstream_rq_active_overflow: Counter
    upstream_rq_cancelled: Counter
    upstream_internal_redirect_failed_total: Counter
    upstream_internal_redirect_succeeded_total: Counter
    upstream_rq_completed: Counter
    upstream_rq_1xx: Counter
    upstream_rq_2xx: Counter
    upstream_rq_3xx: Counter
    upstream_rq_4xx: Counter
    upstream_rq_5xx: Counter
    upstream_rq_maintenance_mode: Counter
    upstream_rq_pending_failure_eject: Counter
    upstream_rq_pending_overflow: Counter
    upstream_rq_pending_total: Counter
    upstream_rq_per_try_timeout: Counter
    upstream_rq_retry: Counter
    upstream_rq_per_try_idle_timeout: Counter
    upstream_rq_retry_backoff_exponential: Counter
    upstream_rq_retry_backoff_ratelimited: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_rx_reset: Counter
    upstream_rq_timeout: Counter
    upstream_rq_total: Counter
    upstream_rq_tx_reset: Counter
    membership_change: Counter
    update_attempt: Counter
    update_empty: Counter
    update_failure: Counter
    update_no_rebuild: Counter
    update_success: Counter
    membership_degraded: Gauge
    membership_excluded: Gauge
    membership_healthy: Gauge
    membership_total: Gauge
    upstream_cx_active: Gauge
    upstream_cx_rx_bytes_buffered: Gauge
    upstream_cx_tx_bytes_buffered: Gauge
    upstream_rq_active: Gauge
    upstream_rq_pending_active: Gauge
    upstream_cx_connect_ms: Histogram
    upstream_cx_length_ms: Histogram
    upstream_rq_time: Histogram
    codes: dict[int, Counter] = field(default_factory=dict)

    def code(self, status: int) -> Counter:
        """Counter ``upstream_rq_<status>``; a status outside 100-599 shares one counter, so that peers cannot make many."""
        found = self.codes.get(status)
        if found is None:
            name = f"upstream_rq_{status}" if 100 <= status <= 599 else "upstream_rq_unknown"
            found = self.codes[status if 100 <= status <= 599 else 0] = self.scope.counter(name)
        return found


def cluster_stats(scope: StatsScope) -> ClusterStats:
    """The stats of a cluster, made in ``scope``."""
    metrics = make_metrics(scope, fields(ClusterStats))
    classes = tuple(scope.counter(f"upstream_rq_{digit}xx") for digit in (5, 1, 2, 3, 4, 5))
    return ClusterStats(scope=scope, classes=classes, **metrics)
