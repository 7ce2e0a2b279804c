"""What an HTTP connection manager counts, under Envoy's names below ``http.<stat_prefix>.``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge
from isthmus_proxy.observe.stats_scope import StatsScope, make_metrics


@dataclass(slots=True, eq=False)
class HttpStats:
    """Stats of one connection manager; made with it by ``http_stats``."""

    scope: StatsScope
    classes: tuple[Counter, ...]
    """Counters by the hundreds of the status; index 0 takes statuses beyond 599 and is not shown."""

    downstream_cx_delayed_close_timeout: Counter
    downstream_cx_destroy: Counter
    downstream_cx_destroy_active_rq: Counter
    downstream_cx_destroy_local: Counter
    downstream_cx_destroy_local_active_rq: Counter
    downstream_cx_destroy_remote: Counter
    downstream_cx_destroy_remote_active_rq: Counter
    downstream_cx_drain_close: Counter
    downstream_cx_http1_total: Counter
    downstream_cx_http2_total: Counter
    downstream_cx_idle_timeout: Counter
    downstream_cx_max_duration_reached: Counter
    downstream_cx_max_requests_reached: Counter
    downstream_cx_overload_disable_keepalive: Counter
    downstream_cx_protocol_error: Counter
    downstream_cx_rx_bytes_total: Counter
    downstream_cx_ssl_total: Counter
    downstream_cx_total: Counter
    downstream_cx_tx_bytes_total: Counter
    downstream_cx_upgrades_total: Counter
    downstream_flow_control_paused_reading_total: Counter
    downstream_flow_control_resumed_reading_total: Counter
    downstream_rq_1xx: Counter
    downstream_rq_2xx: Counter
    downstream_rq_3xx: Counter
    downstream_rq_4xx: Counter
    downstream_rq_5xx: Counter
    downstream_rq_completed: Counter
    downstream_rq_failed_path_normalization: Counter
    downstream_rq_header_timeout: Counter
    downstream_rq_http1_total: Counter
    downstream_rq_http2_total: Counter
    downstream_rq_idle_timeout: Counter
    downstream_rq_non_relative_path: Counter
    downstream_rq_max_duration_reached: Counter
    downstream_rq_overload_close: Counter
    downstream_rq_response_before_rq_complete: Counter
    downstream_rq_rx_reset: Counter
    downstream_rq_timeout: Counter
    downstream_rq_too_many_premature_resets: Counter
    downstream_rq_too_large: Counter
    downstream_rq_total: Counter
    downstream_rq_tx_reset: Counter
    downstream_rq_ws_on_non_ws_route: Counter
    no_cluster: Counter
    no_route: Counter
    passthrough_internal_redirect_bad_location: Counter
    passthrough_internal_redirect_no_route: Counter
    passthrough_internal_redirect_predicate: Counter
    passthrough_internal_redirect_too_many_redirects: Counter
    passthrough_internal_redirect_unsafe_scheme: Counter
    rq_direct_response: Counter
    rq_redirect: Counter
    rq_reset_after_downstream_response_started: Counter
    rq_total: Counter
    downstream_cx_active: Gauge
    downstream_cx_http1_active: Gauge
    downstream_cx_http2_active: Gauge
    downstream_cx_ssl_active: Gauge
    downstream_cx_upgrades_active: Gauge
    downstream_rq_active: Gauge
    downstream_cx_length_ms: Histogram
    downstream_rq_time: Histogram

    def answered_early(self) -> None:
        """A request was answered before it was complete, and so is cut off."""
        self.downstream_rq_response_before_rq_complete.value += 1
        self.downstream_rq_rx_reset.value += 1


def http_stats(scope: StatsScope) -> HttpStats:
    """The stats of a connection manager, made in ``scope``."""
    metrics = make_metrics(scope, fields(HttpStats))
    classes = tuple(scope.counter(f"downstream_rq_{digit}xx") for digit in range(1, 6))
    return HttpStats(scope=scope, classes=(Counter("beyond"), *classes), **metrics)
