"""Bytes that go from one connection to another through a pipe: none is lost, altered, moved, or kept from whom it concerns."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio

from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.reactor.relay import Relay
from isthmus_proxy.reactor.splice import MAX_PIPES, MAX_SPARE_PIPES
from isthmus_proxy.testing import eventually

pytestmark = pytest.mark.trio

Pair = tuple[socket.socket, socket.socket]
BODY = random.Random(7).randbytes(3_000_000)


@pytest.fixture
async def reactor() -> AsyncIterator[Reactor]:
    async with trio.open_nursery() as nursery:
        reactor = Reactor()
        await nursery.start(reactor.run)
        yield reactor
        nursery.cancel_scope.cancel()


def tcp_pair() -> Pair:
    """Two ends of a TCP connection that do not block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right = server.accept()[0]
    left.setblocking(False)
    right.setblocking(False)
    return left, right


@pytest.fixture(params=[tcp_pair, socket.socketpair], ids=["tcp", "unix"])
def pairs(request: pytest.FixtureRequest) -> Iterator[tuple[Pair, Pair]]:
    make: Callable[[], Pair] = request.param
    made = (make(), make())
    for sock in (*made[0], *made[1]):
        sock.setblocking(False)
    yield made
    for sock in (*made[0], *made[1]):
        sock.close()


