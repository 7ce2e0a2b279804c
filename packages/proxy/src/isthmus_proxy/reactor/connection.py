"""One TCP connection in the reactor: reads go to its receiver, writes are gathered and sent once a batch.

Back-pressure is by watermarks, as Envoy's: when more than ``high_watermark`` bytes wait to be sent the receiver is told,
and pauses whoever feeds this connection; when less than half of that is left it is told again.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.reactor.reactor import ERROR, HANGUP, READ, WRITE, Reactor
from isthmus_proxy.reactor.splice import Passenger, Splice

if TYPE_CHECKING:
    from isthmus_proxy.tls.info import TlsInfo

RECEIVE_BYTES = 65536
"""Bytes read from one peer in one batch: bounds the work and the memory of a batch."""

LARGE_RECEIVE_BYTES = 262144
"""The same of a peer whose last read filled its buffer. With many large bodies at once this halves their cost: fewer system calls,
and fewer turns at which another connection's bytes push these out of the processor's cache. More is slower again."""

_SEND_PARTS = 256
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.ETIMEDOUT})


class Receiver(Protocol):
    """Who owns a connection. Each method may close it; none may raise."""

    def data_received(self, data: bytes) -> None:
        """Bytes came in; ``data`` is not empty."""

    def eof_received(self) -> None:
        """The peer will send no more (it may still read)."""

    def connection_lost(self, error: OSError) -> None:
        """The connection broke; it is closed already."""

    def high_watermark_reached(self) -> None:
        """Too much waits to be sent: stop producing."""

    def low_watermark_reached(self) -> None:
        """Little waits to be sent again: go on producing."""

    def drained(self) -> None:
        """What ``close_after_flush`` waited for is sent, and the connection closed."""


class Connection:
    """A connected, non-blocking socket. ``bytes_in`` and ``bytes_out`` count what passed; ``buffered`` what waits to be sent.

    ``outflow`` takes what is read straight to another connection, ``inflow`` brings what another one reads.
    """

    __slots__ = (
        "_above", "_closing", "_data_received", "_dirty", "_eof", "_events", "_fin_sent", "_out", "_paused", "_reactor", "_receive_bytes",
        "_receiver", "_recv", "_send", "_shutdown", "_stalled", "_watching", "buffered", "bytes_in", "bytes_out", "closed", "fd",
        "high_watermark", "inflow", "outflow", "sock",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, high_watermark: int) -> None:
        self._reactor = reactor
        self.sock = sock
        self.fd = sock.fileno()
        self.high_watermark = high_watermark
        self._recv = sock.recv
        self._receive_bytes = RECEIVE_BYTES
        self._send = sock.send
        self._out: list[bytes | memoryview] = []
        self.buffered = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self._dirty = False
        self._above = False
        self._paused = False
        self._stalled = False
        self.outflow: Splice | None = None
        self.inflow: Splice | None = None
        self._eof = False
        self._shutdown = False
        self._fin_sent = False
        self._closing = False
        self.closed = False
        self._watching = False
        self._events = 0
        self.set_receiver(receiver)

    def start(self) -> None:
        """Begin to read."""
        self._events = READ
        self._reactor.register(self.fd, READ, self._ready)
        self._watching = True

    def adopt(self) -> None:
        """Begin to read on a socket that the reactor already watches (it was being connected)."""
        self._events = READ
        self._reactor.modify(self.fd, READ)
        self._reactor.set_handler(self.fd, self._ready)
        self._watching = True

    def set_receiver(self, receiver: Receiver) -> None:
        """Hand the connection to another owner."""
        self._receiver = receiver
        self._data_received = receiver.data_received

    @property
    def tls(self) -> TlsInfo | None:
        """What is known of a connection over TLS whose handshake is done (``tls_connection.TlsConnection``)."""
        return None

    @property
    def blocked(self) -> bool:
        """Whether more than the high watermark waited to be sent, and not enough of it has gone since."""
        return self._above

    @property
    def flushed(self) -> bool:
        """Whether all that was written has been handed to the kernel."""
        return not self._out and (self.inflow is None or not self.inflow.held)

    @property
    def idle_output(self) -> bool:
        """Whether nothing waits to be sent before what ``inflow`` brings, nor for the end of the batch."""
        return not self._out and not self._dirty and not self._events & WRITE

    @property
    def plain(self) -> bool:
        """Whether what the socket carries is what its owner reads and writes."""
        return True

    def splice_to(self, sink: Connection, length: int | None, owner: Passenger) -> bool:
        """Pass the next ``length`` bytes (None: all until the end) to ``sink``; False if they have to be copied."""
        possible = (
            self.plain
            and sink.plain
            and self.outflow is None
            and sink.inflow is None
            and not (self._eof or self.closed or sink.closed or sink._shutdown)
        )
        if possible:
            Splice(self._reactor.pipes, self, sink, length, owner)
        return possible

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of the batch. Nothing happens on a closed connection."""
        if self.closed or self._shutdown:
            return
        if self.inflow is not None and self.inflow.held:
            self.inflow.spill()
        self._out.append(data)
        self.buffered += len(data)
        if not self._dirty:
            self._dirty = True
            self._reactor.flush_later(self)
        if self.buffered > self.high_watermark and not self._above:
            self._above = True
            self._receiver.high_watermark_reached()

    def pause(self) -> None:
        """Stop reading; the kernel's buffer fills and the peer slows down."""
        if not self._paused:
            self._paused = True
            self._watch(self._events & ~READ)

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.closed:
            self._paused = False
            if not self._eof and not self._stalled:
                self._watch(self._events | READ)

    def stall(self) -> None:
        """What was read has not been passed on yet: read no more before it has."""
        self._stalled = True
        self._watch(self._events & ~READ)

    def unstall(self) -> None:
        """It has been passed on."""
        if self._stalled:
            self._stalled = False
            if not (self._paused or self._eof or self.closed):
                self._watch(self._events | READ)

    def shutdown(self) -> None:
        """Send what is pending, then a FIN. Reading goes on."""
        if not self._shutdown and not self.closed:
            self._shutdown = True
            if not self._dirty:
                self._dirty = True
                self._reactor.flush_later(self)

    def close_after_flush(self) -> None:
        """Send what is pending, then close. The owner sets the deadline."""
        if self.closed:
            return
        self._closing = True
        if not self._dirty:
            self._dirty = True
            self._reactor.flush_later(self)

    def close(self) -> None:
        """Close at once; what is pending is dropped."""
        if self.closed:
            return
        self.closed = True
        if self.outflow is not None:
            self.outflow.source_closed()
        if self.inflow is not None:
            self.inflow.sink_closed()
        self._out.clear()
        self.buffered = 0
        self._watching = False
        self._reactor.close(self.sock)

    def abort(self) -> None:
        """Close at once with a RST, so that the peer knows that data is missing."""
        if not self.closed:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def broke(self, error: OSError) -> None:
        """Another found that the connection is broken: end it, and tell its owner."""
        self._lost(error)

    def faulted(self) -> None:
        """Something raised while it served this connection: end it, and let its owner account for it."""
        if not self.closed:
            self._watching = False
            self._lost(OSError(errno.EIO, "an internal error ended the connection"))

    def flush(self) -> None:
        """Send what is pending: one system call, more only if the socket takes more than one call's worth."""
        self._dirty = False
        if self.closed:
            return
        out = self._out
        try:
            while out:
                sent = self._send(out[0]) if len(out) == 1 else self.sock.sendmsg(out[:_SEND_PARTS])
                self.bytes_out += sent
                self.buffered -= sent
                if self.buffered == 0:
                    out.clear()
                elif not self._drop(sent):
                    break
            inflow = self.inflow
            if inflow is not None and not out and inflow.drain() and inflow.complete:
                inflow.finish()
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(error)
            return
        self._after_flush()

    def _drop(self, sent: int) -> bool:
        """Take ``sent`` bytes off the queue; answer whether the kernel took all that it was offered."""
        out = self._out
        gone = 0
        while gone < len(out) and gone < _SEND_PARTS and sent >= len(out[gone]):
            sent -= len(out[gone])
            gone += 1
        complete = sent == 0 and gone == min(len(out), _SEND_PARTS)
        del out[:gone]
        if sent:
            out[0] = memoryview(out[0])[sent:]
        return complete

    def _after_flush(self) -> None:
        waiting = bool(self._out) or (self.inflow is not None and self.inflow.held > 0)
        if waiting:
            if not self._events & WRITE:
                self._watch(self._events | WRITE)
        elif self._events & WRITE:
            self._watch(self._events & ~WRITE)
        if self._above and self.buffered <= self.high_watermark // 2:
            self._above = False
            self._receiver.low_watermark_reached()
        if not waiting and not self._out and not self.closed:
            if self._closing:
                self.close()
                self._receiver.drained()
            elif self._shutdown and not self._fin_sent:
                self._send_fin()

    def _send_fin(self) -> None:
        self._fin_sent = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lost(error)

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self.flush()
            if self.closed:
                return
        if mask & READ and not self._paused:
            if self.outflow is None:
                self._receive()
            else:
                self.outflow.fill()
        elif mask & (ERROR | HANGUP):
            self._broken(mask)

    def read(self) -> None:
        """Read what there is, as if the socket were just found readable."""
        if not self._paused and not self.closed:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._recv(self._receive_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            size = len(data)
            self.bytes_in += size
            self._receive_bytes = RECEIVE_BYTES if size < RECEIVE_BYTES else LARGE_RECEIVE_BYTES
            self._data_received(data)
        else:
            self._eof = True
            self._watch(self._events & ~READ)
            self._receiver.eof_received()

    def _broken(self, mask: int) -> None:
        """The peer went away while nothing is read: an error is final, a mere hang-up may hide unread data."""
        if mask & ERROR or self._eof:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._lost(OSError(code or errno.ECONNRESET, "connection closed by the peer"))
        else:
            self._reactor.unregister(self.fd)
            self._watching = False

    def _watch(self, events: int) -> None:
        """Wait for ``events``. A connection that left the set on a hang-up comes back once something is wanted of it."""
        self._events = events
        if self.closed:
            return
        if self._watching:
            self._reactor.modify(self.fd, events)
        elif events:
            self._reactor.register(self.fd, events, self._ready)
            self._watching = True

    def _lost(self, error: OSError) -> None:
        self.close()
        self._receiver.connection_lost(error)
