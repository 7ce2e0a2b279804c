from __future__ import annotations

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.observe.memo_stats import MemoStats
from isthmus_proxy.observe.stats import Counter, Gauge, StatsStore
from isthmus_proxy.route.model import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.table import KEY_LIMIT, RouteHandles

ROUTE = Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200))


def test_counters_and_sizes() -> None:
    store = StatsStore()
    stats = MemoStats(store, "memo", lambda: {"a_hits": 3, "a_size": 2}, lambda: {"b_resets": 1})
    stats.refresh()
    kinds = {metric.name: type(metric) for scope in store.scopes() for metric in scope.metrics()}
    assert kinds == {"a_hits": Counter, "a_size": Gauge, "b_resets": Counter}
    assert store.value("memo.a_hits") == 3


def test_route_memos_are_counted_over_updates() -> None:
    handles = RouteHandles()
    for content in ("1", "2"):
        handles.update(RouteConfiguration("r", (VirtualHost("v", (b"*",), (ROUTE,)),), content))
        table = handles.get_or_create("r").table
        assert table is not None
        for path in (b"/a", b"/a", b"/b", b"/" + b"x" * KEY_LIMIT):
            table.decide(RequestHead(b"GET", path, b"h", []))
    assert handles.counts() == {"routes_hits": 2, "routes_misses": 6, "routes_too_long": 2, "routes_size": 2}
    handles.remove("r")
    assert handles.counts() == {"routes_hits": 2, "routes_misses": 6, "routes_too_long": 2}
