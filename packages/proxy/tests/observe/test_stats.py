from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.observe import prometheus, stats_text
from isthmus_proxy.observe.stats import Catalog, Gauge, StatsStore
from isthmus_proxy.observe.stats_text import render_json, render_text


def lines(store: StatsStore) -> list[str]:
    return "".join(render_text(store)).splitlines()


def test_a_stat_is_made_once_and_printed_under_its_dotted_name() -> None:
    store = StatsStore()
    scope = store.scope("cluster.web")
    scope.counter("upstream_rq_total").value += 3
    assert scope.counter("upstream_rq_total") is scope.counter("upstream_rq_total")
    scope.gauge("upstream_rq_active").value = 1
    assert lines(store) == ["cluster.web.upstream_rq_active: 1", "cluster.web.upstream_rq_total: 3"]


def test_owners_of_one_prefix_share_it_until_the_last_closes() -> None:
    store = StatsStore()
    first, second = store.scope("http.in"), store.scope("http.in")
    first.counter("rq_total").value += 1
    second.counter("rq_total").value += 1
    first.close()
    assert lines(store) == ["http.in.rq_total: 2"]
    second.close()
    assert lines(store) == []


def test_a_scope_made_again_after_its_end_starts_at_zero() -> None:
    store = StatsStore()
    scope = store.scope("cluster.web")
    scope.counter("a").value = 5
    scope.close()
    again = store.scope("cluster.web")
    scope.close()  # a second close of the old one must not take the new one along
    assert again.counter("a").value == 0
    assert lines(store) == ["cluster.web.a: 0"]


def test_declared_names_show_as_zero_without_being_made() -> None:
    store = StatsStore()
    catalog = Catalog(counters=("a", "b"), gauges=("g",), histograms=("h",))
    store.scope("cluster.web").declare(catalog)
    store.scope("cluster.web").counter("b").value = 2
    assert lines(store) == [
        "cluster.web.a: 0",
        "cluster.web.b: 2",
        "cluster.web.g: 0",
        "cluster.web.h: No recorded values",
    ]


def test_a_name_keeps_its_kind() -> None:
    scope = StatsStore().scope("x")
    scope.counter("a")
    with pytest.raises(TypeError, match="a is a Counter, not a Gauge"):
        scope.gauge("a")


def test_colons_become_underscores_as_in_envoy() -> None:
    store = StatsStore()
    store.scope("listener.127.0.0.1:80").counter("a")
    assert lines(store) == ["listener.127.0.0.1_80.a: 0"]


def test_ten_thousand_idle_clusters_cost_little() -> None:
    store = StatsStore()
    catalog = Catalog(counters=tuple(f"counter_{i}" for i in range(60)))
    scope = store.scope("cluster.one")
    scope.declare(catalog)
    assert sys.getsizeof(scope) < 150
    assert not list(scope._metrics)


def test_json_has_quantiles_beside_values() -> None:
    store = StatsStore()
    scope = store.scope("http.in")
    scope.counter("rq_total").value = 1
    scope.histogram("rq_time").record(5)
    text = "".join(render_json(store))
    assert text.startswith(
        '{"stats":[{"name":"http.in.rq_total","value":1},{"histograms":{"supported_quantiles":[0.0,25.0'
    )
    assert '{"name":"http.in.rq_time","values":[{"interval":null,"cumulative":5.05}' in text


def test_a_value_is_found_by_its_full_name() -> None:
    store = StatsStore()
    store.scope("cluster.web").counter("a").value = 7
    assert store.value("cluster.web.a") == 7
    assert store.value("cluster.web.b") is None


PREFIXES = st.lists(
    st.lists(st.sampled_from(["a", "b", "a-b", "A"]), min_size=1, max_size=3).map(".".join), max_size=6, unique=True
)


@given(PREFIXES, st.lists(st.sampled_from(["x", "b.x", "a", "-"]), min_size=1, unique=True))
def test_text_is_sorted_by_full_name_whatever_the_prefixes(prefixes: list[str], names: list[str]) -> None:
    store = StatsStore()
    for prefix in prefixes:
        for name in names:
            store.scope(prefix).counter(name).value = 1
        store.scope(prefix).text("text").value = "t"
        store.scope(prefix).histogram("histogram").record(1)
    found = "".join(stats_text.render_text(store)).splitlines()
    texts = sorted(f'{prefix}.text: "t"' for prefix in prefixes)
    counters = sorted(f"{prefix}.{name}" for prefix in prefixes for name in names)
    assert found[: len(texts)] == texts
    assert [line.partition(":")[0] for line in found[len(texts) : -len(texts) or None]] == counters
    parsed = json.loads("".join(stats_text.render_json(store)))
    assert len(parsed["stats"]) == len(texts) + len(counters) + bool(texts)


@pytest.mark.parametrize("render", [stats_text.render_text, stats_text.render_json, prometheus.render])
def test_others_get_a_turn_between_scopes(render: Callable[[StatsStore], Iterator[str]]) -> None:
    store, looked_at = StatsStore(), 0

    def provided() -> list[Gauge]:
        nonlocal looked_at
        looked_at += 1
        return [Gauge("g")]

    for number in range(1000):
        store.scope(f"cluster.{number}").provide(provided)
    before = 0
    for _piece in render(store):
        assert looked_at - before <= 1
        before = looked_at
    assert looked_at == 1000
