"""Which stats are shown and how: kinds, and the forms of histograms that Envoy's ``histogram_buckets`` names."""

from __future__ import annotations

import json

import pytest

from isthmus_proxy.admin import stats_endpoint
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest
from isthmus_proxy.observe.stats import StatsStore


@pytest.fixture
def store() -> StatsStore:
    store = StatsStore()
    scope = store.scope("http.in")
    scope.counter("c").value = 3
    scope.gauge("g").value = 2
    scope.text("t").value = "x"
    histogram = scope.histogram("h")
    for value in (0.2, 0.7, 0.75, 4_000_000.0):
        histogram.record(value)
    return store


def ask(store: StatsStore, target: str, method: str = "GET") -> tuple[int, str]:
    dispatcher = Dispatcher(stats_endpoint.endpoints(store, lambda: None))
    response = dispatcher.respond(AdminRequest.from_target(method.encode(), target.encode()))
    return response.status, "".join(response.body)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Counters", ["http.in.c"]),
        ("Gauges", ["http.in.g"]),
        ("Histograms", ["http.in.h"]),
        ("TextReadouts", ["http.in.t"]),
        ("All", ["http.in.t", "http.in.c", "http.in.g", "http.in.h"]),
    ],
)
def test_one_kind(store: StatsStore, kind: str, names: list[str]) -> None:
    lines = ask(store, f"/stats?type={kind}")[1].splitlines()
    assert [line.partition(":")[0] for line in lines] == names


def test_what_is_not_known_is_refused(store: StatsStore) -> None:
    assert ask(store, "/stats?type=foo") == (400, "invalid &type= param")
    assert ask(store, "/stats?histogram_buckets=foo")[0] == 400
    assert ask(store, "/stats/prometheus?histogram_buckets=disjoint") == (
        400,
        "unsupported prometheus histogram bucket mode",
    )


def shown(store: StatsStore, form: str) -> str:
    return ask(store, f"/stats?filter=h$&histogram_buckets={form}")[1]


def test_buckets_in_text(store: StatsStore) -> None:
    assert shown(store, "cumulative").startswith("http.in.h: B0.5(0,1) B1(0,3) B5(0,3) ")
    assert shown(store, "cumulative").endswith(" B3.6e+06(0,3)\n")
    assert shown(store, "disjoint").startswith("http.in.h: B0.5(0,1) B1(0,2) B5(0,0) ")
    assert "\n  totals=0.2,0.1:1, 0.7,0.1:2, 4e+06,100000:1\n" in shown(store, "detailed")
    assert shown(store, "none") == shown(store, "summary") == ask(store, "/stats?filter=h$")[1]
    store.scope("http.in").histogram("empty_h")
    for form in ("cumulative", "disjoint", "detailed", "summary"):
        assert "http.in.empty_h: No recorded values\n" in shown(store, form)


def test_buckets_in_json(store: StatsStore) -> None:
    def histogram(form: str) -> dict[str, list[dict[str, float]]]:
        body = ask(store, f"/stats?format=json&filter=h$&histogram_buckets={form}")[1]
        found: dict[str, list[dict[str, float]]] = json.loads(body)["stats"][0]["histograms"][0]
        return found

    assert histogram("cumulative")["buckets"][1] == {"upper_bound": 1, "interval": 0, "cumulative": 3}
    assert histogram("disjoint")["buckets"][1] == {"upper_bound": 1, "interval": 0, "cumulative": 2}
    assert histogram("detailed")["totals"][0] == {"lower_bound": 0.2, "width": 0.1, "count": 1}


def test_counters_alone_are_reset(store: StatsStore) -> None:
    assert ask(store, "/reset_counters")[0] == 405
    assert ask(store, "/reset_counters", "POST") == (200, "OK\n")
    assert ask(store, "/stats?filter=[cg]$") == (200, "http.in.c: 0\nhttp.in.g: 2\n")
    assert ask(store, "/stats/prometheus?filter=h$")[1].endswith('_count{envoy_http_conn_manager_prefix="in"} 4\n')
