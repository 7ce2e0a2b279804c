"""HTTP/2 clients that misbehave, on real sockets: what they may do, up to which limit, and what is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio

from isthmus_proxy.http.premature_resets import STREAM_COUNT
from isthmus_proxy.testing import Peer, Proxy, answer_ok, eventually, forward, running_proxy

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.b")]


class Client:
    """``h2`` on a connection to the proxy."""

    def __init__(self, peer: Peer, window: int | None = None) -> None:
        self.peer = peer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.closed = False

    async def flush(self) -> None:
        await self.peer.send(self.h2.data_to_send())

    async def step(self) -> None:
        data = await self.peer.read()
        self.closed = not data
        self.events += self.h2.receive_data(data) if data else []
        if not self.closed and (answer := self.h2.data_to_send()):
            await self.peer.send(answer)

    def ask(self) -> int:
        stream_id: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, GET, end_stream=True)
        return stream_id

    async def give_up(self, count: int) -> None:
        """Open streams and reset each before its answer."""
        for _ in range(count):
            self.h2.reset_stream(self.ask(), 8)
        await self.flush()

    async def complete(self, count: int) -> None:
        """Requests that are answered."""
        wanted = len([event for event in self.events if isinstance(event, h2.events.StreamEnded)]) + count
        for _ in range(count):
            self.ask()
        await self.flush()
        while len([event for event in self.events if isinstance(event, h2.events.StreamEnded)]) < wanted:
            await self.step()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as made:
        yield made


async def serve(proxy: Proxy, stream_idle_timeout: float = 300.0) -> None:
    origin = await proxy.origin(answer_ok)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(stream_idle_timeout=stream_idle_timeout)


RESETS = "http.test.downstream_rq_too_many_premature_resets"


@pytest.mark.trio
async def test_rapid_resets_end_the_connection_at_half_the_count(proxy: Proxy) -> None:
    await serve(proxy)
    client = Client(await proxy.client())
    await client.give_up(STREAM_COUNT // 2 - 1)
    await client.complete(1)
    assert proxy.stat(RESETS) == 0
    await client.give_up(1)
    while not client.closed:
        await client.step()
    assert proxy.stat(RESETS) == 1
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)


@pytest.mark.trio
async def test_a_long_lived_connection_may_give_up_requests_now_and_then(proxy: Proxy) -> None:
    await serve(proxy)
    client = Client(await proxy.client())
    for _ in range(6):
        await client.complete(60)
        await client.give_up(50)
    await client.complete(1)
    assert proxy.stat(RESETS) == 0
    assert proxy.stat("http2.rx_reset") == 300


@pytest.mark.trio
async def test_a_client_that_opens_no_window_is_given_up(proxy: Proxy) -> None:
    await serve(proxy, stream_idle_timeout=0.05)
    client = Client(await proxy.client(), window=0)
    await client.flush()
    await client.step()
    stalled = client.ask()
    await client.flush()
    with trio.fail_after(20):
        while not any(isinstance(event, h2.events.StreamReset) for event in client.events):
            await client.step()
    (reset,) = [event for event in client.events if isinstance(event, h2.events.StreamReset)]
    assert reset.stream_id == stalled
    assert proxy.stat("http2.tx_flush_timeout") == 1
    assert proxy.stat("http2.streams_active") == 0


@pytest.mark.trio
@pytest.mark.parametrize("codec_type", ["AUTO", "HTTP2"])
@pytest.mark.parametrize("greeting", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n"])
async def test_a_preface_that_goes_wrong_ends_the_connection_without_a_word(
    proxy: Proxy, codec_type: str, greeting: bytes
) -> None:
    proxy.http(codec_type=codec_type)
    peer = await proxy.client()
    await peer.send(greeting)
    assert await peer.read() == b""
    assert proxy.stat("http.test.downstream_cx_http2_total") == 1
    assert proxy.stat("http.test.downstream_cx_protocol_error") == 1


@pytest.mark.trio
async def test_what_only_resembles_the_preface_is_a_bad_request(proxy: Proxy) -> None:
    proxy.http()
    peer = await proxy.client()
    for piece in (b"PRI * HT", b"TP/1.1\r\n\r\n"):
        await peer.send(piece)
    assert (await peer.read()).startswith(b"HTTP/1.1 400")
    assert proxy.stat("http.test.downstream_cx_http1_total") == 1
