"""Requests through a connection manager to real origins: relaying, pipelining, replies, failures, retries, timeouts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import trio

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.http.connection_manager import HttpConnectionManager
from isthmus_proxy.http.local_address import node_address
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.route.model import (
    ClusterWeight,
    DirectResponseAction,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.testing import Peer, Proxy, Script, answer_ok, eventually, forward, running_proxy

pytestmark = pytest.mark.trio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


async def closes(peer: Peer) -> bool:
    return await peer.read_all() == b""


class Recorder:
    """An origin that keeps the messages it gets and answers each with ``answer``."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.messages: list[tuple[bytes, bytes]] = []

    async def __call__(self, peer: Peer, _number: int) -> None:
        while True:
            self.messages.append(await peer.message())
            await peer.send(self.answer)


async def simple(proxy: Proxy, script: Script = answer_ok, **options: object) -> None:
    origin = await proxy.origin(script)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(**options)  # type: ignore[arg-type]


async def test_a_request_reaches_the_origin_as_envoy_would_send_it(proxy: Proxy) -> None:
    recorder = Recorder()
    await simple(proxy, recorder)
    peer = await proxy.client()
    await peer.send(
        b"GET /o HTTP/1.1\r\nHost: a.b\r\nTE: trailers, gzip\r\nX-Envoy-Max-Retries: 2\r\n"
        b"Connection: keep-alive, x-c\r\nX-C: 1\r\nKeep-Alive: 5\r\n\r\n"
    )
    _, body = await peer.message()
    assert body == b"ok"
    head = UUID.sub(b"ID", recorder.messages[0][0])
    assert head == (
        b"GET /o HTTP/1.1\r\nhost: a.b\r\nte: trailers\r\nx-forwarded-proto: http\r\nx-request-id: ID\r\n"
        b"x-envoy-expected-rq-timeout-ms: 15000\r\n\r\n"
    )


async def test_a_response_comes_back_as_envoy_would_send_it(proxy: Proxy) -> None:
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 1\r\nConnection: x-a\r\nContent-Length: 2\r\n\r\nok"
    await simple(proxy, Recorder(answer))
    _, head, _ = await proxy.get()
    head = re.sub(rb"date: [^\r]*", b"date: D", re.sub(rb"time: \d+", b"time: N", head))
    assert head == (
        b"HTTP/1.1 200 OK\r\nserver: envoy\r\nx-a: 1\r\ncontent-length: 2\r\nx-envoy-upstream-service-time: N\r\ndate: D\r\n\r\n"
    )


async def test_connections_are_kept_and_reused_on_both_sides(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http()
    peer = await proxy.client()
    for _ in range(5):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await peer.message())[1] == b"ok"
    assert origin.connections == 1
    assert proxy.stat("http.test.downstream_rq_total") == 5
    assert proxy.stat("http.test.downstream_cx_total") == 1
    assert proxy.stat("cluster.c.upstream_cx_total") == 1
    assert proxy.stat("cluster.c.upstream_rq_200") == 5
    assert proxy.stat("cluster.c.upstream_rq_active") == 0
    assert len({line.request_id for line in proxy.logs.lines}) == 5


async def test_log_lines_of_repeated_requests_have_what_is_their_own(proxy: Proxy) -> None:
    proxy.logs.render = compile_text("%REQ(:PATH)% %REQ(X-REQUEST-ID)% %STREAM_ID% %RESP(DATE)% %RESPONSE_CODE%")
    recorder = Recorder()
    await simple(proxy, recorder)
    peer = await proxy.client()
    for path in (b"/a", b"/b", b"/a", b"/b", b"/a", b"/b"):
        await peer.send(b"GET %b HTTP/1.1\r\nhost: web\r\n\r\n" % path)
        await peer.message()
    lines = [line.split(b" ", 3) for line in proxy.logs.texts]
    assert [path for path, _, _, _ in lines] == [b"/a", b"/b"] * 3
    sent = [UUID.search(head) for head, _ in recorder.messages]
    assert [named for _, named, _, _ in lines] == [found and found[0] for found in sent]
    assert [stream for _, _, stream, _ in lines] == [found and found[0] for found in sent]
    assert all(re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT 200", rest) for _, _, _, rest in lines)


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy) -> None:
    async def echo(peer: Peer, _number: int) -> None:
        while True:
            head, _ = await peer.message()
            path = head.split(b" ")[1]
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))

    await simple(proxy, echo)
    peer = await proxy.client()
    await peer.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(50)))
    assert [(await peer.message())[1] for _ in range(50)] == [b"/%d" % number for number in range(50)]


