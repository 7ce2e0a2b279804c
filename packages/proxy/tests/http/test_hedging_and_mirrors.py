"""Hedges, mirrors, stream durations and the finer points of retries, against scripted origins."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.retry import RetryState, retry_rules
from isthmus_proxy.http.shadow import shadow_authority
from isthmus_proxy.http.stream_duration import grpc_timeout, grpc_timeout_value, stream_duration
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderMatch,
    MirrorPolicy,
    RateLimitedBackOff,
    RetryPolicy,
    StringMatch,
)
from isthmus_proxy.route.table import pick, pick_by_header
from isthmus_proxy.runtime import Fraction, Runtime
from isthmus_proxy.testing import Peer, Proxy, Script, eventually, forward, running_proxy, static_values

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
HEDGE = RetryPolicy(frozenset({"5xx"}), per_try_timeout=0.05)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


async def hang(peer: Peer, _number: int) -> None:
    await peer.read_all()


def in_turn(*scripts: Script) -> Script:
    async def serve(peer: Peer, number: int) -> None:
        await scripts[min(number, len(scripts) - 1)](peer, number)

    return serve


class Held:
    """Answers each connection's first request once it is told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.seen = 0
        self.may = [trio.Event() for _ in answers]

    async def __call__(self, peer: Peer, number: int) -> None:
        await peer.message()
        self.seen += 1
        await self.may[number].wait()
        await peer.send(self.answers[number])
        await peer.read_all()


async def hedged(proxy: Proxy, script: Script) -> Peer:
    origin = await proxy.origin(script)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=HEDGE, hedge_on_per_try_timeout=True))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    return peer


@pytest.mark.trio
@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_good_answer_of_a_hedge_wins(proxy: Proxy, winner: int) -> None:
    held = Held(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n0", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
    peer = await hedged(proxy, held)
    await eventually(lambda: held.seen == 2)
    held.may[winner].set()
    assert (await peer.message())[1] == b"%d" % winner
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)
    assert proxy.logs.lines[0].attempts == 2
    assert proxy.clusters.in_use("c").breakers[0].active_retries == 0  # type: ignore[union-attr]


@pytest.mark.trio
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_bad_answers_the_last_is_given(proxy: Proxy, order: tuple[int, int]) -> None:
    held = Held(BAD, BAD.replace(b"bad", b"sad"))
    peer = await hedged(proxy, held)
    await eventually(lambda: held.seen == 2)
    for number in order:
        held.may[number].set()
        await trio.lowlevel.checkpoint()
    head, _ = await peer.message()
    assert head.startswith(b"HTTP/1.1 503 ")
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_a_hedge_survives_the_loss_of_its_rival(proxy: Proxy) -> None:
    async def reset_later(peer: Peer, _number: int) -> None:
        await peer.message()
        await second.wait()
        peer.abort()
        lost.set()

    async def answer(peer: Peer, _number: int) -> None:
        await peer.message()
        second.set()
        await lost.wait()
        await peer.send(OK)
        await peer.read_all()

    second, lost = trio.Event(), trio.Event()
    peer = await hedged(proxy, in_turn(reset_later, answer))
    assert (await peer.message())[1] == b"ok"
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_a_client_that_leaves_ends_all_attempts(proxy: Proxy) -> None:
    held = Held(OK, OK)
    peer = await hedged(proxy, held)
    await eventually(lambda: held.seen == 2)
    peer.abort()
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)


