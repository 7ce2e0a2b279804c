"""The rate limit filter: answers of any kind, clients that leave, services that are slow, and what a configuration may say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit, RateLimitPerRoute
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_filters.ratelimit import compile_ratelimit, compile_ratelimit_per_route
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters import ratelimit as http_filter
from isthmus_proxy.http.filters.ratelimit import RateLimitConfig, RateLimitServer
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.ratelimit import descriptors
from isthmus_proxy.ratelimit.answer import Status, limit_headers
from isthmus_proxy.ratelimit.service import limit_request, read_response
from isthmus_proxy.route.model import ClusterWeight, ForwardAction, Route, RouteMatch, StringMatch
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Peer, Proxy, eventually, running_proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


class Silent:
    """A rate limit service that keeps its askers waiting."""

    def __init__(self) -> None:
        self.asked = 0
        self.peers: list[Peer] = []

    async def script(self, peer: Peer, _number: int) -> None:
        self.peers.append(peer)
        await peer.read_until(b"limits")
        self.asked += 1
        await peer.read_all()


async def serve(proxy: Proxy, **options: object) -> Silent:
    service = Silent()
    limits = await proxy.origin(service.script)
    backend = await proxy.origin()
    proxy.cluster("limits", limits.port, http2=True)
    proxy.cluster("c", backend.port)
    limit = descriptors.RateLimit((descriptors.GenericKey(b"v"),))
    action = ForwardAction((ClusterWeight("c"),), 1, rate_limits=(limit,))
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), action))
    config = RateLimitConfig(RateLimitServer("limits", 20.0, "limits"), "shop", **options)  # type: ignore[arg-type]
    proxy.http(http_filters=(HttpFilterConfig("limit", config),))
    return service


@pytest.mark.trio
async def test_a_client_that_leaves_takes_its_question_back(proxy: Proxy) -> None:
    service = await serve(proxy)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n")
    await eventually(lambda: service.asked == 1)
    await peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
    assert proxy.stat("cluster.limits.upstream_rq_active") == 0
    assert proxy.stat("cluster.c.ratelimit.error") is None


@pytest.mark.trio
async def test_a_service_that_goes_away_is_a_failure_which_lets_pass(proxy: Proxy) -> None:
    service = await serve(proxy)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n")
    await eventually(lambda: service.asked == 1)
    await service.peers[0].close()
    assert (await peer.message())[0].startswith(b"HTTP/1.1 200")
    assert proxy.stat("cluster.c.ratelimit.error") == proxy.stat("cluster.c.ratelimit.failure_mode_allowed") == 1


@pytest.mark.trio
async def test_without_a_cluster_to_ask_requests_are_refused_where_failures_are(proxy: Proxy) -> None:
    await serve(proxy, deny_on_failure=Fraction(100), status_on_error=503)
    proxy.clusters.remove("limits")
    assert (await proxy.get())[0] == 503
    await eventually(lambda: bool(proxy.logs.lines))
    assert proxy.stat("cluster.c.ratelimit.failure_mode_allowed") is None


@pytest.mark.trio
async def test_the_run_time_layer_switches_it_off(proxy: Proxy) -> None:
    service = await serve(proxy, deny_on_failure=Fraction(100))
    proxy.runtime.modify({"ratelimit.http_filter_enabled": "0"})
    assert (await proxy.get())[0] == 200
    assert service.asked == 0


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    assert read_response(data).kind in ("ok", "over_limit", "error")


@given(st.lists(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=3), max_size=3))
def test_any_value_can_be_told(listed: list[list[tuple[str, bytes]]]) -> None:
    told = RateLimitRequest.FromString(limit_request("shop", [tuple(each) for each in listed]))
    assert [len(each.entries) for each in told.descriptors] == list(map(len, listed))
    for descriptor, each in zip(told.descriptors, listed, strict=True):
        for entry, (key, value) in zip(descriptor.entries, each, strict=True):
            assert entry.key == key
            assert entry.value == value.decode("utf-8", "replace").replace("\ufffd", "!")


def test_the_nearest_limit_is_told_and_the_windows_of_all() -> None:
    statuses = (Status(9, "MINUTE", "", 4, 3), Status(5, "UNKNOWN", "n", 2, 1), Status(7, "DAY", "n", 2, 8))
    assert limit_headers(statuses) == (
        (b"x-ratelimit-limit", b'5, 9;w=60, 7;w=86400;name="n"'),
        (b"x-ratelimit-remaining", b"2"),
        (b"x-ratelimit-reset", b"1"),
    )
    assert limit_headers(()) == ()


SERVICE = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}}
LEAST: dict[str, object] = {"domain": "shop", "rate_limit_service": SERVICE}


def compiled(value: dict[str, object]) -> RateLimitConfig:
    proto = RateLimit()
    fill(proto, value)
    check(proto, "limit")
    return compile_ratelimit(proto, "limit")


def test_what_is_not_said_is_as_in_envoy() -> None:
    found = compiled(LEAST)
    assert found == RateLimitConfig(RateLimitServer("limits", 0.02), "shop")
    assert compiled({**LEAST, "rate_limited_status": {"code": 200}}).status == 429


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"rate_limit_service": SERVICE}, r"domain.* is required"),
        ({"domain": "shop"}, r"rate_limit_service\.grpc_service.* is required"),
        ({**LEAST, "stage": 11}, r"stage.*11.* at most 10"),
        ({**LEAST, "request_type": "all"}, r"request_type.*all.* must be internal, external, both"),
        ({**LEAST, "rate_limits": [{}]}, r"rate_limits.* is not supported"),
        (
            {"domain": "x", "rate_limit_service": {"transport_api_version": "V2"}},
            r"transport_api_version.* only AUTO or V3",
        ),
        (
            {"domain": "x", "rate_limit_service": {"grpc_service": {"google_grpc": {"target_uri": "x"}}}},
            r"grpc_service\.google_grpc.* is not supported",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(value: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compiled(value)


def test_a_route_may_have_limits_of_its_own_but_no_old_option() -> None:
    proto = RateLimitPerRoute()
    fill(proto, {"vh_rate_limits": "IGNORE", "domain": "d", "rate_limits": [{"actions": [{"remote_address": {}}]}]})
    check(proto, "route")
    limit = descriptors.RateLimit((descriptors.RemoteAddress(),))
    assert compile_ratelimit_per_route(proto, "route") == http_filter.RateLimitPerRoute("IGNORE", (limit,), "d")
    fill(proto, {"override_option": "IGNORE_POLICY"})
    with pytest.raises(ConfigError, match=r"override_option.* only DEFAULT"):
        check(proto, "route")
