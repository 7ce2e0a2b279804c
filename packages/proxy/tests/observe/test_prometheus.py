from __future__ import annotations

import re

import pytest

from isthmus_proxy.observe.prometheus import render
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_query import StatsQuery
from isthmus_proxy.observe.tags import of_name, of_prefix


@pytest.mark.parametrize(
    ("prefix", "short", "labels"),
    [
        ("cluster.outbound|80||a.b.svc", "cluster", {"envoy_cluster_name": "outbound|80||a.b.svc"}),
        ("http.ingress", "http", {"envoy_http_conn_manager_prefix": "ingress"}),
        ("http.x.rds.R", "http.rds", {"envoy_http_conn_manager_prefix": "x", "envoy_rds_route_config": "R"}),
        ("listener.127.0.0.1_80", "listener", {"envoy_listener_address": "127.0.0.1_80"}),
        (
            "listener.127.0.0.1_80.http.in",
            "listener.http",
            {"envoy_http_conn_manager_prefix": "in", "envoy_listener_address": "127.0.0.1_80"},
        ),
        ("listener.a_1.worker_0", "listener", {"envoy_worker_id": "0", "envoy_listener_address": "a_1"}),
        ("vhost.v.route.r", "vhost.route", {"envoy_virtual_host": "v", "envoy_route": "r"}),
        ("vhost.v.vcluster.c", "vhost.vcluster", {"envoy_virtual_cluster": "c", "envoy_virtual_host": "v"}),
        ("listener.admin", "listener.admin", {}),
        ("listener_manager.lds", "listener_manager.lds", {}),
        ("cluster_manager", "cluster_manager", {}),
        ("server", "server", {}),
        ("tcp.mysql", "tcp", {"envoy_tcp_prefix": "mysql"}),
    ],
)
def test_labels_are_cut_out_of_well_known_prefixes(prefix: str, short: str, labels: dict[str, str]) -> None:
    assert of_prefix(prefix) == (short, tuple(labels.items()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("upstream_rq_503", ("upstream_rq", (("envoy_response_code", "503"),))),
        ("upstream_rq_5xx", ("upstream_rq_xx", (("envoy_response_code_class", "5"),))),
        ("downstream_rq_2xx", ("downstream_rq_xx", (("envoy_response_code_class", "2"),))),
        ("upstream_rq_total", ("upstream_rq_total", ())),
        ("upstream_rq_0rtt", ("upstream_rq_0rtt", ())),
    ],
)
def test_response_codes_are_labels(name: str, expected: object) -> None:
    assert of_name(name) == expected


def test_text_as_envoy_writes_it() -> None:
    store = StatsStore()
    back = store.scope("cluster.back")
    back.counter("upstream_rq_404").value = 3
    back.counter("upstream_rq_4xx").value = 3
    store.scope("cluster.other").counter("upstream_rq_4xx")
    store.scope("server").gauge("live").value = 1
    assert "".join(render(store)) == (
        "# TYPE envoy_cluster_upstream_rq counter\n"
        'envoy_cluster_upstream_rq{envoy_response_code="404",envoy_cluster_name="back"} 3\n'
        "# TYPE envoy_cluster_upstream_rq_xx counter\n"
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="back"} 3\n'
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="other"} 0\n'
        "# TYPE envoy_server_live gauge\n"
        "envoy_server_live{} 1\n"
    )


def test_histograms_have_cumulative_buckets_sum_and_count() -> None:
    store = StatsStore()
    histogram = store.scope("http.in").histogram("downstream_rq_time")
    for value in (0.2, 3, 7000):
        histogram.record(value)
    text = "".join(render(store))
    label = 'envoy_http_conn_manager_prefix="in"'
    assert f'envoy_http_downstream_rq_time_bucket{{{label},le="0.5"}} 1\n' in text
    assert f'envoy_http_downstream_rq_time_bucket{{{label},le="5"}} 2\n' in text
    assert f'envoy_http_downstream_rq_time_bucket{{{label},le="3600000"}} 3\n' in text
    assert f'envoy_http_downstream_rq_time_bucket{{{label},le="+Inf"}} 3\n' in text
    assert f"envoy_http_downstream_rq_time_sum{{{label}}} 7003.1999999999998\n" in text
    assert f"envoy_http_downstream_rq_time_count{{{label}}} 3\n" in text


def test_filters_and_used_only_leave_families_out() -> None:
    store = StatsStore()
    scope = store.scope("cluster.back")
    scope.counter("a").value = 1
    scope.counter("b")
    assert "envoy_cluster_b" not in "".join(render(store, StatsQuery(used_only=True)))
    assert "".join(render(store, StatsQuery(re.compile("back.b$")))).count("TYPE") == 1


def test_explicit_tags_name_parts_of_the_prefix() -> None:
    store = StatsStore()
    store.scope("my.thing.x", {"envoy.thing": "x"}).counter("a")
    assert 'envoy_my_thing_a{envoy_thing="x"} 0' in "".join(render(store))


def test_label_values_are_escaped() -> None:
    store = StatsStore()
    store.scope('cluster.a"b\\c\nd').counter("a")
    assert 'envoy_cluster_a{envoy_cluster_name="a\\"b\\\\c\\nd"} 0\n' in "".join(render(store))


def test_summaries_in_place_of_buckets() -> None:
    store = StatsStore()
    histogram = store.scope("http.in").histogram("downstream_rq_time")
    label = 'envoy_http_conn_manager_prefix="in"'
    name = "envoy_http_downstream_rq_time"
    assert f'{name}{{{label},quantile="0.5"}} nan\n' in "".join(render(store, StatsQuery(buckets="summary")))
    histogram.record(1.0)
    lines = "".join(render(store, StatsQuery(buckets="summary"))).splitlines()
    assert lines[0] == f"# TYPE {name} summary"
    assert lines[3] == f'{name}{{{label},quantile="0.5"}} 1.05'
    assert lines[-2:] == [f"{name}_sum{{{label}}} 1", f"{name}_count{{{label}}} 1"]


def test_text_readouts_are_labels_where_asked_for() -> None:
    store = StatsStore()
    store.scope("cluster_manager.cds").text("version_text").value = 'v"1'
    assert "".join(render(store)) == ""
    assert "".join(render(store, StatsQuery(text_readouts=True))) == (
        "# TYPE envoy_cluster_manager_cds_version_text gauge\n"
        'envoy_cluster_manager_cds_version_text{text_value="v\\"1"} 0\n'
    )