@pytest.mark.trio
async def test_a_mirror_gets_the_whole_request_and_nobody_waits_for_it(proxy: Proxy) -> None:
    copies: list[tuple[bytes, bytes]] = []

    async def record(peer: Peer, _number: int) -> None:
        while True:
            copies.append(await peer.message())
            await peer.send(BAD)

    origin, shadow = await proxy.origin(), await proxy.origin(record)
    proxy.cluster("c", origin.port)
    proxy.cluster("m", shadow.port)
    never = MirrorPolicy("m", fraction=Fraction(0))
    proxy.route(forward(mirrors=(MirrorPolicy("m"), never, MirrorPolicy("missing"))))
    proxy.http()
    peer = await proxy.client()
    for piece in (
        b"POST / HTTP/1.1\r\nhost: a.b:81\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
    ):
        await peer.send(piece)
    assert (await peer.message())[1] == b"ok"
    await eventually(lambda: len(copies) == 1)
    assert b"\r\nhost: a.b-shadow:81\r\n" in b"\r\n" + copies[0][0].partition(b"\r\n")[2]
    assert copies[0][1] == b"3\r\nabc\r\n0\r\n\r\n"
    await eventually(lambda: proxy.stat("cluster.m.upstream_rq_503") == 1)
    await eventually(lambda: proxy.stat("cluster.m.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_an_unfinished_request_takes_its_copies_with_it(proxy: Proxy) -> None:
    origin, shadow = await proxy.origin(hang), await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.cluster("m", shadow.port)
    proxy.route(forward(mirrors=(MirrorPolicy("m"),), timeout=0.0))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab")
    await eventually(lambda: proxy.stat("cluster.m.upstream_rq_active") == 1)
    peer.abort()
    await eventually(lambda: proxy.stat("cluster.m.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_a_copy_that_waits_too_long_ends(proxy: Proxy) -> None:
    origin, shadow = await proxy.origin(), await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.cluster("m", shadow.port)
    proxy.route(forward(mirrors=(MirrorPolicy("m"),), timeout=0.1))
    proxy.http()
    assert (await proxy.get())[0] == 200
    await eventually(lambda: proxy.stat("cluster.m.upstream_rq_timeout") == 1)
    assert proxy.stat("cluster.m.upstream_rq_active") == 0


@pytest.mark.trio
async def test_a_stream_lasts_no_longer_than_its_route_allows(proxy: Proxy) -> None:
    origin = await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.route(forward(timeout=0.0, max_stream_duration=0.05))
    proxy.http()
    status, _, body = await proxy.get()
    assert (status, body) == (504, b"downstream duration timeout")
    assert proxy.stat("http.test.downstream_rq_max_duration_reached") == 1
    assert proxy.logs.lines[0].details == "max_duration_timeout"


@pytest.mark.trio
async def test_an_idle_try_is_tried_again(proxy: Proxy) -> None:
    async def answer(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(OK)
        await peer.read_all()

    origin = await proxy.origin(in_turn(hang, answer))
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({"reset"}), per_try_idle_timeout=0.05)))
    proxy.http()
    assert (await proxy.get())[0] == 200
    assert proxy.stat("cluster.c.upstream_rq_per_try_idle_timeout") == 1


def retry(policy: RetryPolicy, *headers: tuple[bytes, bytes]) -> RetryState:
    return RetryState(retry_rules(policy), RequestHead(b"GET", b"/", b"h", list(headers)), Runtime())


def test_retriable_headers_of_request_and_response() -> None:
    policy = RetryPolicy(
        frozenset({"retriable-headers", "5xx"}),
        retriable_headers=(HeaderMatch(b"x-again", StringMatch("exact", b"yes")),),
        request_headers=(HeaderMatch(b"x-may"),),
    )
    allowed = retry(policy, (b"x-may", b""))
    assert allowed.wants_response(200, [(b"x-again", b"yes")])
    assert not allowed.wants_response(200, [(b"x-again", b"no")])
    refused = retry(policy)
    assert not refused.wants_response(500, [])
    assert not refused.wants_reset("connection termination", sent=True)
    assert not refused.wants_timeout()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"retry-after", b"2")], 2.0),
        ([(b"retry-after", b"20")], None),
        ([(b"retry-after", b"20"), (b"x-ratelimit-reset", b"1005")], 5.0),
        ([(b"x-ratelimit-reset", b"999")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"0")], None),
        ([], None),
    ],
)
def test_servers_may_say_when_to_come_back(headers: list[tuple[bytes, bytes]], expected: float | None) -> None:
    limits = RateLimitedBackOff(((b"retry-after", "SECONDS"), (b"x-ratelimit-reset", "UNIX_TIMESTAMP")), 10.0)
    state = retry(RetryPolicy(frozenset({"5xx"}), rate_limited=limits))
    assert state.asked_to_wait(headers, 1000.5, 0.0) == expected
    if expected is not None:
        assert state.asked_to_wait(headers, 1000.5, 1.0) == expected * 1.5


