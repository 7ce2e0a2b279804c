"""Counters go on from what the process before has counted."""

from __future__ import annotations

from isthmus_proxy.handover import counters
from isthmus_proxy.observe.stats import StatsStore


def test_counters_go_on_and_gauges_do_not() -> None:
    before = StatsStore()
    scope = before.scope("http.in")
    scope.counter("downstream_rq_total").value = 7
    scope.counter("downstream_rq_5xx")
    scope.gauge("downstream_rq_active").value = 3
    before.scope("cluster.gone").counter("upstream_rq_total").value = 9
    assert counters.gather(before) == {
        "cluster.gone": {"upstream_rq_total": 9},
        "http.in": {"downstream_rq_total": 7},
    }
    after = StatsStore()
    after.scope("http.in").counter("downstream_rq_total").value = 1
    counters.add(after, counters.gather(before))
    assert counters.gather(after) == {"http.in": {"downstream_rq_total": 8}}


def test_a_name_that_is_another_kind_now_is_left_alone() -> None:
    store = StatsStore()
    store.scope("a").gauge("x").value = 5
    counters.add(store, {"a": {"x": 2, "y": 3}})
    assert store.scope("a").gauge("x").value == 5
    assert counters.gather(store) == {"a": {"y": 3}}


def test_scopes_that_are_kept_outlive_their_owners() -> None:
    store = StatsStore()
    scope = store.scope("http.in")
    scope.counter("rq").value = 2
    counters.keep(store)
    scope.close()
    assert counters.gather(store) == {"http.in": {"rq": 2}}
