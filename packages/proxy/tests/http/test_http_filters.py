"""Filters before the router: what waits, in which order it goes on, and what an answer in between does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.exchange import Exchange
from isthmus_proxy.http.filtered_exchange import FilteredExchange
from isthmus_proxy.http.filters.buffer import BufferConfig
from isthmus_proxy.http.filters.cors import CorsPolicy, merged
from isthmus_proxy.http.filters.fault import FaultConfig, FaultDelay
from isthmus_proxy.http.filters.local_ratelimit import TokenBucket
from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    HOLD,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Origin, Peer, Proxy, eventually, forward, running_proxy

Maker = Callable[[FilterCallbacks], StreamFilter]


@dataclass(frozen=True)
class Configured:
    """A filter's configuration whose filters are made by ``maker``."""

    maker: Maker

    def make(self, context: FilterContext) -> Configured:
        return self

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> StreamFilter:
        return self.maker(callbacks)


class Waits(StreamFilter):
    """Holds each way at its head and at its end, and goes on when a timer says so."""

    def _later(self, go_on: Callable[[StreamFilter], None]) -> int:
        self.callbacks.call_later(0.001, lambda: go_on(self))
        return HOLD

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        return self._later(self.callbacks.continue_decoding)

    def decode_end(self, trailers: Trailers) -> int:
        return self._later(self.callbacks.continue_decoding)

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        return self._later(self.callbacks.continue_encoding)

    def encode_end(self, trailers: Trailers) -> int:
        return self._later(self.callbacks.continue_encoding)


class Shouts(StreamFilter):
    """Changes bodies and their length both ways, and says something more at the end."""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        head.headers = [field for field in head.headers if field[0] != b"content-length"]
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        return data.upper()

    def decode_end(self, trailers: Trailers) -> int:
        self.callbacks.inject_decoded_data(self, b"!")
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        head.headers = [field for field in head.headers if field[0] != b"content-length"]
        return CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        return data.upper()

    def encode_end(self, trailers: Trailers) -> int:
        self.callbacks.inject_encoded_data(self, b"?")
        return CONTINUE


class Collects(StreamFilter):
    """Lets the response go when it is complete."""

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        return CONTINUE if end_stream else STOP

    def encode_end(self, trailers: Trailers) -> int:
        self.callbacks.continue_encoding()
        return CONTINUE


class Moves(StreamFilter):
    """Sends the request elsewhere."""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        head.path = b"/moved"
        self.callbacks.clear_route_cache()
        return CONTINUE


class Refuses(StreamFilter):
    """Answers once the body begins."""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        return CONTINUE if end_stream else STOP

    def decode_data(self, data: bytes) -> bytes:
        self.callbacks.send_local_reply(LocalReply(403, "refused", b"no"))
        return data


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


def payload(head: bytes, body: bytes) -> bytes:
    """A body without its chunks."""
    return b"".join(body.split(b"\r\n")[1::2]) if b"\r\ntransfer-encoding: chunked\r\n" in head else body


async def echo(peer: Peer, _number: int) -> None:
    while True:
        head, body = await peer.message()
        answer = head.split(b" ")[1] + b" " + payload(head, body)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))


async def serve(proxy: Proxy, *makers: Maker) -> Origin:
    filters = [HttpFilterConfig(f"f{number}", Configured(maker)) for number, maker in enumerate(makers)]
    origin = await proxy.origin(echo)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(http_filters=tuple(filters))
    return origin


async def ask(proxy: Proxy, body: bytes = b"abc") -> tuple[bytes, bytes]:
    peer = await proxy.client()
    await peer.send(b"POST /p HTTP/1.1\r\nhost: a.b\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    return await peer.message()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("makers", "expected"),
    [
        ((StreamFilter,), b"/p abc"),
        ((Waits,), b"/p abc"),
        ((Waits, Waits), b"/p abc"),
        ((Shouts,), b"/P ABC!?"),
        ((Waits, Collects), b"/p abc"),
        ((Collects, Waits), b"/p abc"),
    ],
)
async def test_bodies_arrive_whole_and_in_order(proxy: Proxy, makers: tuple[Maker, ...], expected: bytes) -> None:
    await serve(proxy, *makers)
    head, body = await ask(proxy)
    assert payload(head, body) == expected


@pytest.mark.trio
async def test_a_body_that_comes_while_the_head_waits_is_sent_behind_it(proxy: Proxy) -> None:
    await serve(proxy, Waits, Shouts)
    peer = await proxy.client()
    await peer.send(b"POST /p HTTP/1.1\r\nhost: a.b\r\ncontent-length: 6\r\n\r\nabc")
    await peer.send(b"def")
    assert payload(*await peer.message()) == b"/P ABCDEF!?"


