"""The reactor under trio: events, timers, wake-ups from other tasks, faults of handlers, idleness, fairness."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import READ, Reactor
from isthmus_proxy.testing import eventually

pytestmark = pytest.mark.trio

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
async def reactor() -> AsyncIterator[Reactor]:
    async with trio.open_nursery() as nursery:
        reactor = Reactor()
        await nursery.start(reactor.run)
        yield reactor
        nursery.cancel_scope.cancel()


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


class Collector:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []

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


async def test_reads_and_writes(reactor: Reactor, pair: Pair) -> None:
    collector = Collector()
    connection = Connection(reactor, pair[0], collector, 1000)
    connection.start()
    pair[1].send(b"hello")
    await eventually(lambda: collector.data == b"hello")
    connection.write(b"wo")
    connection.write(b"rld")
    await trio.lowlevel.wait_readable(pair[1])
    assert pair[1].recv(100) == b"world"
    assert (connection.bytes_in, connection.bytes_out, connection.buffered) == (5, 5, 0)
    pair[1].close()
    await eventually(lambda: collector.told[:1] == ["eof"])
    connection.close()


async def test_polling_busily_serves_timers_and_other_tasks_and_ends(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        reactor = Reactor(busy_poll=0.5)
        await nursery.start(reactor.run)
        collector = Collector()
        connection = Connection(reactor, pair[0], collector, 1000)
        connection.start()
        fired: list[int] = []
        reactor.call_later(0.3, lambda: fired.append(1))
        turns = 0
        pair[1].send(b"a")
        while not (collector.data and fired):
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns > 1
        pair[1].send(b"b")
        await eventually(lambda: collector.data == b"ab")
        # Only a reactor that sleeps lets all tasks be blocked.
        await trio.testing.wait_all_tasks_blocked()
        connection.close()
        nursery.cancel_scope.cancel()


async def test_watermarks_bound_what_waits(reactor: Reactor, pair: Pair) -> None:
    collector = Collector()
    connection = Connection(reactor, pair[0], collector, 1_000_000)
    connection.start()
    block = bytes(range(256)) * 400
    written = 0
    while "high" not in collector.told:
        connection.write(block)
        written += len(block)
        await trio.lowlevel.checkpoint()
    assert connection.blocked
    got = bytearray()
    while len(got) < written:
        await trio.lowlevel.wait_readable(pair[1])
        got += pair[1].recv(1_000_000)
    assert got == block * (written // len(block))
    await eventually(lambda: collector.told == ["high", "low"])
    connection.close()


async def test_pausing_stops_reading_and_a_reset_is_still_noticed(reactor: Reactor) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    server.close()
    accepted.setblocking(False)
    collector = Collector()
    connection = Connection(reactor, accepted, collector, 1000)
    connection.start()
    connection.pause()
    client.send(b"unread")
    await trio.testing.wait_all_tasks_blocked()
    assert collector.data == b""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await eventually(lambda: collector.told == ["lost"])
    assert connection.closed


async def test_close_after_flush_and_half_close(reactor: Reactor, pair: Pair) -> None:
    collector = Collector()
    connection = Connection(reactor, pair[0], collector, 1000)
    connection.start()
    connection.write(b"a")
    connection.shutdown()
    connection.write(b"too late")
    await trio.lowlevel.wait_readable(pair[1])
    assert pair[1].recv(100) == b"a"
    await trio.lowlevel.wait_readable(pair[1])
    assert pair[1].recv(100) == b""
    pair[1].send(b"b")
    await eventually(lambda: collector.data == b"b")
    connection.close_after_flush()
    await eventually(lambda: connection.closed)
    assert collector.told == ["drained"]


async def test_timers_set_by_other_tasks_run(reactor: Reactor) -> None:
    ran: list[str] = []
    reactor.call_later(0.02, lambda: ran.append("late"))
    reactor.call_later(0.001, lambda: ran.append("early"))
    await eventually(lambda: ran == ["early", "late"])
    reactor.call_soon(lambda: ran.append("soon"))
    await eventually(lambda: ran[2:] == ["soon"])


async def test_a_fault_in_one_handler_does_not_stop_the_others(
    reactor: Reactor, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(_mask: int) -> None:
        raise RuntimeError("broken")

    def broken() -> None:
        raise RuntimeError("broken")

    caplog.set_level(logging.CRITICAL)
    reactor.register(pair[0].fileno(), READ, faulty)
    reactor.call_soon(broken)
    reactor.call_later(0, broken)
    pair[1].send(b"x")
    await eventually(lambda: reactor.statistics().handler_errors == 3)
    await trio.lowlevel.wait_readable(pair[1])
    assert pair[1].recv(1) == b""
    ran: list[int] = []
    reactor.call_soon(lambda: ran.append(1))
    await eventually(lambda: ran == [1])


async def test_a_connection_whose_receiver_raised_is_lost_to_its_owner(
    reactor: Reactor, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Its owner must account for it like for any other end: a drain would wait for it for ever."""

    class Faulty(Collector):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("broken")

    caplog.set_level(logging.CRITICAL)
    receiver = Faulty()
    connection = Connection(reactor, pair[0], receiver, 1000)
    connection.start()
    pair[1].send(b"x")
    await eventually(lambda: receiver.told == ["lost"])
    assert connection.closed
    assert reactor.statistics().handler_errors == 1
    await trio.lowlevel.wait_readable(pair[1])
    assert pair[1].recv(1) == b""


async def test_an_idle_reactor_is_not_woken(reactor: Reactor) -> None:
    reactor.call_later(3600, lambda: None)
    await trio.testing.wait_all_tasks_blocked()
    before = reactor.statistics().batches
    for _ in range(20):
        await trio.sleep(0.001)
    assert reactor.statistics().batches == before


async def test_other_tasks_get_their_turn_under_load(reactor: Reactor, pair: Pair) -> None:
    """A connection that is always ready must not starve trio."""

    class Echo(Collector):
        def data_received(self, data: bytes) -> None:
            connections[0].write(data)

    class Back(Collector):
        def data_received(self, data: bytes) -> None:
            connections[1].write(data)

    connections = [Connection(reactor, pair[0], Back(), 10), Connection(reactor, pair[1], Echo(), 10)]
    for connection in connections:
        connection.start()
    connections[0].write(b"ball")
    turns = 0
    with trio.fail_after(20):
        while reactor.statistics().events < 20_000:
            turns += 1
            await trio.lowlevel.checkpoint()
    assert turns > 20
    for connection in connections:
        connection.close()


async def test_a_descriptor_number_is_not_reused_within_a_batch(reactor: Reactor) -> None:
    """An event of a closed connection never reaches the connection that got its number."""
    first, other = socket.socketpair()
    second, third = socket.socketpair()
    for sock in (first, second):
        sock.setblocking(False)
    seen: list[str] = []

    def close_the_other(_mask: int) -> None:
        seen.append("ran")
        for sock in (first, second):
            reactor.close(sock)
        fresh = socket.socket()
        assert fresh.fileno() not in (first.fileno(), second.fileno())
        fresh.close()

    reactor.register(first.fileno(), READ, close_the_other)
    reactor.register(second.fileno(), READ, close_the_other)
    other.send(b"x")
    third.send(b"x")
    await eventually(lambda: first.fileno() == -1 and second.fileno() == -1)
    assert seen == ["ran"]
    other.close()
    third.close()