async def test_many_pipelined_local_replies_do_not_nest(proxy: Proxy) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"hi")))
    proxy.http()
    peer = await proxy.client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 3000)
        for _ in range(3000):
            assert (await peer.message())[1] == b"hi"


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_bodies_stream_both_ways_in_both_framings(proxy: Proxy, step: int) -> None:
    recorder = Recorder(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\n"
    )

    await simple(proxy, recorder)
    peer = await proxy.client()
    for request in (
        b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        b"POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ):
        for start in range(0, len(request), step):
            await peer.send(request[start : start + step])
        _, body = await peer.message()
        assert body.replace(b"\r\n", b"").translate(None, b"012345") == b"abcde"
    (first, body), (second, chunks) = recorder.messages
    assert b"content-length: 5" in first
    assert body == b"hello"
    assert b"transfer-encoding: chunked" in second
    assert chunks.translate(None, b"\r\n0123456789") == b"hello"
    assert [line.bytes_received for line in proxy.logs.lines] == [5, 5]
    assert [line.bytes_sent for line in proxy.logs.lines] == [5, 5]


async def test_a_response_that_ends_with_the_connection_becomes_chunked(proxy: Proxy) -> None:
    async def close(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")

    await simple(proxy, close)
    status, head, body = await proxy.get()
    assert (status, body) == (200, b"5\r\nhello\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in head


async def test_head_after_get_has_no_body_and_no_chunks(proxy: Proxy) -> None:
    async def chunked(peer: Peer, _number: int) -> None:
        while True:
            head, _ = await peer.message()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            if head.startswith(b"GET"):
                await peer.send(b"2\r\nok\r\n0\r\n\r\n")

    await simple(proxy, chunked)
    peer = await proxy.client()
    for _ in range(2):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nHEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await peer.message())[1] == b"2\r\nok\r\n0\r\n\r\n"
        head, _ = await peer.message(head_only=True)
        assert b"transfer-encoding: chunked" in head
    assert peer.buffer == b""


async def test_continue_is_answered_by_the_proxy(proxy: Proxy) -> None:
    recorder = Recorder()
    await simple(proxy, recorder)
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.send(b"hi")
    await peer.message()
    assert b"\r\nexpect:" not in recorder.messages[0][0]


async def test_interim_responses_are_not_forwarded(proxy: Proxy) -> None:
    await simple(proxy, Recorder(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK))
    assert (await proxy.get())[0] == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_body(proxy: Proxy, status: int) -> None:
    await simple(proxy, Recorder(b"HTTP/1.1 %d X\r\n\r\n" % status))
    peer = await proxy.client()
    for _ in range(2):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        head, _ = await peer.message()
        assert int(head.split(b" ")[1]) == status
        assert b"transfer-encoding" not in head


async def test_redirect_and_direct_response_with_header_edits(proxy: Proxy) -> None:
    edits = HeaderEdits((HeaderEdit(b"x-added", b"1"),))
    proxy.route(
        Route(RouteMatch(StringMatch("prefix", b"/r")), RedirectAction(host=b"example.org"), response_headers=edits),
        Route(RouteMatch(StringMatch("prefix", b"/d")), DirectResponseAction(418, b"tea")),
    )
    proxy.http()
    status, head, _ = await proxy.get(b"/r/x")
    assert status == 301
    assert b"location: http://example.org/r/x\r\n" in head
    assert (await proxy.get(b"/d"))[::2] == (418, b"tea")


async def test_header_values_may_depend_on_the_exchange(proxy: Proxy) -> None:
    def peer_of(info: StreamInfo) -> bytes:
        return info.downstream_remote.partition(":")[0].encode()

    recorder = Recorder()
    origin = await proxy.origin(recorder)
    proxy.cluster("c", origin.port)
    proxy.route(forward(edits=HeaderEdits((HeaderEdit(b"x-peer", b"%DOWNSTREAM_REMOTE_ADDRESS%", render=peer_of),))))
    proxy.http()
    await proxy.get()
    await proxy.get()
    for head, _ in recorder.messages:
        assert b"x-peer: 127.0.0.1\r\n" in head
        assert len(UUID.findall(head)) == 1


async def test_use_remote_address_names_the_client(proxy: Proxy) -> None:
    recorder = Recorder()
    await simple(proxy, recorder, use_remote_address=True)
    await proxy.get(headers=b"x-forwarded-for: 9.9.9.9\r\n")
    assert b"x-forwarded-for: 9.9.9.9,%b\r\n" % node_address() in recorder.messages[0][0]


@pytest.mark.parametrize(
    ("route", "status", "body", "flags", "details"),
    [
        (None, 404, b"", "NR", "route_not_found"),
        (forward("nowhere"), 503, b"", "NC", "cluster_not_found"),
        (forward("empty"), 503, b"no healthy upstream", "UH", "no_healthy_upstream"),
        (
            forward("refused"),
            503,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ),
    ],
)
async def test_what_cannot_be_sent_upstream_is_answered_as_envoy_answers(
    proxy: Proxy, route: Route | None, status: int, body: bytes, flags: str, details: str
) -> None:
    proxy.cluster("empty")
    proxy.cluster("refused", 1)
    proxy.route(*([route] if route else []))
    proxy.http()
    got, _, text = await proxy.get()
    assert (got, text) == (status, body)
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].details) == (flags, details)


