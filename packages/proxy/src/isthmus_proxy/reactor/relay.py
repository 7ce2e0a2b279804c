"""Bytes both ways between two connections, or streams of such, as they are: half-close, back-pressure, idle timeout."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from isthmus_proxy.reactor.connection import RECEIVE_BYTES, Connection, Receiver
from isthmus_proxy.reactor.reactor import NEVER, Reactor

_STALLED_AFTER = 60.0
"""Seconds without progress after which what is still to be sent to a peer is given up, once the other side has closed."""

IDLE = "idle"
DOWNSTREAM_RESET = "downstream reset"
UPSTREAM_RESET = "upstream reset"


class RelayEnd(Protocol):
    """One side of a relay: a connection, or a stream of one."""

    closed: bool
    bytes_out: int

    def set_receiver(self, receiver: Receiver) -> None:
        """From now on ``receiver`` gets what comes in."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def shutdown(self) -> None:
        """Send no more behind what waits; go on receiving."""

    def pause(self) -> None:
        """Take no more in."""

    def resume(self) -> None:
        """Take more in."""

    def close_after_flush(self) -> None:
        """Close once everything is sent."""

    def close(self) -> None:
        """Close at once."""

    def abort(self) -> None:
        """Close with a reset."""


class _Side:
    """Receives what ``source`` reads and gives it to ``sink``; hears of ``source``'s own write buffer, too."""

    __slots__ = ("_relay", "eof", "received", "sink", "source")

    def __init__(self, relay: Relay, source: RelayEnd, sink: RelayEnd) -> None:
        self._relay = relay
        self.source = source
        self.sink = sink
        self.eof = False
        self.received = 0

    def data_received(self, data: bytes) -> None:
        """Pass on; what is large goes on by itself from then on."""
        self.received += len(data)
        self._relay.moved()
        self.sink.write(data)
        if len(data) >= RECEIVE_BYTES:
            self._splice()

    def _splice(self) -> None:
        source, sink = self.source, self.sink
        if isinstance(source, Connection) and isinstance(sink, Connection) and source.outflow is None:
            source.splice_to(sink, None, self)

    def spliced(self, size: int) -> None:
        """So much went straight to ``sink``."""
        self.received += size
        self._relay.moved()

    def splice_done(self) -> None:
        """Not used: it ends with the connection."""

    def eof_received(self) -> None:
        """Pass the half-close on, behind the data."""
        self.eof = True
        self.sink.shutdown()
        self._relay.half_closed()

    def connection_lost(self, error: OSError) -> None:
        """One side broke: the other gets what is there already, then its end."""
        if error.errno == errno.ECONNRESET:
            self._relay.reset(self)
        else:
            self._relay.lost()

    def high_watermark_reached(self) -> None:
        """``source``'s peer reads too slowly: read no more from the other one."""
        self.sink.pause()

    def low_watermark_reached(self) -> None:
        """``source``'s peer has caught up."""
        self.sink.resume()

    def drained(self) -> None:
        """``source`` has sent all and is closed."""
        self._relay.drained()


class Relay:
    """Joins ``downstream`` and ``upstream``; calls ``closed(to downstream, from downstream)`` in bytes, once, at the end.

    ``ended_by`` says by what the relay ended, if it was not by the ends of both sides. With ``propagate_resets`` a reset of one
    side resets the other at once, as Envoy's TCP proxy does; without it gets what is there already.
    """

    __slots__ = (
        "_closed",
        "_closing",
        "_downstream",
        "_idle",
        "_progress",
        "_reactor",
        "_timer",
        "_upstream",
        "ended_by",
        "propagate_resets",
    )

    def __init__(
        self,
        reactor: Reactor,
        downstream: RelayEnd,
        upstream: RelayEnd,
        idle_timeout: float,
        closed: Callable[[int, int], None],
    ) -> None:
        self._reactor = reactor
        self._idle = idle_timeout or NEVER
        self._closed: Callable[[int, int], None] | None = closed
        self._closing = False
        self._progress = 0
        self.ended_by = ""
        self.propagate_resets = False
        self._downstream = _Side(self, downstream, upstream)
        self._upstream = _Side(self, upstream, downstream)
        self._timer = reactor.timer(self._timed_out)
        downstream.set_receiver(self._downstream)
        upstream.set_receiver(self._upstream)

    def start(self, from_downstream: bytes = b"", from_upstream: bytes = b"") -> None:
        """Relay, beginning with bytes that were read before."""
        self.moved()
        for side, data in ((self._downstream, from_downstream), (self._upstream, from_upstream)):
            if data:
                side.data_received(data)
            side.source.resume()

    def moved(self) -> None:
        """Something passed: the idle timeout starts anew."""
        self._timer.set(self._reactor.now + self._idle)

    def half_closed(self) -> None:
        """One side will send no more; when neither will, both are closed."""
        if self._downstream.eof and self._upstream.eof:
            self.lost()

    def reset(self, side: _Side) -> None:
        """One side was reset."""
        if not self._closing:
            self.ended_by = DOWNSTREAM_RESET if side is self._downstream else UPSTREAM_RESET
        if self.propagate_resets:
            side.sink.abort()
            self.drained()
        else:
            self.lost()

    def lost(self) -> None:
        """Close both sides, each after what is still to be sent to it."""
        self._closing = True
        for side in (self._downstream, self._upstream):
            side.source.close_after_flush()
        self._progress = self._sent()
        self._timer.set(self._reactor.now + _STALLED_AFTER)
        self.drained()

    def close(self) -> None:
        """Close both sides at once."""
        for side in (self._downstream, self._upstream):
            side.source.close()
        self.drained()

    def drained(self) -> None:
        """A side is closed; with the second the relay is over."""
        if self._closed is not None and self._downstream.source.closed and self._upstream.source.closed:
            closed, self._closed = self._closed, None
            self._timer.discard()
            closed(self._upstream.received, self._downstream.received)

    def _sent(self) -> int:
        return self._downstream.source.bytes_out + self._upstream.source.bytes_out

    def _timed_out(self) -> None:
        if self._closing and self._sent() != self._progress:
            self._progress = self._sent()
            self._timer.set(self._reactor.now + _STALLED_AFTER)
        else:
            if not self._closing:
                self.ended_by = IDLE
            self.close()
