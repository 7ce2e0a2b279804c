"""Requests through a connection manager to real origins: relaying, pipelining, replies, failures, retries, timeouts."""

from __future__ import annotations

import re

import pytest
import trio

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
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


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


async def test_a_request_reaches_the_origin_as_envoy_would_send_it(proxy: Proxy) -> None:
    recorder = Recorder()
    await proxy.relay(recorder)
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
    await proxy.relay(Recorder(answer))
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
    await proxy.relay(recorder)
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

    await proxy.relay(echo)
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

    await proxy.relay(recorder)
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

    await proxy.relay(close)
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

    await proxy.relay(chunked)
    peer = await proxy.client()
    for _ in range(2):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nHEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await peer.message())[1] == b"2\r\nok\r\n0\r\n\r\n"
        head, _ = await peer.message(head_only=True)
        assert b"transfer-encoding: chunked" in head
    assert peer.buffer == b""


async def test_continue_is_answered_by_the_proxy(proxy: Proxy) -> None:
    recorder = Recorder()
    await proxy.relay(recorder)
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.send(b"hi")
    await peer.message()
    assert b"\r\nexpect:" not in recorder.messages[0][0]


async def test_interim_responses_are_not_forwarded(proxy: Proxy) -> None:
    await proxy.relay(Recorder(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK))
    assert (await proxy.get())[0] == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_body(proxy: Proxy, status: int) -> None:
    await proxy.relay(Recorder(b"HTTP/1.1 %d X\r\n\r\n" % status))
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
    await proxy.relay(recorder, use_remote_address=True)
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

    await proxy.relay(broken)
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

    await proxy.relay(cutting)
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

    await proxy.relay(reset)
    assert (await proxy.get())[0] == 503
    assert proxy.logs.lines[0].flags == "UC"


async def test_a_kept_connection_that_the_origin_closed_is_not_the_clients_problem(proxy: Proxy) -> None:
    async def once(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(OK)
        await peer.read_until(b"\r\n\r\n")  # the next request is read, and then dropped with the connection

    await proxy.relay(once)
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

    await proxy.relay(once)
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

    await proxy.relay(once)
    assert (await proxy.get())[0] == 200
    assert (await proxy.get())[0] == 502
    assert requests == 2


async def test_protocols_switched_unasked_are_an_error_of_the_origin(proxy: Proxy) -> None:
    await proxy.relay(Recorder(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"))
    assert (await proxy.get())[0] == 502
    assert proxy.logs.lines[0].flags == "UPE"


async def test_a_204_goes_on_without_a_length(proxy: Proxy) -> None:
    await proxy.relay(Recorder(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"))
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
    await proxy.relay(delayed_close_timeout=0.02)
    peer = await proxy.client()
    await peer.send(raw)
    head, _ = await peer.message()
    assert int(head.split(b" ")[1]) == status
    assert b"connection: close\r\n" in head
    assert await closes(peer)
    assert proxy.logs.lines[-1].details == details
    await eventually(lambda: proxy.listeners.connection_count == 0)


async def test_connection_close_is_obeyed(proxy: Proxy) -> None:
    await proxy.relay()
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    head, _ = await peer.message()
    assert b"connection: close\r\n" in head
    assert await closes(peer)


async def test_routes_change_under_a_kept_connection(proxy: Proxy) -> None:
    await proxy.relay()
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