@pytest.mark.parametrize(
    ("answer", "status", "flags", "reason"),
    [
        (b"", 503, "UC", "connection_termination"),
        (b"garbage\r\n\r\n", 502, "UPE", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 502, "UPE", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 90_000 + b"\r\n\r\n", 502, "UPE", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\ncontent-len", 502, "UPE", "protocol_error"),
    ],
)
async def test_broken_origins(proxy: Proxy, answer: bytes, status: int, flags: str, reason: str) -> None:
    async def broken(peer: Peer, _number: int) -> None:
        await peer.message()
        if answer:
            await peer.send(answer)

    await simple(proxy, broken)
    assert (await proxy.get())[0] == status
    assert proxy.logs.lines[0].flags == flags
    assert proxy.logs.lines[0].details == f"upstream_reset_before_response_started{{{reason}}}"
    assert proxy.stat("cluster.c.upstream_cx_active") == 0
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


async def test_an_origin_that_closes_at_every_byte_of_its_answer(proxy: Proxy) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"
    cut = 0

    async def cutting(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(answer[:cut]) if cut else None

    await simple(proxy, cutting)
    head = answer.index(b"\r\n\r\n") + 4
    for cut in range(len(answer) + 1):
        peer = await proxy.client()
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        if cut < head:
            assert (await peer.message())[0].startswith(b"HTTP/1.1 502 " if cut else b"HTTP/1.1 503 ")
        else:
            assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            got = await peer.read_exactly(4) if cut == len(answer) else await peer.read_all()
            assert got == answer[head:cut]
        await peer.close()
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


async def test_a_reset_by_the_origin(proxy: Proxy) -> None:
    async def reset(peer: Peer, _number: int) -> None:
        await peer.message()
        peer.abort()

    await simple(proxy, reset)
    assert (await proxy.get())[0] == 503
    assert proxy.logs.lines[0].flags == "UC"


async def test_a_kept_connection_that_the_origin_closed_is_not_the_clients_problem(proxy: Proxy) -> None:
    async def once(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(OK)
        await peer.read_until(b"\r\n\r\n")  # the next request is read, and then dropped with the connection

    await simple(proxy, once)
    peer = await proxy.client()
    for _ in range(6):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await peer.message())[0].startswith(b"HTTP/1.1 200 ")


async def test_a_post_on_a_dead_kept_connection_is_not_repeated(proxy: Proxy) -> None:
    posts = 0

    async def once(peer: Peer, _number: int) -> None:
        nonlocal posts
        await peer.message()
        await peer.send(OK)
        await peer.message()
        posts += 1

    await simple(proxy, once)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await peer.message()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 503 ")
    assert posts == 1


async def test_nonsense_on_a_kept_connection_is_an_answer_and_no_reason_to_ask_again(proxy: Proxy) -> None:
    requests = 0

    async def once(peer: Peer, _number: int) -> None:
        nonlocal requests
        for answer in (OK, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"):
            await peer.message()
            requests += 1
            await peer.send(answer)

    await simple(proxy, once)
    assert (await proxy.get())[0] == 200
    assert (await proxy.get())[0] == 502
    assert requests == 2


async def test_protocols_switched_unasked_are_an_error_of_the_origin(proxy: Proxy) -> None:
    await simple(proxy, Recorder(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"))
    assert (await proxy.get())[0] == 502
    assert proxy.logs.lines[0].flags == "UPE"


async def test_a_204_goes_on_without_a_length(proxy: Proxy) -> None:
    await simple(proxy, Recorder(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"))
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"content-length" not in (await peer.read_until(b"\r\n\r\n"))


@pytest.mark.parametrize(
    ("raw", "status", "details"),
    [
        (b"GET / HTTP/1.1\nhost: a\n\n", 400, "http1.codec_error"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", 400, "http1.codec_error"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, "http1.codec_error"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "missing_host_header"),
        (b"GET /#a HTTP/1.1\r\nhost: a\r\n\r\n", 400, "path_normalization_failed"),
        (b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426, "low_version"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501, "http1.invalid_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 61440 + b"\r\n\r\n", 431, "http1.headers_too_large"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 403, "upgrade_failed"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 404, "route_not_found"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "http1.codec_error"),
    ],
)
async def test_malformed_requests_are_answered_and_the_connection_closed(
    proxy: Proxy, raw: bytes, status: int, details: str
) -> None:
    await simple(proxy, delayed_close_timeout=0.02)
    peer = await proxy.client()
    await peer.send(raw)
    head, _ = await peer.message()
    assert int(head.split(b" ")[1]) == status
    assert b"connection: close\r\n" in head
    assert await closes(peer)
    assert proxy.logs.lines[-1].details == details
    await eventually(lambda: proxy.listeners.connection_count == 0)


async def test_connection_close_is_obeyed(proxy: Proxy) -> None:
    await simple(proxy)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    head, _ = await peer.message()
    assert b"connection: close\r\n" in head
    assert await closes(peer)


async def test_circuit_breakers_refuse_with_overflow(proxy: Proxy) -> None:
    release = trio.Event()

    async def slow(peer: Peer, _number: int) -> None:
        await peer.message()
        await release.wait()
        await peer.send(OK)
        await answer_ok(peer, 0)

    origin = await proxy.origin(slow)
    proxy.cluster("c", origin.port, thresholds=Thresholds(max_connections=1, max_pending_requests=1))
    proxy.route(forward())
    proxy.http()
    waiting = [await proxy.client() for _ in range(2)]
    for number, peer in enumerate(waiting):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await eventually(lambda n=number: proxy.stat("http.test.downstream_rq_active") == n + 1)  # type: ignore[misc]
        await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 1)
    status, head, body = await proxy.get()
    assert status == 503
    assert b"x-envoy-overloaded: true\r\n" in head
    assert body.endswith(b"reset reason: overflow")
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].upstream_host) == ("UO", "")
    release.set()
    for peer in waiting:
        assert (await peer.message())[1] == b"ok"
    assert proxy.stat("cluster.c.upstream_rq_pending_overflow") == 1
    assert proxy.stat("cluster.c.upstream_rq_pending_active") == 0


@pytest.mark.parametrize(
    ("retry_on", "first", "expected"),
    [
        ("5xx", b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", 200),
        ("gateway-error", b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", 500),
        ("retriable-4xx", b"HTTP/1.1 409 X\r\ncontent-length: 3\r\n\r\nabc", 200),
        ("reset", b"", 200),
        ("connect-failure", b"", 503),
        ("5xx", b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\npart", 200),
    ],
)
async def test_retries(proxy: Proxy, retry_on: str, first: bytes, expected: int) -> None:
    answered = 0

    async def keep(peer: Peer, number: int) -> None:
        """The first answer ever given is ``first``; the connection may be kept."""
        nonlocal answered
        while True:
            await peer.message()
            answered += 1
            if answered == 1:
                if not first:
                    return
                await peer.send(first)
            else:
                await peer.send(OK)

    origin = await proxy.origin(keep)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({retry_on}), base_interval=0.001)))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
    head, _ = await peer.message()
    assert int(head.split(b" ")[1]) == expected
    line = proxy.logs.lines[0]
    assert line.attempts == (2 if expected == 200 else 1)
    assert proxy.stat("cluster.c.upstream_rq_retry") == (1 if expected == 200 else 0)


async def test_retries_run_out(proxy: Proxy) -> None:
    proxy.cluster("c", 1)
    proxy.route(forward(retry=RetryPolicy(frozenset({"connect-failure"}), num_retries=2, base_interval=0.001)))
    proxy.http()
    status, _, body = await proxy.get()
    assert status == 503
    assert b"headers. retried and the latest reset reason: remote connection failure" in body
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].attempts) == ("URX,UF", 3)
    assert proxy.stat("cluster.c.upstream_rq_retry_limit_exceeded") == 1
    assert proxy.clusters.get("c").breakers[0].active_retries == 0  # type: ignore[union-attr]


async def test_retries_go_to_another_endpoint(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", 1, origin.port)
    policy = RetryPolicy(
        frozenset({"connect-failure"}), base_interval=0.001, avoid_previous_hosts=True, host_selection_attempts=3
    )
    proxy.route(forward(retry=policy))
    proxy.http()
    for _ in range(20):
        assert (await proxy.get())[0] == 200


async def hang(peer: Peer, _number: int) -> None:
    await peer.message()
    await peer.read_all()


async def test_route_timeout(proxy: Proxy) -> None:
    origin = await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.route(forward(timeout=0.05))
    proxy.http()
    assert (await proxy.get())[::2] == (504, b"upstream request timeout")
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].details) == ("UT", "response_timeout")
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)


async def test_per_try_timeout_is_retried(proxy: Proxy) -> None:
    async def second(peer: Peer, number: int) -> None:
        await (hang if number == 0 else answer_ok)(peer, number)

    origin = await proxy.origin(second)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({"5xx"}), per_try_timeout=0.05, base_interval=0.001)))
    proxy.http()
    assert (await proxy.get())[0] == 200
    assert proxy.stat("cluster.c.upstream_rq_per_try_timeout") == 1


