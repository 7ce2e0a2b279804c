"""The bandwidth_limit filter: bytes go on in order and never faster than the bucket fills, what waits is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from envoy.extensions.filters.http.bandwidth_limit.v3 import bandwidth_limit_pb2
from google.protobuf.json_format import ParseDict
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus_proxy.config.http_filters.bandwidth_limit import (
    compile_bandwidth_limit,
    compile_bandwidth_limit_per_route,
)
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.bandwidth_limit import BandwidthLimitConfig, ByteBucket, Valve, way_stats
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, HttpFilterConfig, RdsReference
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.reactor.timers import Timer, TimerQueue
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

RATE, INTERVAL, CAPACITY = 1000, 0.05, 100


class Moments:
    """A clock that stands until it is moved, and its timers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.buffer_limit = CAPACITY
        self.timers = TimerQueue(lambda _at: None)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.timers, callback)
        timer.set(self.now + delay)
        return timer

    def next_fill(self) -> None:
        self.now = self.timers.next_deadline()
        self.timers.run_due(self.now)


class Way:
    """A valve, and what came of it: ``calls`` in their order."""

    def __init__(self, moments: Moments, bucket: ByteBucket) -> None:
        self.moments = moments
        self.scope = StatsStore().scope("p.http_bandwidth_limit")
        self.stats = way_stats(self.scope, "request")
        self.passed = b""
        self.calls: list[str] = []
        record = self.calls.append
        self.valve = Valve(
            moments, bucket, INTERVAL, self.stats, self._write,
            lambda: record("end"), lambda: record("hold"), lambda: record("release"),
        )  # fmt: skip

    def _write(self, data: bytes) -> None:
        self.passed += data

    def feed(self, data: bytes) -> None:
        self.passed += self.valve.feed(data)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.0, 10.0)), max_size=50))
def test_a_bucket_gives_no_more_than_one_second_and_its_rate(takes: list[tuple[int, float]]) -> None:
    bucket, now, given_away = ByteBucket(RATE), 100.0, 0
    for wanted, wait in takes:
        now += wait
        granted = bucket.take(wanted, now)
        assert 0 <= granted <= wanted
        given_away += granted
        assert given_away <= RATE + RATE * (now - 100.0) + 1e-6


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 5)), min_size=1, max_size=20))
@example([(1500, 0)])
def test_a_body_passes_whole_in_order_and_then_its_end(pieces: list[tuple[int, int]]) -> None:
    moments = Moments()
    way = Way(moments, ByteBucket(RATE))
    sent = bytes(number % 251 for number in range(sum(size for size, _ in pieces)))
    fed = 0
    for size, fills in pieces:
        way.feed(sent[fed : fed + size])
        fed += size
        for _ in range(fills):
            if len(moments.timers):
                moments.next_fill()
        assert len(way.passed) <= RATE + RATE * moments.now + 1
    ended = way.valve.end(trailers=False)
    assert ended == (way.passed == sent)
    while len(moments.timers):
        moments.next_fill()
    assert way.passed == sent
    assert way.calls.count("end") == (not ended)
    assert ended or way.calls[-1] == "end"
    assert way.stats.pending.value == 0
    assert way.stats.incoming_total_size.value == way.stats.allowed_total_size.value == len(sent)
    assert way.stats.enforced.value == pytest.approx(way.valve.delay / INTERVAL)


def test_a_sender_is_stopped_beyond_the_capacity_and_goes_on_below_half_of_it() -> None:
    moments = Moments()
    way = Way(moments, ByteBucket(RATE))
    way.feed(bytes(RATE + CAPACITY))
    assert way.calls == []
    way.feed(b"x")
    assert way.calls == ["hold"]
    moments.next_fill()
    assert len(way.passed) == RATE + 50
    assert way.calls == ["hold"]  # 51 bytes wait
    moments.next_fill()
    assert way.calls == ["hold", "release"]


