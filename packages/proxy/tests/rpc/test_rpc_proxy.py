"""The RPC proxy over real sockets: forwarding, identifiers, answers made here, timeouts, retries, limits, and every end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import V1, BoltVersion, request, response
from isthmus_proxy.codec.rpc import GOAWAY, HEARTBEAT, HEARTBEAT_REPLY, ONE_WAY
from isthmus_proxy.observe.load_book import LoadBook
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    HeaderMatch,
    RetryPolicy,
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.rpc.model import HeartbeatConfig, RpcLimits
from isthmus_proxy.rpc.testing import CODEC, HEADER, Frames, answer, echo, rpc
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio

V2_CRC = BoltVersion(2, 2, 1)


async def ready(proxy: Proxy, script: object = echo, **options: Any) -> Frames:
    origin = await proxy.origin(script)  # type: ignore[arg-type]
    proxy.cluster("c", origin.port)
    proxy.route(forward(**options.pop("route", {})))
    rpc(proxy, **options)
    return Frames(await proxy.client())


@pytest.mark.parametrize("version", [V1, BoltVersion(2), BoltVersion(2, 1, 1), V2_CRC])
async def test_a_request_and_its_answer_pass_with_their_identifiers(proxy: Proxy, version: BoltVersion) -> None:
    client = await ready(proxy)
    for identifier in (0, 7, 0xFFFFFFFF, 7):
        await client.peer.send(request(identifier, HEADER, b"hello", version=version))
        frame, data = await client.next()
        assert (frame[3], frame[7]) == (identifier, status.SUCCESS)
        if version == V2_CRC:
            assert data == CODEC.set_id(data, identifier)  # its check sum is right
        assert b"hello" in data
    assert proxy.stat("cluster.c.upstream_cx_total") == 1
    assert proxy.stat("cluster.c.upstream_rq_200") == 4
    assert proxy.stat("rpc.test.service.com.x.Foo_1.0.method.say.rq_success") == 4
    assert proxy.stat("cluster.c.upstream_rq_active") == 0
    assert proxy.stat("rpc.test.downstream_rq_active") == 0


async def test_batches_pieces_and_both_versions_on_shared_connections(proxy: Proxy) -> None:
    first = await ready(proxy)
    second = Frames(await proxy.client())
    stream = b"".join(
        request(i, HEADER, b"%d" % i, version=(V1, BoltVersion(2), V2_CRC)[i % 3], timeout=1000 + i // 7)
        for i in range(60)
    )
    for client in (first, second):
        for at in range(0, len(stream), 997):
            await client.peer.send(stream[at : at + 997])
    for client in (first, second):
        got = [await client.response() for _ in range(60)]
        assert sorted(identifier for identifier, _, _ in got) == list(range(60))
        for identifier, code, content in got:
            assert code == 0
            assert content[: len(b"%d" % identifier)] == b"%d" % identifier
    assert proxy.stat("cluster.c.upstream_cx_total") == 1


async def test_heartbeats_are_answered_here(proxy: Proxy) -> None:
    client = await ready(proxy)
    await client.peer.send(CODEC.heartbeat(5, 1) + request(6, HEADER))
    frame, data = await client.next()
    assert (frame[0], data) == (HEARTBEAT_REPLY, CODEC.heartbeat_reply(CODEC.heartbeat(5, 1)))
    assert (await client.response())[0] == 6
    assert proxy.stat("rpc.test.downstream_heartbeat") == 1


async def test_one_way_requests_are_forwarded_and_never_answered(proxy: Proxy) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            seen.append(data)
            if frame[0] != ONE_WAY:
                await peer.send(answer(frame, data))

    client = await ready(proxy, script)
    await client.peer.send(request(1, HEADER, b"event", one_way=True) + request(2, HEADER))
    assert (await client.response())[0] == 2
    assert len(seen) == 2
    assert seen[0].endswith(b"event")
    assert proxy.stat("rpc.test.downstream_rq_one_way") == 1
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


async def test_routes_read_service_method_and_headers(proxy: Proxy) -> None:
    for name in ("blue", "green"):

        async def script(peer: Peer, _number: int, name: str = name) -> None:
            frames = Frames(peer)
            while True:
                frame, _ = await frames.next()
                await peer.send(response(frame[3], name.encode()))

        proxy.cluster(name, (await proxy.origin(script)).port)
    gray = HeaderMatch(b"gray", StringMatch("exact", b"yes"))
    proxy.route(
        Route(RouteMatch(StringMatch("exact", b"/say"), (gray,)), ForwardAction((ClusterWeight("green"),), 1)),
        Route(RouteMatch(StringMatch("exact", b"/say")), ForwardAction((ClusterWeight("blue"),), 1)),
    )
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER) + request(2, [*HEADER, (b"Gray", b"yes")]) + request(3, HEADER[:1]))
    got = {identifier: (code, content) for identifier, code, content in [await client.response() for _ in range(3)]}
    assert got == {1: (0, b"blue"), 2: (0, b"green"), 3: (status.NO_PROCESSOR, b"")}
    assert proxy.stat("rpc.test.no_route") == 1
    # A change of the routes is seen by the next request.
    proxy.route(forward("green"))
    await client.peer.send(request(4, HEADER))
    assert await client.response() == (4, 0, b"green")


async def test_weights_share_requests(proxy: Proxy) -> None:
    for name in ("a", "b"):
        proxy.cluster(name, (await proxy.origin(echo)).port)
    proxy.route(
        Route(
            RouteMatch(StringMatch("prefix", b"/")),
            ForwardAction((ClusterWeight("a", 90), ClusterWeight("b", 10)), 100),
        )
    )
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(b"".join(request(i, HEADER) for i in range(1000)))
    for _ in range(1000):
        await client.response()
    assert 60 < (proxy.stat("cluster.b.upstream_rq_total") or 0) < 140


async def test_headers_are_edited_and_the_rest_stays(proxy: Proxy) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            seen.append(data)
            await peer.send(answer(frame, data))

    edits = HeaderEdits((HeaderEdit(b"added", b"v"), HeaderEdit(b"k", b"w", "OVERWRITE_IF_EXISTS_OR_ADD")), (b"gone",))
    client = await ready(proxy, script, route={"edits": edits})
    await client.peer.send(request(1, [*HEADER, (b"K", b"v"), (b"Gone", b"x")], b"body", version=V2_CRC))
    await client.response()
    frame = CODEC.split(seen[0], 1 << 20)[0][0]
    assert CODEC.read(seen[0], frame).headers == [*HEADER, (b"K", b"w"), (b"added", b"v")]
    assert seen[0] == CODEC.set_id(seen[0], frame[3])


async def test_no_endpoint_no_cluster_and_unreadable_headers(proxy: Proxy) -> None:
    proxy.cluster("c")
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER))
    assert (await client.response())[:2] == (1, status.NO_PROCESSOR)
    proxy.route(forward("nowhere"))
    bad = request(3, [(b"k", b"v")]).replace(b"\0\0\0\1v", b"\0\0\0\2v")
    await client.peer.send(request(2, HEADER) + bad)
    assert (await client.response())[:2] == (2, status.NO_PROCESSOR)
    assert (await client.response())[:2] == (3, status.SERVER_DESERIAL_EXCEPTION)
    assert proxy.stat("rpc.test.no_cluster") == 1


async def test_what_is_not_bolt_ends_the_connection_after_what_was_sound(proxy: Proxy) -> None:
    client = await ready(proxy, limits=RpcLimits(max_frame_bytes=2000))
    await client.peer.send(request(1, HEADER))
    assert (await client.response())[0] == 1
    await client.peer.send(request(2, HEADER, bytes(2000)))
    assert (await client.response())[:2] == (2, status.CODEC_EXCEPTION)
    assert await client.peer.read() == b""
    assert proxy.stat("rpc.test.downstream_cx_protocol_error") == 1


class Silent:
    """An origin that takes requests and answers when told."""

    def __init__(self) -> None:
        self.requests: list[tuple[Peer, object, bytes]] = []

    async def __call__(self, peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            self.requests.append((peer, frame, data))

    async def answer(self, index: int) -> None:
        peer, frame, data = self.requests[index]
        await peer.send(answer(frame, data))  # type: ignore[arg-type]


async def test_a_request_times_out_by_its_own_word_and_its_late_answer_reaches_nobody(proxy: Proxy) -> None:
    origin = Silent()
    client = await ready(proxy, origin)
    await client.peer.send(request(1, HEADER, timeout=50) + request(2, HEADER, b"two", timeout=60_000))
    assert (await client.response())[:2] == (1, status.TIMEOUT)
    await origin.answer(0)
    await origin.answer(1)
    assert await client.response() == (2, 0, b"two")
    assert proxy.stat("rpc.test.upstream_response_unknown") == 1
    assert proxy.stat("cluster.c.upstream_rq_timeout") == 1
    assert proxy.stat("cluster.c.upstream_rq_504") == 1


async def test_the_route_says_how_long_where_the_request_does_not(proxy: Proxy) -> None:
    client = await ready(proxy, Silent(), route={"timeout": 0.05})
    await client.peer.send(request(1, HEADER, timeout=-1))
    assert (await client.response())[:2] == (1, status.TIMEOUT)


async def test_a_lost_connection_fails_what_waits_and_the_next_request_gets_another(proxy: Proxy) -> None:
    async def script(peer: Peer, number: int) -> None:
        frames = Frames(peer)
        if number == 0:
            await frames.next()
            return
        await echo(peer, number)

    client = await ready(proxy, script)
    await client.peer.send(request(1, HEADER))
    assert (await client.response())[:2] == (1, status.CONNECTION_CLOSED)
    await client.peer.send(request(2, HEADER, b"again"))
    assert await client.response() == (2, 0, b"again")


async def test_an_endpoint_that_refuses_is_told_at_once(proxy: Proxy) -> None:
    with trio.socket.socket() as closed:
        await closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    proxy.cluster("c", port)
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER) + request(2, HEADER))
    assert {(await client.response())[:2] for _ in range(2)} == {(1, status.NO_PROCESSOR), (2, status.NO_PROCESSOR)}
    assert proxy.stat("cluster.c.upstream_cx_connect_fail") == 1
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


RETRY = RetryPolicy(
    frozenset({"connect-failure", "gateway-error"}),
    2,
    base_interval=0.001,
    avoid_previous_hosts=True,
    host_selection_attempts=5,
)


async def test_busy_endpoints_are_left_for_others_and_one_way_is_never_sent_twice(proxy: Proxy) -> None:
    async def busy(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            if frame[0] != ONE_WAY:
                await peer.send(answer(frame, data, status=status.SERVER_THREADPOOL_BUSY))

    first, second = await proxy.origin(busy), await proxy.origin(echo)
    proxy.cluster("c", first.port, second.port)
    proxy.route(forward(retry=RETRY))
    rpc(proxy)
    client = Frames(await proxy.client())
    for identifier in range(10):
        await client.peer.send(request(identifier, HEADER, b"x"))
        assert await client.response() == (identifier, 0, b"x")
    assert (proxy.stat("cluster.c.upstream_rq_retry") or 0) >= 1
    assert proxy.stat("cluster.c.upstream_rq_retry_success") == proxy.stat("cluster.c.upstream_rq_retry")
    await eventually(lambda: proxy.clusters.get("c").breakers[0].active_retries == 0)  # type: ignore[union-attr]
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


async def test_retries_end_and_the_last_answer_is_passed_on(proxy: Proxy) -> None:
    async def busy(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            await peer.send(answer(frame, data, status=status.SERVER_THREADPOOL_BUSY))

    client = await ready(proxy, busy, route={"retry": RETRY})
    await client.peer.send(request(1, HEADER))
    assert (await client.response())[:2] == (1, status.SERVER_THREADPOOL_BUSY)
    assert proxy.stat("cluster.c.upstream_rq_total") == 3
    assert proxy.stat("cluster.c.upstream_rq_retry_limit_exceeded") == 1
    assert proxy.clusters.get("c").breakers[0].active_retries == 0  # type: ignore[union-attr]


async def test_a_circuit_breaker_refuses_what_is_too_much_as_busy(proxy: Proxy) -> None:
    silent = Silent()
    origin = await proxy.origin(silent)
    proxy.cluster("c", origin.port, thresholds=Thresholds(max_requests=2))
    loads = LoadBook(proxy.clusters)
    loads.track(None, 0.0)
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(b"".join(request(i, HEADER) for i in range(3)))
    assert (await client.response())[:2] == (2, status.SERVER_THREADPOOL_BUSY)
    await eventually(lambda: len(silent.requests) == 2)
    for index in range(2):
        await silent.answer(index)
    assert {(await client.response())[0] for _ in range(2)} == {0, 1}
    assert proxy.stat("rpc.test.downstream_rq_active") == 0
    assert proxy.stat("cluster.c.upstream_rq_active_overflow") == 1
    [report] = loads.report(1.0, by_endpoint=True)
    [place] = report.upstream_locality_stats
    assert (place.total_issued_requests, place.total_successful_requests, place.total_error_requests) == (2, 2, 1)
    assert report.total_dropped_requests == 1


async def test_a_request_without_a_connection_overflows_once(proxy: Proxy) -> None:
    origin = await proxy.origin(Silent())
    proxy.cluster("c", origin.port, thresholds=Thresholds(max_connections=0))
    proxy.route(forward())
    rpc(proxy, pool_mode="PING_PONG")
    client = Frames(await proxy.client())
    await client.peer.send(b"".join(request(i, HEADER) for i in range(3)))
    refused = [(await client.response())[:2] for _ in range(2)]
    assert refused == [(1, status.SERVER_THREADPOOL_BUSY), (2, status.SERVER_THREADPOOL_BUSY)]
    assert proxy.stat("cluster.c.upstream_rq_pending_overflow") == 2


async def test_a_goaway_moves_on_without_losing_what_waits(proxy: Proxy) -> None:
    connections: list[Peer] = []

    async def script(peer: Peer, number: int) -> None:
        connections.append(peer)
        frames = Frames(peer)
        if number:
            await echo(peer, number)
        frame, data = await frames.next()
        await peer.send(CODEC.goaway(1))
        await proxy_saw_it.wait()
        await peer.send(answer(frame, data))
        with pytest.raises(EOFError):
            await frames.next()

    proxy_saw_it = trio.Event()
    client = await ready(proxy, script)
    await client.peer.send(request(1, HEADER, b"old"))
    await eventually(lambda: proxy.stat("rpc.test.upstream_goaway") == 1)
    await client.peer.send(request(2, HEADER, b"new"))
    assert await client.response() == (2, 0, b"new")
    proxy_saw_it.set()
    assert await client.response() == (1, 0, b"old")
    assert len(connections) == 2
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 1)


async def test_idle_endpoints_are_asked_whether_they_live(proxy: Proxy) -> None:
    async def script(peer: Peer, number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            if frame[0] != HEARTBEAT or number:
                await peer.send(answer(frame, data))

    beat = HeartbeatConfig(interval=0.02, max_interval=0.02, timeout=0.01, max_failures=2)
    client = await ready(proxy, script, heartbeat=beat)
    await client.peer.send(request(1, HEADER))
    await client.response()
    await eventually(lambda: proxy.stat("rpc.test.upstream_heartbeat_missed") == 2)
    assert proxy.stat("cluster.c.upstream_cx_active") == 0
    await client.peer.send(request(2, HEADER))
    await client.response()
    await eventually(lambda: (proxy.stat("rpc.test.upstream_heartbeat") or 0) >= 4)
    assert proxy.stat("cluster.c.upstream_cx_active") == 1


@pytest.mark.parametrize("mode", ["PING_PONG", "BOUND"])
async def test_other_ways_of_sharing_connections(proxy: Proxy, mode: str) -> None:
    client = await ready(proxy, pool_mode=mode)
    second = Frames(await proxy.client())
    for each in (client, second):
        await each.peer.send(request(1, HEADER, b"1") + request(2, HEADER, b"2"))
    for each in (client, second):
        assert {(await each.response())[::2] for _ in range(2)} == {(1, b"1"), (2, b"2")}
    assert proxy.stat("cluster.c.upstream_cx_total") == (4 if mode == "PING_PONG" else 2)
    await client.peer.close()
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == (4 if mode == "PING_PONG" else 1))


async def test_idle_clients_are_closed_and_waiting_ones_are_not(proxy: Proxy) -> None:
    silent = Silent()
    waiting = await ready(proxy, silent, limits=RpcLimits(idle_timeout=0.05))
    idle = await proxy.client()
    await waiting.peer.send(request(1, HEADER, timeout=-1))
    assert await idle.read() == b""
    assert proxy.stat("rpc.test.downstream_cx_idle_timeout") == 1
    await eventually(lambda: len(silent.requests) == 1)
    await silent.answer(0)
    assert (await waiting.response())[0] == 1


async def test_draining_says_goodbye_where_asked_to(proxy: Proxy) -> None:
    client = await ready(proxy, goaway=True)
    await client.peer.send(request(1, HEADER))
    await client.response()
    proxy.listeners.remove("rpc")
    assert (await client.next())[0][0] == GOAWAY


async def test_every_request_is_logged(proxy: Proxy) -> None:
    client = await ready(proxy)
    await client.peer.send(request(1, HEADER, b"x") + request(2, HEADER, timeout=40))
    await client.response()
    await client.response()
    await eventually(lambda: len(proxy.logs.lines) >= 2)
    line = proxy.logs.lines[0]
    assert (line.status, line.details, line.path, line.attempts) == (200, "via_upstream", "/say", 1)


async def test_a_client_that_does_not_read_stops_being_read(proxy: Proxy) -> None:
    client = await ready(proxy)
    big = request(1, HEADER, bytes(200_000))
    with trio.move_on_after(1.0):
        for _ in range(2000):
            await client.peer.stream.send_all(big)
    got = 0
    for _ in range(5):
        await client.response()
        got += 1
    assert got == 5


async def test_nothing_is_left_of_a_listener_whose_clients_are_gone(proxy: Proxy) -> None:
    client = await ready(proxy, Silent())
    await client.peer.send(request(1, HEADER, timeout=-1))
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 1)
    await client.peer.close()
    proxy.listeners.remove("rpc")
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
