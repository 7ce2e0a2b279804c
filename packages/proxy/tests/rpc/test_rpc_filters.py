"""The filters of HTTP before remote calls: faults, local rate limits, RBAC, what routes say of them, and clients that leave meanwhile."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.codec.rpc import ONE_WAY
from isthmus_proxy.http.filters.fault import FaultAbort, FaultConfig, FaultDelay
from isthmus_proxy.http.filters.local_ratelimit import LocalRateLimitConfig
from isthmus_proxy.http.filters.rbac import RbacConfig
from isthmus_proxy.http.filters.stream_filter import FilterConfig
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.rbac.model import Anything, HeaderIs, Policy, Rules
from isthmus_proxy.route.filter_overrides import FilterOverride
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    HeaderMatch,
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.rpc.testing import CODEC, HEADER, Frames, answer, echo, rpc
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio

ALWAYS = Fraction(100, 100)


def abort(http_status: int | None = None, grpc_status: int | None = None) -> FaultConfig:
    return FaultConfig(abort=FaultAbort(ALWAYS, http_status=http_status, grpc_status=grpc_status))


def delay(seconds: float) -> FaultDelay:
    return FaultDelay(seconds, ALWAYS, "fault.http.delay.fixed_duration_ms")


def named(name: str, config: FilterConfig) -> HttpFilterConfig:
    return HttpFilterConfig(name, config)


async def served(proxy: Proxy, *configs: FilterConfig, **options: Any) -> Frames:
    proxy.cluster("c", (await proxy.origin(echo)).port)
    proxy.route(forward())
    rpc(proxy, http_filters=tuple(named(f"f{i}", config) for i, config in enumerate(configs)), **options)
    return Frames(await proxy.client())


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (abort(403), status.SERVER_EXCEPTION),
        (abort(429), status.SERVER_THREADPOOL_BUSY),
        (abort(503), status.NO_PROCESSOR),
        (abort(504), status.TIMEOUT),
        (abort(None, 7), status.SERVER_EXCEPTION),
    ],
)
async def test_an_abort_is_a_status_of_the_protocol(proxy: Proxy, fault: FaultConfig, code: int) -> None:
    client = await served(proxy, fault)
    await client.peer.send(request(1, HEADER) + request(2, HEADER))
    assert [(await client.response())[:2] for _ in range(2)] == [(1, code), (2, code)]
    assert proxy.stat("rpc.test.fault.aborts_injected") == 2
    assert proxy.stat("rpc.test.fault.active_faults") == 0
    assert proxy.stat("rpc.test.service.com.x.Foo_1.0.method.say.rq_local_reply") == 2
    assert proxy.stat("rpc.test.downstream_rq_active") == 0
    await eventually(lambda: [line.flags for line in proxy.logs.lines] == ["FI"] * 2)


@pytest.mark.parametrize("seconds", [0.05, 3600.0])
async def test_a_delayed_request_arrives_later_and_the_others_overtake_it(proxy: Proxy, seconds: float) -> None:
    slow = HeaderMatch(b"slow", StringMatch("exact", b"yes"))
    proxy.cluster("c", (await proxy.origin(echo)).port)
    late = FaultConfig(delay=delay(seconds))
    proxy.route(
        Route(
            RouteMatch(StringMatch("prefix", b"/"), (slow,)),
            ForwardAction((ClusterWeight("c"),), 1),
            filters={"fault": FilterOverride(late)},
        ),
        forward(),
    )
    rpc(proxy, http_filters=(named("fault", FaultConfig()),))
    client = Frames(await proxy.client())
    await client.peer.send(request(1, [*HEADER, (b"slow", b"yes")], b"late") + request(2, HEADER, b"soon"))
    if seconds > 1.0:
        assert await client.response() == (2, 0, b"soon")
        assert proxy.stat("rpc.test.fault.active_faults") == 1
    else:
        assert {await client.response() for _ in range(2)} == {(1, 0, b"late"), (2, 0, b"soon")}
        assert proxy.stat("rpc.test.fault.active_faults") == 0
    assert proxy.stat("rpc.test.fault.delays_injected") == 1


async def test_a_delayed_request_whose_client_left_is_forgotten(proxy: Proxy) -> None:
    client = await served(proxy, FaultConfig(delay=delay(3600.0)))
    await client.peer.send(request(1, HEADER))
    await eventually(lambda: proxy.stat("rpc.test.fault.active_faults") == 1)
    assert proxy.stat("rpc.test.downstream_rq_active") == 1
    # One that only sends no more would still get its answers.
    client.peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.peer.stream.socket.close()
    await eventually(lambda: proxy.stat("rpc.test.fault.active_faults") == 0)
    assert proxy.stat("rpc.test.downstream_rq_active") == 0
    assert not proxy.stat("cluster.c.upstream_rq_total")


async def test_a_client_whose_held_requests_fill_the_buffer_is_read_no_further(proxy: Proxy) -> None:
    client = await served(proxy, FaultConfig(delay=delay(0.2)))
    big = bytes(300_000)
    for identifier in range(8):  # 2.4 MB, of which little more than 1 MiB is held at a time
        await client.peer.send(request(identifier, HEADER, big))
    got = {(await client.response())[0] for _ in range(8)}
    assert got == set(range(8))
    assert proxy.stat("rpc.test.downstream_rq_active") == 0


async def test_a_bucket_lets_so_many_pass_and_one_way_calls_count(proxy: Proxy) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            seen.append(data)
            if frame[0] != ONE_WAY:
                await peer.send(answer(frame, data))

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward())
    limit = LocalRateLimitConfig("calls", max_tokens=2, fill_interval=3600.0, enabled=ALWAYS, enforced=ALWAYS)
    rpc(proxy, http_filters=(named("limit", limit),))
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, one_way=True) + request(2, HEADER) + request(3, HEADER))
    await client.peer.send(request(4, HEADER, one_way=True))
    got = {(await client.response())[:2] for _ in range(2)}
    assert got == {(2, 0), (3, status.SERVER_THREADPOOL_BUSY)}
    await eventually(lambda: proxy.stat("calls.http_local_rate_limit.rate_limited") == 2)
    assert proxy.stat("calls.http_local_rate_limit.ok") == 2
    assert len(seen) == 2
    assert proxy.stat("rpc.test.downstream_rq_active") == 0


async def test_headers_that_a_limit_adds_reach_the_endpoint(proxy: Proxy) -> None:
    seen: list[dict[bytes, bytes]] = []

    async def script(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            seen.append(dict(CODEC.read(data, frame).headers))
            await peer.send(answer(frame, data))

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward())
    marked = HeaderEdits((HeaderEdit(b"x-limited", b"yes"),))
    limit = LocalRateLimitConfig("calls", max_tokens=1, fill_interval=3600.0, enabled=ALWAYS, request_headers=marked)
    rpc(proxy, http_filters=(named("limit", limit),))
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, b"a") + request(2, HEADER, b"b"))
    assert {await client.response() for _ in range(2)} == {(1, 0, b"a"), (2, 0, b"b")}
    assert [headers.get(b"x-limited") for headers in seen] == [None, b"yes"]


async def test_rbac_judges_each_request_by_its_own_headers(proxy: Proxy) -> None:
    # The plans of both requests are the same: no route reads the header that the policy does.
    caller = HeaderIs(HeaderMatch(b"rpc_trace_context.sofacallerapp", StringMatch("exact", b"shop")))
    rules = Rules("ALLOW", (Policy("shop", (Anything(),), (caller,)),))
    client = await served(proxy, RbacConfig(rules))
    key = b"rpc_trace_context.sofaCallerApp"
    await client.peer.send(request(1, [*HEADER, (key, b"shop")]) + request(2, [*HEADER, (key, b"spy!")]))
    got = {(await client.response())[:2] for _ in range(2)}
    assert got == {(1, status.SUCCESS), (2, status.SERVER_EXCEPTION)}
    assert proxy.stat("rpc.test.rbac.allowed") == 1
    assert proxy.stat("rpc.test.rbac.denied") == 1
    details = {line.details for line in proxy.logs.lines}
    assert "rbac_access_denied_matched_policy[none]" in details


async def test_a_route_can_disable_a_filter(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(echo)).port)
    free = Route(
        RouteMatch(StringMatch("exact", b"/say")),
        ForwardAction((ClusterWeight("c"),), 1),
        filters={"fault": FilterOverride(disabled=True)},
    )
    proxy.route(free, forward())
    rpc(proxy, http_filters=(named("fault", abort(403)),))
    client = Frames(await proxy.client())
    other = [HEADER[0], (b"sofa_head_method_name", b"other")]
    await client.peer.send(request(1, HEADER) + request(2, other))
    got = {(await client.response())[:2] for _ in range(2)}
    assert got == {(1, status.SUCCESS), (2, status.SERVER_EXCEPTION)}


async def test_requests_without_a_route_pass_the_filters_too(proxy: Proxy) -> None:
    client = await served(proxy, FaultConfig(), abort(504))
    proxy.route()
    await client.peer.send(request(1, HEADER))
    assert (await client.response())[:2] == (1, status.TIMEOUT)