class Owner:
    """Owns both connections, keeps what reaches it, and counts what does not."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []
        self.passed = 0

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, error: OSError) -> None:
        self.told.append("lost")

    def high_watermark_reached(self) -> None:
        self.told.append("high")

    def low_watermark_reached(self) -> None:
        self.told.append("low")

    def drained(self) -> None:
        self.told.append("drained")

    def spliced(self, size: int) -> None:
        self.passed += size

    def splice_done(self) -> None:
        self.told.append("done")


class Scene:
    """A sender, the connection that reads it, the connection that is written, and its receiver."""

    def __init__(self, reactor: Reactor, pairs: tuple[Pair, Pair]) -> None:
        self.sender, inner = pairs[0]
        outer, self.receiver = pairs[1]
        self.source_owner, self.sink_owner = Owner(), Owner()
        self.source = Connection(reactor, inner, self.source_owner, 1_000_000)
        self.sink = Connection(reactor, outer, self.sink_owner, 1_000_000)
        self.source.start()
        self.sink.start()

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            await trio.lowlevel.wait_writable(self.sender)
            view = view[self.sender.send(view) :]

    async def expect(self, data: bytes) -> None:
        """Receive exactly that."""
        got = bytearray()
        with trio.fail_after(20):
            while len(got) < len(data):
                await trio.lowlevel.wait_readable(self.receiver)
                piece = self.receiver.recv(len(data) - len(got))
                assert piece, f"ended after {len(got)} bytes"
                got += piece
        assert bytes(got) == data

    async def stuck(self) -> None:
        """Wait until the pipe holds something that the receiver does not take."""
        await eventually(lambda: self.sink.inflow is not None and self.sink.inflow.held > 0 and not self.sink.flushed)


@pytest.fixture
def scene(reactor: Reactor, pairs: tuple[Pair, Pair]) -> Scene:
    return Scene(reactor, pairs)


async def test_a_length_passes_behind_what_was_written_and_reading_goes_on_after_it(scene: Scene) -> None:
    scene.sink.write(b"head ")
    assert scene.source.splice_to(scene.sink, len(BODY), scene.source_owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY + b"next")
        await scene.expect(b"head " + BODY)
    await eventually(lambda: scene.source_owner.data == b"next")
    assert scene.source_owner.told == ["done"]
    assert scene.source_owner.passed == len(BODY)
    assert (scene.source.bytes_in, scene.sink.bytes_out) == (len(BODY) + 4, len(BODY) + 5)
    assert scene.source.outflow is None
    assert scene.sink.inflow is None
    scene.sink.write(b"more")
    await scene.expect(b"more")


async def test_a_receiver_that_does_not_read_stops_the_sender(scene: Scene, reactor: Reactor) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for start in range(0, 20 * len(BODY), 100_000):
            await scene.send(BODY[start % len(BODY) :][:100_000])
            sent += 100_000

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await scene.stuck()
        before = -1
        while before != sent:
            before = sent
            await trio.sleep(0.05)
        assert sent < 15 * len(BODY)
        assert scene.sink.buffered == 0
        batches = reactor.batches
        await trio.sleep(0.05)
        assert reactor.batches - batches < 20, "it must sleep while nobody can go on"
        await scene.expect(BODY)
        nursery.cancel_scope.cancel()


async def test_the_end_comes_behind_all_bytes(scene: Scene) -> None:
    scene.source.splice_to(scene.sink, len(BODY) + 1, scene.source_owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY)
        await scene.expect(BODY)
    scene.sender.shutdown(socket.SHUT_WR)
    await eventually(lambda: scene.source_owner.told == ["eof"])


async def test_a_source_that_is_closed_leaves_nothing_behind_in_the_pipe(scene: Scene, reactor: Reactor) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY * 5)
        await scene.stuck()
        nursery.cancel_scope.cancel()
    received = scene.source.bytes_in
    scene.source.close()
    assert scene.sink.bytes_out + scene.sink.buffered == received
    await scene.expect((BODY * 5)[:received])
    assert reactor.pipes.in_use == 0


async def test_a_peer_that_resets_after_its_last_byte_has_said_all(reactor: Reactor) -> None:
    pairs = (tcp_pair(), tcp_pair())
    scene, body = Scene(reactor, pairs), BODY[:60_000]
    full = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            full += BODY[: pairs[1][0].send(BODY)]
    scene.source.pause()
    await scene.send(body)
    scene.source.splice_to(scene.sink, len(body), scene.source_owner)
    scene.source.resume()
    await eventually(lambda: scene.source_owner.passed == len(body))
    assert scene.sink.inflow is not None
    assert scene.sink.inflow.held > 0
    scene.sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    scene.sender.close()
    await eventually(lambda: scene.source_owner.told == ["done", "lost"])
    await scene.expect(full + body)
    for sock in (*pairs[0], *pairs[1]):
        sock.close()


async def test_a_sink_that_is_closed_gives_the_source_back(scene: Scene, reactor: Reactor) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY * 5)
        await scene.stuck()
        scene.sink.close()
        assert reactor.pipes.in_use == 0
        await eventually(lambda: len(scene.source_owner.data) > 100_000)
        nursery.cancel_scope.cancel()
    at = scene.source_owner.passed
    assert scene.source_owner.data == (BODY * 5)[at : at + len(scene.source_owner.data)]


async def test_a_receiver_that_goes_away_is_told_to_the_owner_of_the_sink(scene: Scene) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    scene.receiver.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY)
        await eventually(lambda: "lost" in scene.sink_owner.told)
        nursery.cancel_scope.cancel()


async def test_what_others_write_comes_behind_what_the_pipe_holds(scene: Scene) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.send, BODY * 5)
        await scene.stuck()
        nursery.cancel_scope.cancel()
    scene.source.pause()
    before = scene.source.bytes_in
    scene.sink.write(b"!")
    await scene.expect((BODY * 5)[:before] + b"!")
    scene.source.resume()
    await scene.expect((BODY * 5)[before : before + 1])


async def test_pausing_holds_and_resuming_goes_on(scene: Scene) -> None:
    scene.source.splice_to(scene.sink, None, scene.source_owner)
    scene.source.pause()
    await scene.send(b"a" * 1000)
    await trio.sleep(0.05)
    assert scene.source_owner.passed == 0
    scene.source.resume()
    await scene.expect(b"a" * 1000)


async def test_without_a_pipe_bytes_reach_the_owner(scene: Scene, reactor: Reactor) -> None:
    taken = [reactor.pipes.take() for _ in range(MAX_PIPES)]
    scene.source.splice_to(scene.sink, 10, scene.source_owner)
    await scene.send(b"0123456789")
    await eventually(lambda: scene.source_owner.data == b"0123456789")
    assert reactor.pipes.refused == 1
    assert scene.sink.inflow is None
    for pipe in taken:
        assert pipe is not None
        reactor.pipes.give_back(pipe, empty=True)
    assert reactor.pipes.in_use == 0
    assert len(reactor.pipes._spare) == MAX_SPARE_PIPES


async def test_what_is_closed_or_busy_cannot_be_joined(scene: Scene) -> None:
    assert scene.source.splice_to(scene.sink, None, scene.source_owner)
    assert not scene.source.splice_to(scene.sink, None, scene.source_owner)
    scene.sink.close()
    assert not scene.source.splice_to(scene.sink, None, scene.source_owner)


async def test_a_relay_passes_large_flows_both_ways_and_their_ends(reactor: Reactor, pairs: tuple[Pair, Pair]) -> None:
    ended: list[tuple[int, int]] = []
    scene = Scene(reactor, pairs)
    relay = Relay(reactor, scene.source, scene.sink, 0.0, lambda down, up: ended.append((down, up)))
    relay.start()
    back = BODY[::-1] + BODY
    spliced = False

    async def answer() -> None:
        view = memoryview(back)
        while view:
            await trio.lowlevel.wait_writable(scene.receiver)
            view = view[scene.receiver.send(view) :]
        scene.receiver.shutdown(socket.SHUT_WR)

    async def hear() -> None:
        got = bytearray()
        while len(got) < len(back):
            await trio.lowlevel.wait_readable(scene.sender)
            got += scene.sender.recv(1_000_000)
        assert bytes(got) == back

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            nursery.start_soon(hear)
            nursery.start_soon(scene.send, BODY)
            await scene.expect(BODY)
            spliced = scene.source.outflow is not None
        scene.sender.shutdown(socket.SHUT_WR)
        await eventually(lambda: ended == [(len(back), len(BODY))])
    assert spliced
    assert reactor.pipes.in_use == 0
