from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trio
import trio.testing

from isthmus_proxy.xds.grpc_framing import GrpcError, MessageReader, frame
from isthmus_proxy.xds.grpc_stream import GrpcStream, Limits

OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


class Server:
    """The other side: h2 as a server, on the peer of a memory stream."""

    def __init__(self, stream: trio.abc.Stream, window: int) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.reader = MessageReader(1 << 24)
        self.headers: dict[str, str] = {}
        self.messages: list[bytes] = []
        self.pings = 0
        self.pongs = 0
        self.hold_window = False

    async def start(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            await self.stream.send_all(data)

    async def step(self) -> None:
        """Read once and take note."""
        for event in self.h2.receive_data(bytes(await self.stream.receive_some(65536))):
            if isinstance(event, h2.events.RequestReceived):
                self.headers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                self.messages += self.reader.feed(event.data)
                if not self.hold_window:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.PingReceived):
                self.pings += 1
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
        await self.flush()

    async def until(self, condition: Callable[[], bool], patience: float = 20) -> None:
        with trio.fail_after(patience):
            while not condition():
                await self.step()

    async def answer(self, *messages: bytes, end: list[tuple[str, str]] | None = None) -> None:
        self.h2.send_headers(1, OK_HEADERS)
        for message in messages:
            data = frame(message)
            for start in range(0, len(data), 16384):
                self.h2.send_data(1, data[start : start + 16384])
        if end is not None:
            self.h2.send_headers(1, end, end_stream=True)
        await self.flush()


@asynccontextmanager
async def call(window: int = 65535, limits: Limits | None = None) -> AsyncIterator[tuple[GrpcStream, Server]]:
    """A call that has started, and its server."""
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = GrpcStream(ours, limits), Server(theirs, window)
    await server.start()
    await client.start("control-plane", "/service/Method")
    await server.until(lambda: bool(server.headers))
    assert await client.receive() == []  # the server's settings
    yield client, server
    await client.aclose()


async def receive_all(client: GrpcStream, wanted: int) -> list[bytes]:
    messages: list[bytes] = []
    with trio.fail_after(20):
        while len(messages) < wanted:
            messages += await client.receive()
    return messages


async def end_of(client: GrpcStream) -> GrpcError:
    return await end_within(client, 20)


async def end_within(client: GrpcStream, patience: float) -> GrpcError:
    with trio.fail_after(patience):
        while True:
            try:
                await client.receive()
            except GrpcError as error:
                return error


@pytest.mark.trio
async def test_the_request_is_a_grpc_call() -> None:
    async with call() as (_, server):
        assert server.headers == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/service/Method",
            ":authority": "control-plane",
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "isthmus-proxy",
        }


@pytest.mark.trio
async def test_messages_go_both_ways() -> None:
    async with call() as (client, server):
        await client.send(b"one")
        await client.send(b"two")
        await server.until(lambda: server.messages == [b"one", b"two"])
        await server.answer(b"", b"three", b"x" * 100_000)
        assert await receive_all(client, 3) == [b"", b"three", b"x" * 100_000]


@pytest.mark.trio
async def test_megabytes_arrive_although_the_window_is_smaller() -> None:
    async with call() as (client, server), trio.open_nursery() as nursery:
        message = bytes(range(256)) * 40_000  # 10 MB, more than the 4 MiB window

        async def send() -> None:
            server.h2.send_headers(1, OK_HEADERS)
            data = frame(message)
            position = 0
            while position < len(data):
                room = min(server.h2.local_flow_control_window(1), 16384)
                if room:
                    server.h2.send_data(1, data[position : position + room])
                    position += room
                    await server.flush()
                else:
                    await server.step()

        nursery.start_soon(send)
        assert await receive_all(client, 1) == [message]


@pytest.mark.trio
async def test_a_large_request_waits_for_the_servers_window() -> None:
    async with call(window=1000) as (client, server), trio.open_nursery() as nursery:
        server.hold_window = True
        await client.send(b"y" * 5000)
        await server.step()
        assert server.messages == []
        server.hold_window = False
        server.h2.acknowledge_received_data(1000, 1)
        await server.flush()

        async def read() -> None:
            await end_of(client)

        nursery.start_soon(read)
        await server.until(lambda: server.messages == [b"y" * 5000])
        await server.answer(end=[("grpc-status", "0")])


