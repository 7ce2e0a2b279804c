"""What an RPC proxy counts, below ``rpc.<stat_prefix>.``; for each service and method as well, up to a number of them."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope

MAX_METHODS = 2000
"""Pairs of service and method with counters of their own; what comes later is counted under ``other``."""


class MethodStats:
    """``service.<service>.method.<method>.*``: requests, and how they ended."""

    __slots__ = ("error", "local", "success", "total")

    def __init__(self, scope: StatsScope, prefix: str) -> None:
        self.total = scope.counter(f"{prefix}rq_total")
        self.success = scope.counter(f"{prefix}rq_success")
        self.error = scope.counter(f"{prefix}rq_error")
        self.local = scope.counter(f"{prefix}rq_local_reply")


class RpcStats:
    """See the module."""

    __slots__ = (
        "_methods",
        "cx_active",
        "cx_idle_timeout",
        "cx_protocol_error",
        "cx_total",
        "edit_failed",
        "heartbeats",
        "memo_resets",
        "memo_slow",
        "mirror_dropped",
        "mirrored",
        "no_cluster",
        "no_route",
        "one_way",
        "rq_active",
        "rq_time",
        "rq_timeout",
        "rq_total",
        "scope",
        "unknown_response",
        "upstream_goaway",
        "upstream_heartbeat_missed",
        "upstream_heartbeats",
    )

    def __init__(self, scope: StatsScope) -> None:
        self.scope = scope
        self.cx_total = scope.counter("downstream_cx_total")
        self.cx_active = scope.gauge("downstream_cx_active")
        self.cx_idle_timeout = scope.counter("downstream_cx_idle_timeout")
        self.cx_protocol_error = scope.counter("downstream_cx_protocol_error")
        self.rq_total = scope.counter("downstream_rq_total")
        self.rq_active = scope.gauge("downstream_rq_active")
        self.rq_time = scope.histogram("downstream_rq_time")
        self.edit_failed = scope.counter("downstream_rq_edit_failed")
        self.one_way = scope.counter("downstream_rq_one_way")
        self.heartbeats = scope.counter("downstream_heartbeat")
        self.no_route = scope.counter("no_route")
        self.no_cluster = scope.counter("no_cluster")
        self.rq_timeout = scope.counter("rq_timeout")
        self.unknown_response = scope.counter("upstream_response_unknown")
        self.upstream_goaway = scope.counter("upstream_goaway")
        self.upstream_heartbeats = scope.counter("upstream_heartbeat")
        self.upstream_heartbeat_missed = scope.counter("upstream_heartbeat_missed")
        self.memo_slow = scope.counter("plan_memo_misses")
        self.memo_resets = scope.counter("plan_memo_resets")
        self.mirrored = MethodStats(scope, "mirror.")
        self.mirror_dropped = scope.counter("mirror.rq_dropped")
        self._methods: dict[tuple[bytes, bytes], MethodStats] = {}

    def method(self, service: bytes, method: bytes) -> MethodStats:
        """The counters of one method."""
        key = (service, method)
        found = self._methods.get(key)
        if found is None:
            if len(self._methods) >= MAX_METHODS:
                key = (b"other", b"other")
                if key in self._methods:
                    return self._methods[key]
            prefix = f"service.{_name(key[0])}.method.{_name(key[1])}."
            found = self._methods[key] = MethodStats(self.scope, prefix)
        return found


def _name(text: bytes) -> str:
    """``text`` as part of the name of a stat."""
    return text.decode("utf-8", "replace").replace(":", "_") or "none"