async def test_per_try_timeout_without_retries_left(proxy: Proxy) -> None:
    origin = await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({"5xx"}), per_try_timeout=0.02, base_interval=0.001)))
    proxy.http()
    assert (await proxy.get())[0] == 504
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].details) == ("URX,UT", "upstream_per_try_timeout")


async def test_stream_idle_timeout(proxy: Proxy) -> None:
    await simple(proxy, hang, stream_idle_timeout=0.05)
    assert (await proxy.get())[::2] == (504, b"stream timeout")
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 408 ")
    assert await closes(peer)
    assert {line.flags for line in proxy.logs.lines} == {"SI"}


async def test_slow_heads_and_idle_connections(proxy: Proxy) -> None:
    await simple(proxy, request_headers_timeout=0.05, idle_timeout=0.1)
    peer = await proxy.client()
    await peer.send(b"GET / HT")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 408 ")
    assert await closes(peer)
    assert await closes(await proxy.client())
    assert proxy.stat("http.test.downstream_cx_idle_timeout") == 1


@pytest.mark.parametrize("stage", range(6))
async def test_clients_that_go_away_at_every_stage(proxy: Proxy, stage: int) -> None:
    arrived = trio.Event()

    async def slow(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        arrived.set()
        if stage >= 4:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome")
        await peer.read_all()

    await simple(proxy, slow)
    peer = await proxy.client()
    if stage == 1:
        await peer.send(b"GET / HT")
    elif stage == 2:
        await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        await arrived.wait()
    elif stage >= 3:
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await arrived.wait()
        if stage >= 4:
            await peer.read_until(b"some")
    if stage == 5:
        peer.abort()
    else:
        await peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_cx_total") == 1 and proxy.listeners.connection_count == 0)
    if stage >= 2:
        await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
        assert proxy.logs.lines[0].flags == "DC"
        assert proxy.logs.lines[0].details == "downstream_remote_disconnect"
    assert proxy.stat("http.test.downstream_rq_active") == 0
    assert proxy.reactor.statistics().handler_errors == 0


async def test_a_slow_reader_slows_its_origin_and_nothing_piles_up(proxy: Proxy) -> None:
    size, sent = 50_000_000, 0

    async def flood(peer: Peer, _number: int) -> None:
        nonlocal sent
        await peer.message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        block = b"x" * 100_000
        while sent < size:
            await peer.stream.send_all(block)
            sent += len(block)

    await simple(proxy, flood)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await peer.read_until(b"\r\n\r\n")

    stood_still = 0
    before = -1
    with trio.fail_after(20):
        while stood_still < 20:
            stood_still = stood_still + 1 if sent == before else 0
            before = sent
            await trio.sleep(0.005)
    assert sent < size // 2
    assert buffered(proxy) < 1_300_000
    await peer.discard(size)
    assert buffered(proxy) == 0


def buffered(proxy: Proxy) -> int:
    """Bytes that wait to be sent to clients."""
    listener = next(iter(proxy.listeners._listeners.values()))
    assert listener.current is not None
    manager = listener.current.chains[0].network_filter
    assert isinstance(manager, HttpConnectionManager)
    return sum(connection._connection.buffered for connection in manager.connections)


async def test_pipelining_without_reading_piles_up_no_answers(proxy: Proxy) -> None:
    body, count = b"x" * 100_000, 500
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, body)))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * count)
    await eventually(lambda: buffered(proxy) > 1_000_000)
    assert buffered(proxy) < 1_300_000
    for _ in range(count):
        assert len((await peer.message())[1]) == len(body)
    assert buffered(proxy) == 0