@pytest.mark.trio
async def test_what_a_server_never_takes_is_bounded() -> None:
    async with call(window=0, limits=Limits(outgoing_bytes=10_000)) as (client, server):
        server.hold_window = True
        await client.send(b"z" * 5000)
        with pytest.raises(GrpcError, match="takes none"):
            await client.send(b"z" * 5000)


@pytest.mark.trio
async def test_the_status_in_the_trailers_ends_the_call_after_the_last_message() -> None:
    async with call() as (client, server):
        await server.answer(b"last", end=[("grpc-status", "14"), ("grpc-message", "going %C3%A0 way")])
        assert await receive_all(client, 1) == [b"last"]
        error = await end_of(client)
        assert (error.status, error.message) == (14, "going à way")


@pytest.mark.trio
@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")], 12, "ended the call"),
        ([(":status", "404"), ("content-type", "text/plain")], 12, "HTTP status 404"),
        ([(":status", "503")], 14, "HTTP status 503"),
        ([(":status", "200"), ("content-type", "text/html")], 2, "text/html"),
    ],
)
async def test_an_answer_without_messages_says_why(headers: list[tuple[str, str]], status: int, message: str) -> None:
    async with call() as (client, server):
        server.h2.send_headers(1, headers, end_stream=True)
        await server.flush()
        error = await end_of(client)
        assert error.status == status
        assert message in error.message


@pytest.mark.trio
async def test_a_reset_a_goaway_and_a_closed_connection_end_the_call() -> None:
    async with call() as (client, server):
        server.h2.reset_stream(1, h2.errors.ErrorCodes.REFUSED_STREAM)
        await server.flush()
        assert "reset the call" in str(await end_of(client))
    async with call() as (client, server):
        server.h2.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, additional_data=b"too_many_pings")
        await server.flush()
        assert "too_many_pings" in str(await end_of(client))
    async with call() as (client, server):
        await server.stream.aclose()
        assert "closed the connection" in str(await end_of(client))


@pytest.mark.trio
async def test_a_server_that_speaks_something_else_is_named_so() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client = GrpcStream(ours)
    await client.start("x", "/y")
    await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    assert "speaks HTTP/1, not HTTP/2" in str(await end_of(client))


@pytest.mark.trio
async def test_a_broken_frame_ends_the_call() -> None:
    async with call() as (client, server):
        await server.stream.send_all(b"\0\0\1\4\0\0\0\0\0x")  # settings of one byte
        assert "not HTTP/2, or broken" in str(await end_of(client))


@pytest.mark.trio
async def test_a_server_that_says_nothing_at_all_is_given_up_soon(autojump_clock: trio.testing.MockClock) -> None:
    ours, _theirs = trio.testing.memory_stream_pair()
    client = GrpcStream(ours)
    await client.start("x", "/y")
    assert "no HTTP/2 settings within 10 s" in str(await end_of(client))


@pytest.mark.trio
async def test_pings_of_the_server_are_answered() -> None:
    async with call() as (client, server), trio.open_nursery() as nursery:
        server.h2.ping(b"12345678")
        await server.flush()

        async def read() -> None:
            await end_of(client)

        nursery.start_soon(read)
        await server.until(lambda: server.pongs == 1)
        await server.answer(end=[("grpc-status", "0")])


@pytest.mark.trio
async def test_a_silent_server_is_pinged_and_given_up_without_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    async with call(limits=Limits(ping_after_seconds=300, ping_answer_seconds=20)) as (client, server):
        assert "no answer to a ping within 20 s" in str(await end_within(client, 5000))
        assert trio.current_time() == pytest.approx(320)
        await server.step()
        assert server.pings == 1


@pytest.mark.trio
async def test_a_server_that_answers_pings_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with call(limits=Limits(ping_after_seconds=300, ping_answer_seconds=20)) as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.until, lambda: server.pings == 3, 5000)
            with trio.move_on_after(1000):
                while True:
                    await client.receive()
        assert trio.current_time() == pytest.approx(1000)


@pytest.mark.trio
async def test_a_server_that_stops_reading_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    client = GrpcStream(ours, Limits(send_seconds=20))
    with pytest.raises(GrpcError, match="read nothing for 20 s"):
        await client.start("x", "/y")