def test_the_base_of_the_back_off_is_a_run_time_key() -> None:
    runtime = Runtime(static_values({"upstream.base_retry_backoff_ms": 100}))
    state = RetryState(retry_rules(RetryPolicy(frozenset({"5xx"}))), RequestHead(b"", b"", b"", []), runtime)
    state.take()
    assert state.back_off(1.0) == 0.1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"300m", 0.3), (b"2S", 2.0), (b"1M", 60.0), (b"1H", 3600.0), (b"5u", 5e-6), (b"5n", 5e-9)],
)
def test_grpc_timeouts(value: bytes, seconds: float) -> None:
    assert grpc_timeout(value) == pytest.approx(seconds)


@given(st.binary(max_size=12))
def test_any_bytes_as_grpc_timeout(value: bytes) -> None:
    found = grpc_timeout(value)
    assert found is None or found >= 0


@given(st.floats(0.001, 1e7))
def test_grpc_timeouts_can_be_read_back(seconds: float) -> None:
    assert grpc_timeout(grpc_timeout_value(seconds)) == pytest.approx(seconds, abs=60 if seconds > 1e5 else 0.0011)


def test_what_a_grpc_client_may_ask_for() -> None:
    def allowed(asked: bytes | None, **fields: float) -> float:
        headers = [] if asked is None else [(b"grpc-timeout", asked)]
        action = ForwardAction((ClusterWeight("c"),), 1, **fields)  # type: ignore[arg-type]
        return stream_duration(action, RequestHead(b"POST", b"/", b"h", headers))

    assert allowed(b"9S") == 0.0
    assert allowed(b"9S", max_grpc_timeout=0.0) == 9.0
    assert allowed(b"9S", max_grpc_timeout=3.0) == 3.0
    assert allowed(b"9S", max_grpc_timeout=0.0, grpc_timeout_offset=1.0) == 8.0
    assert allowed(b"1S", max_grpc_timeout=0.0, grpc_timeout_offset=1.0) == 1.0
    assert allowed(None, max_grpc_timeout=3.0, max_stream_duration=5.0) == 5.0


@pytest.mark.parametrize(
    ("authority", "expected"),
    [(b"a.b", b"a.b-shadow"), (b"a.b:81", b"a.b-shadow:81"), (b"[::1]:81", b"[::1]-shadow:81"), (b"", b"-shadow")],
)
def test_the_authority_of_a_copy(authority: bytes, expected: bytes) -> None:
    assert shadow_authority(authority) == expected


def test_weights_from_header_and_run_time() -> None:
    clusters = (ClusterWeight("a", 10, runtime_key="w.a"), ClusterWeight("b", 90, runtime_key="w.b"))
    action = ForwardAction(clusters, 100)
    chosen = [pick_by_header(action, value) for value in (b"9", b"10", b"109", b"x", b"", None)]
    assert [weight.cluster if weight else None for weight in chosen] == ["a", "b", "a", None, None, None]
    assert pick(action, 0.5, Runtime(static_values({"w.a": 60, "w.b": 40}))).cluster == "a"
    assert pick(action, 0.5, Runtime()).cluster == "b"
    assert pick(action, 0.5, Runtime(static_values({"w.a": 0, "w.b": 0}))).cluster == "b"