@pytest.mark.trio
async def test_requests_follow_each_other_on_a_connection(proxy: Proxy) -> None:
    await serve(proxy, Waits)
    peer = await proxy.client()
    await peer.send(b"GET /1 HTTP/1.1\r\nhost: a.b\r\n\r\nGET /2 HTTP/1.1\r\nhost: a.b\r\n\r\n")
    assert (await peer.message())[1] == b"/1 "
    assert (await peer.message())[1] == b"/2 "
    await eventually(lambda: [line.status for line in proxy.logs.lines] == [200, 200])


@pytest.mark.trio
async def test_a_filter_may_send_the_request_elsewhere(proxy: Proxy) -> None:
    await serve(proxy, Moves)
    other = await proxy.origin(echo)
    proxy.cluster("d", other.port)
    proxy.route(forward("d", prefix=b"/moved"), forward())
    _, body = await ask(proxy)
    assert body == b"/moved abc"
    assert other.connections == 1


@pytest.mark.trio
async def test_an_answer_of_a_filter_ends_the_exchange(proxy: Proxy) -> None:
    origin = await serve(proxy, Waits, Refuses)
    head, body = await ask(proxy)
    assert head.startswith(b"HTTP/1.1 403")
    assert body == b"no"
    assert origin.connections == 0
    assert proxy.stat("http.test.downstream_rq_active") == 0


@pytest.mark.trio
async def test_a_client_that_leaves_while_a_filter_waits_leaves_nothing_behind(proxy: Proxy) -> None:
    await serve(proxy)
    delay = FaultDelay(60.0, Fraction(100), "none")
    proxy.http("m", http_filters=(HttpFilterConfig("fault", FaultConfig(delay=delay)),))
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n")
    await eventually(lambda: proxy.stat("http.test.fault.active_faults") == 1)
    await peer.close()
    await eventually(lambda: proxy.stat("http.test.fault.active_faults") == 0)
    assert proxy.stat("http.test.downstream_rq_active") == 0


@pytest.mark.trio
async def test_what_a_filter_collects_is_bounded(proxy: Proxy) -> None:
    await serve(proxy)
    proxy.http("m", http_filters=(HttpFilterConfig("buffer", BufferConfig(4)),))
    head, body = await ask(proxy, b"12345")
    assert head.startswith(b"HTTP/1.1 413")
    assert body == b"Payload Too Large"


def test_an_exchange_without_filters_is_a_plain_one() -> None:
    assert FilteredExchange.begin is not Exchange.begin
    assert not hasattr(Exchange, "filters")  # compiled classes show no slots


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0.05, 10.0),
    st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60),
)
def test_a_bucket_gives_no_more_than_it_was_filled_with(
    most: int, fill: int, interval: float, waits: list[float]
) -> None:
    bucket = TokenBucket(most, fill, interval)
    now = 100.0
    taken = 0
    for wait in waits:
        now += wait
        taken += bucket.take(now)
    assert taken >= min(most, len(waits))
    assert taken <= most + (now - 100.0) * fill / interval + 1e-6


def test_policies_of_levels_add_up_and_the_most_specific_decides_whether_they_hold() -> None:
    general = CorsPolicy(allow_methods=b"GET", max_age=b"1", allow_credentials=True)
    special = CorsPolicy(max_age=b"2", enabled=Fraction(0))
    policy = merged((general, special))
    assert (policy.allow_methods, policy.max_age, policy.allow_credentials) == (b"GET", b"2", True)
    assert policy.enabled == Fraction(0)


class Amends(StreamFilter):
    """Changes what the proxy answers itself, later; and its body once more as a response's."""

    def local_reply(self, reply: LocalReply) -> LocalReply | None:
        changed = replace(reply, status=418, body=b"changed " + reply.body)
        self.callbacks.call_soon(lambda: self.callbacks.continue_local_reply(changed))
        return None


@pytest.mark.trio
@pytest.mark.parametrize(
    ("makers", "expected"),
    [
        ((Amends, Refuses), b"changed no"),
        ((Refuses, Amends, Amends), b"changed changed no"),
        ((Shouts, Amends, Refuses), b"CHANGED NO?"),
    ],
)
async def test_a_local_reply_that_a_filter_holds_goes_on_as_the_filter_says(
    proxy: Proxy, makers: tuple[Maker, ...], expected: bytes
) -> None:
    await serve(proxy, *makers)
    peer = await proxy.client()
    for _ in range(2):  # the connection stays usable
        await peer.send(b"POST /p HTTP/1.1\r\nhost: a.b\r\ncontent-length: 3\r\n\r\nabc")
        head, body = await peer.message()
        assert head.startswith(b"HTTP/1.1 418")
        assert payload(head, body) == expected


