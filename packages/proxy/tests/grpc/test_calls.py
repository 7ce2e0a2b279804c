"""Calls against another HTTP/2 library on real sockets, through a cluster's pool, in both styles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
import trio

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.grpc import status
from isthmus_proxy.grpc.call import CallOptions, Liveness
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.framing import MessageReader, frame
from isthmus_proxy.grpc.status import GrpcError, Outcome
from isthmus_proxy.grpc.task import TaskCall, unary
from isthmus_proxy.testing import PATIENCE, Proxy, eventually, running_proxy

OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
PATH = "/service/Method"


class Server:
    """Speaks HTTP/2 by h2 on one connection at a time; what it received is read, what it sends is told by the tests."""

    def __init__(self, window: int = 65535) -> None:
        self.window = window
        self.connections = 0
        self.holds = False
        self.mute = False
        self.begin()

    def begin(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.window}
        )
        self.readers: dict[int, MessageReader] = {}
        self.headers: dict[int, list[tuple[str, str]]] = {}
        self.messages: list[bytes] = []
        self.ended: list[int] = []
        self.resets: list[int] = []
        self.pings = 0
        self.settled = False
        self.stream: trio.SocketStream | None = None
        self.sending = trio.Lock()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        self.begin()
        self.stream = stream
        self.h2.initiate_connection()
        try:
            await self.flush()
            while data := await stream.receive_some(65536):
                try:
                    events = self.h2.receive_data(bytes(data))
                except h2.exceptions.ProtocolError:  # what comes in after this end has said goodbye
                    await self.flush()  # the goodbye itself may not have been sent yet
                    return
                for event in events:
                    self.take(event)
                if not self.mute:
                    await self.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def flush(self) -> None:
        async with self.sending:
            data = self.h2.data_to_send()
            if data and self.stream is not None:
                await self.stream.send_all(data)

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.headers[event.stream_id] = [(str(name), str(value)) for name, value in event.headers]
            self.readers[event.stream_id] = MessageReader(1 << 24)
        elif isinstance(event, h2.events.DataReceived):
            self.messages += self.readers[event.stream_id].feed(event.data)
            if not self.holds:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.append(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(event.stream_id)
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.settled = True

    async def answer(self, *messages: bytes, end: list[tuple[str, str]] | None = None, stream_id: int = 1) -> None:
        await eventually(lambda: stream_id in self.headers)
        self.h2.send_headers(stream_id, OK_HEADERS)
        for message in messages:
            await self.send(frame(message), stream_id)
        if end is not None:
            self.h2.send_headers(stream_id, end, end_stream=True)
        await self.flush()

    async def send(self, data: bytes, stream_id: int) -> None:
        while data:
            room = min(self.h2.local_flow_control_window(stream_id), 16384)
            self.h2.send_data(stream_id, data[:room])
            data = data[room:]
            await self.flush()
            await eventually(lambda: self.h2.local_flow_control_window(stream_id) > 0)


class Scene:
    def __init__(self, proxy: Proxy, server: Server) -> None:
        self.proxy = proxy
        self.server = server
        self.client = GrpcClient(proxy.surroundings)

    def call(self, **options: object) -> TaskCall:
        return TaskCall(self.client, "c", PATH, CallOptions(**options))  # type: ignore[arg-type]

    def stat(self, name: str) -> int | None:
        return self.proxy.stat(f"cluster.c.{name}")


@asynccontextmanager
async def scene(window: int = 65535, **options: int) -> AsyncIterator[Scene]:
    server = Server(window)
    async with running_proxy() as proxy:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        port = listener.socket.getsockname()[1]
        proxy.cluster("c", port, http2=True, http2_options=Http2Options(**options))  # type: ignore[arg-type]
        yield Scene(proxy, server)


async def messages_of(call: TaskCall, wanted: int) -> list[bytes]:
    messages: list[bytes] = []
    with trio.fail_after(PATIENCE):
        while len(messages) < wanted:
            messages += await call.receive()
    return messages


async def end_of(call: TaskCall) -> GrpcError:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await call.receive()
            except GrpcError as error:
                return error


@pytest.mark.trio
async def test_the_request_is_a_grpc_call() -> None:
    async with scene() as here:
        with here.call(timeout=1.5, metadata=((b"x-tag", b"1"),)) as call:
            await call.wait_started()
            await eventually(lambda: 1 in here.server.headers)
            assert here.server.headers[1] == [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", PATH),
                (":authority", "c"),
                ("te", "trailers"),
                ("grpc-timeout", "1500000u"),
                ("content-type", "application/grpc"),
                ("user-agent", "isthmus-proxy"),
                ("x-tag", "1"),
            ]


@pytest.mark.trio
async def test_messages_go_both_ways_and_the_status_comes_last() -> None:
    async with scene() as here:
        with here.call() as call:
            await call.send(b"one")
            await call.send(b"two")
            call.finish()
            await eventually(lambda: here.server.messages == [b"one", b"two"] and here.server.ended == [1])
            await here.server.answer(b"", b"three", b"x" * 100_000, end=[*OK, ("grpc-message", "%C3%A0"), ("m", "1")])
            assert await messages_of(call, 3) == [b"", b"three", b"x" * 100_000]
            error = await end_of(call)
            assert (error.status, error.message) == (0, "à")
            assert (b"m", b"1") in error.metadata
            assert (b"content-type", b"application/grpc") in call.initial_metadata
        await eventually(lambda: here.stat("upstream_rq_active") == 0)
        assert here.stat("upstream_rq_total") == 1
        assert here.stat("http2.streams_active") == 0


@pytest.mark.trio
async def test_calls_share_a_connection() -> None:
    async with scene() as here, trio.open_nursery() as nursery:
        answers: dict[int, bytes] = {}

        async def ask(number: int) -> None:
            answers[number], _ = await unary(here.client, "c", PATH, b"%d" % number)

        for number in range(3):
            nursery.start_soon(ask, number)
        for stream_id in (1, 3, 5):
            await here.server.answer(b"answer", end=OK, stream_id=stream_id)
        await eventually(lambda: len(answers) == 3)
        assert sorted(here.server.messages) == [b"0", b"1", b"2"]
        assert here.server.connections == 1


@pytest.mark.trio
async def test_unary_by_callback() -> None:
    ended: list[tuple[bytes, Outcome]] = []
    async with scene() as here:

        def done(answer: bytes, outcome: Outcome) -> None:
            ended.append((answer, outcome))

        here.client.unary("c", PATH, b"question", done)
        await here.server.answer(b"answer", end=[*OK, ("m", "1")])
        await eventually(lambda: len(ended) == 1)
        assert ended[0][0] == b"answer"
        assert ended[0][1].status == status.OK
        assert here.server.messages == [b"question"]
        here.client.unary("c", PATH, b"again", done)
        await here.server.answer(end=OK, stream_id=3)
        await eventually(lambda: len(ended) == 2)
        assert ended[1][1].status == status.INTERNAL
        call = here.client.unary("c", PATH, b"given up", done)
        await eventually(lambda: 5 in here.server.headers)
        call.cancel()
        await eventually(lambda: here.server.resets == [5])
        assert len(ended) == 2
        assert here.stat("upstream_rq_active") == 0


@pytest.mark.trio
async def test_a_task_that_is_cancelled_cancels_its_call() -> None:
    async with scene() as here:
        with trio.move_on_after(PATIENCE) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(unary, here.client, "c", PATH, b"")
                await eventually(lambda: here.server.ended == [1])
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        await eventually(lambda: here.server.resets == [1])


@pytest.mark.trio
async def test_a_deadline_ends_a_call() -> None:
    async with scene() as here:
        with here.call(timeout=0.02) as call:
            error = await end_of(call)
            assert (error.status, error.message) == (status.DEADLINE_EXCEEDED, "no answer within 0.02 s")
        assert here.stat("upstream_rq_active") == 0


@pytest.mark.trio
async def test_megabytes_arrive_although_the_window_is_smaller() -> None:
    message = bytes(range(256)) * 12_000
    options = {"initial_stream_window_size": 65535, "initial_connection_window_size": 65535}
    async with scene(**options) as here, trio.open_nursery() as nursery:
        with here.call() as call:

            async def answer() -> None:
                await here.server.answer(message, end=OK)

            nursery.start_soon(answer)
            assert await messages_of(call, 1) == [message]


@pytest.mark.trio
async def test_a_task_that_does_not_read_stops_the_server() -> None:
    window = 65535
    async with scene(initial_stream_window_size=window) as here:
        with here.call() as call:
            message = b"m" * 100_000
            sent = 0

            async def answer() -> None:
                nonlocal sent
                await eventually(lambda: 1 in here.server.headers)
                here.server.h2.send_headers(1, OK_HEADERS)
                while True:
                    await here.server.send(frame(message), 1)
                    sent += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                await eventually(lambda: sent >= 10 and here.server.h2.local_flow_control_window(1) == 0)
                held = sent
                assert held * len(message) < 1024 * 1024 + 4 * window
                assert len(await messages_of(call, held)) >= held
                await eventually(lambda: sent > held)
                nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_what_the_server_does_not_take_waits_and_is_bounded() -> None:
    async with scene(window=1000) as here:
        here.server.holds = True
        with here.call(max_queued_bytes=50_000) as call:
            await call.wait_started()
            await eventually(lambda: here.server.settled)

            async def send_all() -> None:
                for _ in range(20):
                    await call.send(b"z" * 5000)

            with pytest.raises(GrpcError, match="takes none") as caught:
                await send_all()
            assert caught.value.status == status.RESOURCE_EXHAUSTED


@pytest.mark.trio
async def test_a_large_request_waits_for_the_servers_window() -> None:
    async with scene(window=1000) as here:
        here.server.holds = True
        with here.call() as call:
            await call.wait_started()
            await eventually(lambda: here.server.settled)
            await call.send(b"y" * 50_000)
            await eventually(lambda: here.server.h2.remote_flow_control_window(1) == 0)
            assert here.server.messages == []
            here.server.holds = False
            here.server.h2.acknowledge_received_data(1000, 1)
            await here.server.flush()
            await eventually(lambda: here.server.messages == [b"y" * 50_000])


@pytest.mark.trio
@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ([*OK_HEADERS, ("grpc-status", "12")], 12, "ended the call"),
        ([(":status", "404"), ("content-type", "text/plain")], 12, "HTTP status 404"),
        ([(":status", "503")], 14, "HTTP status 503"),
        ([(":status", "200"), ("content-type", "text/html")], 2, "text/html"),
        (OK_HEADERS, 2, "without a status"),
        ([*OK_HEADERS, ("grpc-status", "x")], 2, "without a status"),
    ],
)
async def test_an_answer_without_messages_says_why(headers: list[tuple[str, str]], code: int, message: str) -> None:
    async with scene() as here:
        with here.call() as call:
            await call.wait_started()
            await eventually(lambda: 1 in here.server.headers)
            here.server.h2.send_headers(1, headers, end_stream=True)
            await here.server.flush()
            error = await end_of(call)
            assert error.status == code
            assert message in error.message


async def loses(act: Callable[[Server], None]) -> GrpcError:
    async with scene() as here:
        with here.call() as call:
            await call.send(b"")
            await eventually(lambda: 1 in here.server.headers)
            act(here.server)
            await here.server.flush()
            error = await end_of(call)
            assert here.stat("upstream_rq_active") == 0
            return error


@pytest.mark.trio
async def test_resets_and_goaways_end_calls() -> None:
    code = h2.errors.ErrorCodes
    assert (await loses(lambda server: server.h2.reset_stream(1, code.CANCEL))).status == status.UNAVAILABLE
    refused = await loses(lambda server: server.h2.close_connection(code.ENHANCE_YOUR_CALM, last_stream_id=0))
    assert refused.status == status.UNAVAILABLE


@pytest.mark.trio
async def test_messages_too_large_or_compressed_end_the_call() -> None:
    for data, code in ((frame(b"12345"), status.RESOURCE_EXHAUSTED), (b"\1\0\0\0\1x", status.UNIMPLEMENTED)):
        async with scene() as here:
            with here.call(max_message_bytes=4) as call:
                await here.server.answer()
                here.server.h2.send_data(1, data)
                await here.server.flush()
                assert (await end_of(call)).status == code
            await eventually(lambda: here.server.resets == [1])


@pytest.mark.trio
async def test_a_closed_connection_ends_the_call_and_the_next_call_opens_another() -> None:
    async with scene() as here:
        with here.call() as call:
            await call.wait_started()
            await eventually(lambda: 1 in here.server.headers)
            assert here.server.stream is not None
            await here.server.stream.aclose()
            error = await end_of(call)
            assert (error.status, error.message) == (status.UNAVAILABLE, "connection termination")
        with here.call() as call:
            await eventually(lambda: here.server.connections == 2)
            await here.server.answer(b"again", end=OK)
            assert await messages_of(call, 1) == [b"again"]


@pytest.mark.trio
async def test_why_a_call_finds_no_server() -> None:
    async with running_proxy() as proxy:
        client = GrpcClient(proxy.surroundings)
        proxy.cluster("down", 1, http2=True)
        proxy.cluster("empty", http2=True)
        proxy.cluster("old", 1)
        for cluster, reason in (
            ("down", "remote connection failure: Connection refused"),
            ("empty", "cluster 'empty' has no healthy endpoint"),
            ("none", "cluster 'none' does not exist"),
            ("old", "cluster 'old' does not speak HTTP/2"),
        ):
            with pytest.raises(GrpcError, match=reason) as caught:
                await unary(client, cluster, PATH, b"")
            assert caught.value.status == status.UNAVAILABLE


@pytest.mark.trio
async def test_a_server_that_speaks_something_else_is_named_so() -> None:
    async def http1(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await trio.sleep_forever()

    async with running_proxy() as proxy:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.nursery.start_soon(trio.serve_listeners, http1, [listener])
        proxy.cluster("c", listener.socket.getsockname()[1], http2=True)
        with pytest.raises(GrpcError, match="not HTTP/2, or broken") as caught:
            await unary(GrpcClient(proxy.surroundings), "c", PATH, b"")
        assert caught.value.status == status.INTERNAL


@pytest.mark.trio
async def test_a_server_that_says_nothing_at_all_is_given_up() -> None:
    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with running_proxy() as proxy:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.nursery.start_soon(trio.serve_listeners, silent, [listener])
        proxy.cluster("c", listener.socket.getsockname()[1], http2=True)
        options = CallOptions(liveness=Liveness(greeting=0.02))
        with TaskCall(GrpcClient(proxy.surroundings), "c", PATH, options) as call:
            assert (await end_of(call)).status == status.UNAVAILABLE
        assert proxy.stat("cluster.c.http2.keepalive_timeout") == 1


@pytest.mark.trio
async def test_a_silent_server_is_pinged_and_given_up_without_an_answer() -> None:
    async with scene() as here:
        with here.call(liveness=Liveness(ping_after=0.01, ping_answer=0.05)) as call:
            await call.send(b"")
            await eventually(lambda: here.server.pings >= 3)
            assert here.server.connections == 1
            here.server.mute = True
            assert (await end_of(call)).status == status.UNAVAILABLE


@pytest.mark.trio
async def test_a_call_waits_where_the_circuit_breaker_makes_it_wait() -> None:
    async with scene(max_concurrent_streams=1) as here:
        with here.call() as first:
            await first.wait_started()
            second = here.client.unary("c", PATH, b"", lambda _answer, _outcome: None)
            assert not second.started
            second.cancel()
            assert here.stat("upstream_rq_pending_active") == 0
            assert here.stat("upstream_rq_cancelled") == 1


def test_timeouts_are_written_with_eight_digits_at_most() -> None:
    assert status.timeout_header(0.05) == b"50000000n"
    assert status.timeout_header(0.1) == b"100000u"
    assert status.timeout_header(1e-12) == b"1n"
    assert status.timeout_header(1000.0005) == b"1000001m"
    assert status.timeout_header(99_999_999) == b"99999999S"
    assert status.timeout_header(1e9) == b"99999999H"
