"""stats_config and stats_sinks: which stats are shown, how they are labelled and bucketed, and what statsd servers are told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from isthmus_proxy.config.check import check
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.stats import compile_stats_settings, compile_stats_sinks
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.prometheus import render
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_flush import StatsFlush
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, StatsSettings
from isthmus_proxy.observe.stats_text import render_text
from isthmus_proxy.observe.statsd import StatsdConfig, StatsdLines, datagrams


def compiled(config: dict[str, Any]) -> StatsSettings:
    proto = Bootstrap()
    fill(proto, {"stats_config": config})
    check(proto)
    return compile_stats_settings(proto.stats_config, "stats_config")


def store(config: dict[str, Any]) -> StatsStore:
    made = StatsStore(compiled(config))
    made.scope("cluster.web").counter("upstream_rq_200").value = 2
    made.scope("cluster.web").text("note").value = "x"
    made.scope("http.in").gauge("downstream_cx_active").value = 1
    made.scope("http.in").histogram("downstream_rq_time").record(7.0)
    return made


def names(config: dict[str, Any]) -> list[str]:
    return [line.partition(":")[0] for line in "".join(render_text(store(config))).splitlines()]


ALL = [
    "cluster.web.note",
    "cluster.web.upstream_rq_200",
    "http.in.downstream_cx_active",
    "http.in.downstream_rq_time",
]


def test_nothing_said_changes_nothing() -> None:
    assert compiled({"use_all_default_tags": True}) is NO_SETTINGS
    assert names({}) == ALL


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        ({"reject_all": True}, []),
        ({"reject_all": False}, ALL),
        ({"inclusion_list": {"patterns": [{"prefix": "cluster."}]}}, ALL[:2]),
        ({"exclusion_list": {"patterns": [{"prefix": "cluster."}, {"suffix": "_time"}]}}, ALL[2:3]),
        ({"exclusion_list": {"patterns": [{"safe_regex": {"regex": "http.*"}}]}}, ALL[:2]),
    ],
)
def test_the_matcher_decides_what_is_shown(matcher: dict[str, Any], expected: list[str]) -> None:
    assert names({"stats_matcher": matcher}) == expected
    # What is not shown is counted all the same, for whoever needs it inside.
    assert store({"stats_matcher": matcher}).value("cluster.web.upstream_rq_200") == 2


def test_buckets_are_those_of_the_first_match() -> None:
    settings = [
        {"match": {"prefix": "http."}, "buckets": [5, 10]},
        {"match": {"prefix": "h"}, "buckets": [1]},
    ]
    text = "".join(render(store({"histogram_bucket_settings": settings})))
    label = 'envoy_http_conn_manager_prefix="in"'
    found = [line for line in text.splitlines() if "_bucket" in line]
    assert found == [
        f'envoy_http_downstream_rq_time_bucket{{{label},le="{bound}"}} {count}'
        for bound, count in (("5", 0), ("10", 1), ("+Inf", 1))
    ]


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        (
            [{"tag_name": "zone", "fixed_value": "a"}],
            'upstream_rq{envoy_response_code="200",zone="a",envoy_cluster_name="web"} 2',
        ),
        (
            [{"tag_name": "my.tag", "regex": "\\.(upstream_(rq))"}],
            '\nenvoy_cluster{envoy_response_code="200",my_tag="rq",envoy_cluster_name="web"} 2',
        ),
        ([{"tag_name": "t", "regex": "nowhere(x)"}], '{envoy_response_code="200",envoy_cluster_name="web"} 2'),
    ],
)
def test_tags(tags: list[dict[str, str]], line: str) -> None:
    text = "".join(render(store({"stats_tags": tags})))
    assert line in text, text


def test_without_default_tags_names_are_whole_and_rules_still_cut() -> None:
    tags = [{"tag_name": "cluster", "regex": "^cluster\\.((.+?)\\.)"}]
    text = "".join(render(store({"use_all_default_tags": False, "stats_tags": tags})))
    assert 'envoy_cluster_upstream_rq_200{cluster="web"} 2' in text
    assert "envoy_http_in_downstream_cx_active{} 1" in text


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"stats_matcher": {}}, "stats_matcher"),
        ({"stats_matcher": {"inclusion_list": {}}}, "inclusion_list.patterns"),
        ({"histogram_bucket_settings": [{"match": {"exact": "x"}, "buckets": [2, 1]}]}, "[0].buckets"),
        ({"stats_tags": [{"tag_name": "x"}]}, "stats_tags[0].regex"),
        ({"stats_tags": [{"tag_name": "x", "regex": "("}]}, "stats_tags[0].regex"),
        ({"stats_tags": [{"tag_name": "x", "regex": "a"}]}, "stats_tags[0].regex"),
        ({"stats_tags": [{"fixed_value": "a"}]}, "stats_tags[0].tag_name"),
    ],
)
def test_what_cannot_be_is_refused_by_path(config: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as error:
        compiled(config)
    assert place in str(error.value)


def sinks(kind: str, **config: Any) -> tuple[StatsdConfig, ...]:
    proto = Bootstrap()
    kind = f"type.googleapis.com/envoy.config.metrics.v3.{kind}"
    document = {"stats_flush_interval": "2s", "stats_sinks": [{"name": "s", "typed_config": {"@type": kind, **config}}]}
    fill(proto, document)
    check(proto)
    return compile_stats_sinks(proto)


UDP = {"socket_address": {"address": "127.0.0.1", "port_value": 8125, "protocol": "UDP"}}


def test_sinks_of_the_bootstrap_file() -> None:
    assert sinks("StatsdSink", address=UDP) == (StatsdConfig("127.0.0.1", 8125, "", "envoy", 2.0),)
    assert sinks("StatsdSink", tcp_cluster_name="c", prefix="p") == (StatsdConfig("", 0, "c", "p", 2.0),)
    dog = sinks("DogStatsdSink", address=UDP, max_bytes_per_datagram=900)[0]
    assert (dog.tagged, dog.datagram_bytes) == (True, 900)
    with pytest.raises(ConfigError, match="address"):
        sinks("StatsdSink")


def test_counters_are_told_as_what_was_added() -> None:
    made = store({})
    lines = StatsdLines("p", tagged=False)
    first = [line for line in lines.take(made) if line]
    assert first == [
        "p.cluster.web.upstream_rq_200:2|c",
        "p.http.in.downstream_cx_active:1|g",
        "p.http.in.downstream_rq_time:7.05|ms",
    ]
    made.scope("cluster.web").counter("upstream_rq_200").value = 5
    for _ in range(4):
        made.scope("http.in").histogram("downstream_rq_time").record(7.0)
    assert [line for line in lines.take(made) if line] == [
        "p.cluster.web.upstream_rq_200:3|c",
        "p.http.in.downstream_cx_active:1|g",
        "p.http.in.downstream_rq_time:7.05|ms|@0.25",
    ]
    made.reset_counters()
    made.scope("cluster.web").counter("upstream_rq_200").value = 1
    assert "p.cluster.web.upstream_rq_200:1|c" in lines.take(made)


def test_tags_of_dogstatsd_have_envoys_names() -> None:
    assert "p.cluster.upstream_rq:2|c|#envoy.response_code:200,envoy.cluster_name:web" in StatsdLines(
        "p", tagged=True
    ).take(store({}))


def test_datagrams_are_as_large_as_allowed() -> None:
    lines = ["aaa", "", "bbb", "cc", "dddd"]
    assert [each for each in datagrams(iter(lines), 0) if each] == [b"aaa", b"bbb", b"cc", b"dddd"]
    assert [each for each in datagrams(iter(lines), 7) if each] == [b"aaa\nbbb", b"cc\ndddd"]
    assert [each for each in datagrams(iter(["x" * 50]), 7) if each] == [b"x" * 50]


@pytest.mark.trio
async def test_a_server_gets_them(autojump_clock: Callable[[], float], nursery: trio.Nursery) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        config = StatsdConfig("127.0.0.1", server.getsockname()[1], "", "p", 5.0)
        made = store({})
        nursery.start_soon(StatsFlush(config, made, lambda: None, lambda _name: None).run)
        await trio.sleep(6.0)
        server.settimeout(10)
        assert server.recv(2000) == b"p.cluster.web.upstream_rq_200:2|c"
        assert made.value("stats_sink.statsd.flushes_sent") == 1
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_cluster_without_endpoints_is_counted(
    autojump_clock: Callable[[], float], nursery: trio.Nursery
) -> None:
    made = store({})
    nursery.start_soon(StatsFlush(StatsdConfig("", 0, "c"), made, lambda: None, lambda _name: None).run)
    await trio.sleep(11.0)
    assert made.value("stats_sink.statsd.flushes_failed") == 2
    nursery.cancel_scope.cancel()