class Mute(StreamFilter):
    """Holds a local reply for good."""

    def local_reply(self, reply: LocalReply) -> LocalReply | None:
        return None


@pytest.mark.trio
async def test_a_time_out_overtakes_a_local_reply_that_is_held(proxy: Proxy) -> None:
    await serve(proxy)
    filters = (HttpFilterConfig("m", Configured(Mute)), HttpFilterConfig("r", Configured(Refuses)))
    proxy.http("m", http_filters=filters, stream_idle_timeout=0.05)
    head, body = await ask(proxy)
    assert head.startswith(b"HTTP/1.1 504")
    assert body == b"stream timeout"


@pytest.mark.trio
async def test_a_client_that_leaves_while_a_local_reply_is_held_leaves_nothing_behind(proxy: Proxy) -> None:
    await serve(proxy, Mute, Refuses)
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a.b\r\ncontent-length: 1\r\n\r\na")
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 1)
    await peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)


class Asks(StreamFilter):
    """Waits for a trio task, then says what it found."""

    def __init__(self, callbacks: FilterCallbacks, context: FilterContext) -> None:
        super().__init__(callbacks)
        self.context = context

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        self.context.start_soon(self._ask)
        return HOLD

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        self.callbacks.call_soon(self._go_on)

    def _go_on(self) -> None:
        self.callbacks.info.set_metadata("asks", {"who": "ann"})
        self.callbacks.head.headers.append((b"x-who", b"ann"))
        self.callbacks.continue_decoding()


@dataclass(frozen=True)
class AsksConfig:
    def make(self, context: FilterContext) -> AsksFactory:
        return AsksFactory(context)


class AsksFactory:
    def __init__(self, context: FilterContext) -> None:
        self.context = context

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> StreamFilter:
        return Asks(callbacks, self.context)


@pytest.mark.trio
async def test_a_filter_may_wait_for_a_task(proxy: Proxy) -> None:
    await serve(proxy)
    proxy.http("m", http_filters=(HttpFilterConfig("asks", AsksConfig()),))
    proxy.logs.render = compile_text("%DYNAMIC_METADATA(asks:who)% %REQ(X-WHO)%")
    assert (await ask(proxy))[1] == b"/p abc"
    await eventually(lambda: proxy.logs.texts == [b"ann ann"])


class Paints(StreamFilter):
    """Does to the response what the request's path says."""

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        match self.callbacks.head.path:
            case b"/add":
                head.headers.append((b"painted", b"yes"))
            case b"/drop":
                head.headers = [field for field in head.headers if field[0] != b"x-here"]
            case b"/status":
                head.status = 299
            case b"/twice":
                head.headers = [*head.headers]
        return CONTINUE


@given(paths=st.lists(st.sampled_from([b"/", b"/add", b"/drop", b"/status", b"/twice"]), min_size=1, max_size=12))
def test_equal_responses_differ_by_just_what_filters_did_to_each(paths: list[bytes]) -> None:
    """A response that filters leave alone goes by a remembered plan; what they do to one must not reach another."""

    async def answer(peer: Peer, _number: int) -> None:
        while True:
            await peer.message()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-here: 1\r\n\r\nok")

    async def play() -> list[bytes]:
        async with running_proxy() as proxy:
            origin = await proxy.origin(answer)
            proxy.cluster("c", origin.port)
            proxy.route(forward())
            proxy.http(http_filters=(HttpFilterConfig("f", Configured(Paints)),))
            peer = await proxy.client()
            heads = []
            for path in paths:
                await peer.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
                head, body = await peer.message()
                assert body == b"ok"
                heads.append(head)
            return heads

    for path, head in zip(paths, trio.run(play), strict=True):
        lines = head.split(b"\r\n")
        assert lines[0] == (b"HTTP/1.1 299 Unknown" if path == b"/status" else b"HTTP/1.1 200 OK"), head
        assert (b"painted: yes" in lines) == (path == b"/add")
        assert (b"x-here: 1" in lines) == (path != b"/drop")
        names = [line.partition(b":")[0] for line in lines[1:] if line]
        wanted = [b"content-length", b"x-here", b"x-envoy-upstream-service-time", b"painted", b"date", b"server"]
        left_out = {b"/add": set(), b"/drop": {b"painted", b"x-here"}}.get(path, {b"painted"})
        assert names == [name for name in wanted if name not in left_out]