async def test_a_slow_origin_slows_the_client(proxy: Proxy) -> None:
    go_on = trio.Event()
    size = 50_000_000  # far more than the kernel's buffers hold

    async def slow(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await go_on.wait()
        await peer.discard(size)
        await peer.send(OK)

    await simple(proxy, slow)
    peer = await proxy.client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        await eventually(lambda: proxy.stat("http.test.downstream_flow_control_paused_reading_total") == 1)
        assert (proxy.stat("http.test.downstream_cx_rx_bytes_total") or 0) < size // 2
        go_on.set()
        assert (await peer.message())[1] == b"ok"


async def test_an_answer_before_the_request_ends_closes_the_connection_after_it(proxy: Proxy) -> None:
    async def early(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\nno")

    await simple(proxy, early)
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
    assert (await peer.message())[1] == b"no"
    assert await closes(peer)


async def test_routes_change_under_a_kept_connection(proxy: Proxy) -> None:
    await simple(proxy)
    peer = await proxy.client()
    request = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
    for _ in range(2):
        await peer.send(request)
        assert (await peer.message())[1] == b"ok"
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"new")))
    await peer.send(request)
    assert (await peer.message())[1] == b"new"


async def test_weighted_clusters_share_the_requests(proxy: Proxy) -> None:
    origin = await proxy.origin()
    for name in ("a", "b"):
        proxy.cluster(name, origin.port)
    action = ForwardAction((ClusterWeight("a", 75), ClusterWeight("b", 25)), 100)
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), action))
    proxy.http()
    peer = await proxy.client()
    for _ in range(400):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await peer.message()
    assert 260 < (proxy.stat("cluster.a.upstream_rq_total") or 0) < 340


async def test_a_removed_endpoint_finishes_its_request_and_closes(proxy: Proxy) -> None:
    release = trio.Event()

    async def slow(peer: Peer, _number: int) -> None:
        await peer.message()
        await release.wait()
        await peer.send(OK)
        await peer.read_all()

    old, new = await proxy.origin(slow), await proxy.origin()
    proxy.cluster("c", old.port)
    proxy.route(forward())
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 1)
    proxy.cluster("c", new.port)
    assert (await proxy.get())[0] == 200
    assert new.connections == 1
    release.set()
    assert (await peer.message())[1] == b"ok"
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 1)
