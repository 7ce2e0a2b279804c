"""The health_check filter: what a cache keeps for how long, which clusters suffice, and what a configuration may not say."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.health_check.v3 import health_check_pb2
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.http_filters.health_check import compile_health_check_filter
from isthmus_proxy.config.log_filter import compile_log_filter
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.health_check import Cache, HealthCheckConfig
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.testing import forward, running_proxy


def compiled(fields: dict[str, Any]) -> HealthCheckConfig:
    return compile_health_check_filter(ParseDict(fields, health_check_pb2.HealthCheck()), "f")


def test_a_cache_forgets_at_multiples_of_its_period() -> None:
    cache = Cache(2.0, 100.0)
    assert cache.get(100.0) is None
    cache.put(101.9, 503, degraded=True)
    assert cache.get(101.99) == (503, True)
    assert cache.get(102.0) is None
    cache.put(102.0, 200, degraded=False)
    assert cache.get(103.999) == (200, False)
    assert cache.get(104.0) is None


@given(st.floats(0.01, 1e4), st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_a_cache_never_answers_with_what_is_older_than_its_period(
    period: float, made_at: float, before: float, after: float
) -> None:
    cache = Cache(period, made_at)
    cache.put(made_at + before, 200, degraded=False)
    if cache.get(made_at + before + after) is not None:
        assert after <= period * 1.001


@pytest.mark.parametrize(
    ("fields", "place", "reason"),
    [
        ({}, "f.pass_through_mode", "is required"),
        ({"pass_through_mode": False, "cache_time": "1s"}, "f.cache_time", "pass_through_mode only"),
        (
            {"pass_through_mode": True, "cluster_min_healthy_percentages": {"a": {"value": 1}}},
            "f.cluster_min_healthy_percentages",
            "no meaning",
        ),
        (
            {"pass_through_mode": False, "cluster_min_healthy_percentages": {"a": {"value": 100.5}}},
            'f.cluster_min_healthy_percentages["a"].value',
            "from 0 to 100",
        ),
    ],
)
def test_what_a_configuration_may_not_say(fields: dict[str, Any], place: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(fields)
    assert place in str(caught.value)
    assert reason in str(caught.value)


def test_percentages_are_cut_off_as_in_envoy() -> None:
    fields = {"pass_through_mode": False, "cluster_min_healthy_percentages": {"b": {"value": 33.9}, "a": {"value": 1}}}
    assert compiled(fields).min_healthy == (("a", 1), ("b", 33))


def test_logs_may_leave_health_checks_out() -> None:
    from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter

    wanted = compile_log_filter(ParseDict({"not_health_check_filter": {}}, AccessLogFilter()), "filter")
    info = StreamInfo(0.0, 0.0)
    assert wanted(info)
    info.mark_health_check()
    assert not wanted(info)


@pytest.mark.trio
async def test_a_proxy_that_leaves_says_so() -> None:
    config = compiled(
        {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/health"}}]}
    )
    async with running_proxy() as proxy:
        failed = False
        proxy.surroundings.health_failed = lambda: failed
        proxy.surroundings.service_cluster = "shop"
        origin = await proxy.origin()
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        proxy.http(http_filters=(HttpFilterConfig("health", config),))
        status, head, _ = await proxy.get(b"/health")
        assert status == 200
        assert b"x-envoy-upstream-healthchecked-cluster: shop" in head
        assert b"immediate" not in (await proxy.get(b"/"))[1]
        failed = True
        assert (await proxy.get(b"/health"))[0] == 503
        status, head, _ = await proxy.get(b"/")
        assert status == 200
        assert b"x-envoy-immediate-health-check-fail: true" in head
        assert (proxy.stat("http.test.health_check.ok"), proxy.stat("http.test.health_check.failed")) == (1, 1)
        assert proxy.stat("http.test.downstream_rq_completed") == 2