def test_nothing_happens_after_the_exchange() -> None:
    moments = Moments()
    way = Way(moments, ByteBucket(RATE))
    way.feed(bytes(RATE + 10))
    assert way.stats.pending.value == 1
    way.valve.close()
    moments.now += 10.0
    moments.timers.run_due(moments.now)
    assert len(way.passed) == RATE
    assert way.calls == []
    assert way.stats.pending.value == 0


def compiled(fields: dict[str, Any], *, route: bool = False) -> BandwidthLimitConfig:
    compiler = compile_bandwidth_limit_per_route if route else compile_bandwidth_limit
    return compiler(ParseDict({"stat_prefix": "p", **fields}, bandwidth_limit_pb2.BandwidthLimit()), "f")


@pytest.mark.parametrize(
    ("fields", "place", "reason"),
    [
        ({"stat_prefix": ""}, "f.stat_prefix", "is required"),
        ({"enable_mode": "REQUEST"}, "f.limit_kbps", "is required with enable_mode REQUEST"),
        ({"limit_kbps": 0}, "f.limit_kbps", "at least 1"),
        ({"fill_interval": "0.019s"}, "f.fill_interval", "from 0.02s"),
        ({"fill_interval": "1.001s"}, "f.fill_interval", "to 1.0s"),
        ({"runtime_enabled": {"runtime_key": "k"}}, "f.runtime_enabled.default_value", "is required"),
        ({"runtime_enabled": {"default_value": True}}, "f.runtime_enabled.runtime_key", "is required"),
        (
            {"enable_response_trailers": True, "response_trailer_prefix": "a b"},
            "f.response_trailer_prefix",
            "no name of a header",
        ),
    ],
)
def test_what_a_configuration_may_not_say(fields: dict[str, Any], place: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(fields)
    assert place in str(caught.value)
    assert reason in str(caught.value)


def test_a_route_has_to_set_a_limit() -> None:
    with pytest.raises(ConfigError, match=r"limit_kbps.*required in a route"):
        compiled({}, route=True)
    assert compiled({"limit_kbps": 2}, route=True).rate == 2048


def test_trailers_have_a_prefix_in_lower_case() -> None:
    assert compiled({}).trailer_prefix is None
    assert compiled({"enable_response_trailers": True}).trailer_prefix == b"bandwidth-"
    told = compiled({"enable_response_trailers": True, "response_trailer_prefix": "Shop"})
    assert told.trailer_prefix == b"shop-bandwidth-"


async def echo(peer: Peer, _number: int) -> None:
    head, body = await peer.message()
    assert head.startswith(b"POST ")
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def limited(proxy: Proxy, kbps: int, buffer_limit: int) -> None:
    config = compiled({"enable_mode": "REQUEST_AND_RESPONSE", "limit_kbps": kbps, "fill_interval": "0.02s"})
    origin = await proxy.origin(echo)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    filters = (HttpFilterConfig("limit", config),)
    manager = HttpConnectionManagerConfig("test", RdsReference("r"), http_filters=filters)
    proxy.listen("l", manager, 0, buffer_limit=buffer_limit)


@pytest.mark.trio
async def test_large_bodies_pass_a_small_buffer() -> None:
    async with running_proxy() as proxy:
        await limited(proxy, 4096, 16384)
        sent = bytes(range(256)) * 20_000
        peer = await proxy.client()
        proxy.nursery.start_soon(
            peer.send, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(sent), sent)
        )
        _, body = await peer.message()
        assert body == sent
        for way in ("request", "response"):
            assert proxy.stat(f"p.http_bandwidth_limit.{way}_allowed_total_size") == len(sent)
            assert proxy.stat(f"p.http_bandwidth_limit.{way}_pending") == 0
            assert (proxy.stat(f"p.http_bandwidth_limit.{way}_enforced") or 0) > 0


@pytest.mark.trio
async def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    async with running_proxy() as proxy:
        await limited(proxy, 1, 16384)
        peer = await proxy.client()
        await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n" + bytes(4000))
        await eventually(lambda: proxy.stat("p.http_bandwidth_limit.request_pending") == 1)
        await peer.close()
        await eventually(lambda: proxy.stat("p.http_bandwidth_limit.request_pending") == 0)
        await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
