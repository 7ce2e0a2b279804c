"""A connection of the reactor over TLS: what its owner reads and writes is plain, what the socket carries is not.

Each batch decrypts all that is there and hands it on as one piece, and encrypts what was written into one write. Until the
handshake is done, what is written waits and the owner hears nothing.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.reactor.connection import LARGE_RECEIVE_BYTES, RECEIVE_BYTES, Connection, Receiver
from isthmus_proxy.reactor.reactor import READ, WRITE, Reactor, Timer
from isthmus_proxy.tls.failure import TlsFailure, broken

if TYPE_CHECKING:
    from isthmus_proxy.tls.engine import TlsEngine
    from isthmus_proxy.tls.info import TlsInfo


class Handshake(Protocol):
    """Who is told how the handshake went: the TLS settings of a filter chain or of a cluster."""

    def accepted(self, engine: TlsEngine) -> None:
        """It is done. Raises TlsFailure if the peer is not to be spoken to after all."""

    def ready(self) -> None:
        """The connection is of use now."""

    def received(self, engine: TlsEngine) -> None:
        """The first bytes of the application came: tickets that the server gave are there as well."""

    def failed(self, failure: TlsFailure) -> None:
        """It failed, or a record did later on."""

    def timed_out(self) -> None:
        """It took too long."""


class TlsConnection(Connection):
    """See the module. ``buffered`` counts what waits to be encrypted as well as what is."""

    __slots__ = ("_engine", "_fresh", "_handshake", "_held", "_notified", "_plain", "_time_limit", "_waits")

    def __init__(
        self, reactor: Reactor, sock: socket.socket, receiver: Receiver, high_watermark: int, engine: TlsEngine, handshake: Handshake
    ) -> None:  # fmt: skip
        self._engine = engine
        self._handshake = handshake
        self._plain: list[bytes] = []
        self._held = b""
        self._waits = False
        self._fresh = True
        self._notified = False
        self._time_limit: Timer | None = None
        super().__init__(reactor, sock, receiver, high_watermark)

    @property
    def tls(self) -> TlsInfo | None:
        """See Connection."""
        return self._engine.info

    @property
    def plain(self) -> bool:
        """See Connection."""
        return False

    @property
    def flushed(self) -> bool:
        """See Connection."""
        return not self._out and not self._plain

    def limit_handshake(self, seconds: float) -> None:
        """Close unless the handshake is done in ``seconds``."""
        self._time_limit = self._reactor.call_later(seconds, self._too_slow)

    def ask_too(self, judge: Callable[[Handshake], Handshake]) -> None:
        """Put somebody who is told too, and may refuse the peer, before who is told how the handshake went."""
        self._handshake = judge(self._handshake)

    def begin(self) -> None:
        """Say the first word: the client's side of a handshake."""
        self._advance(b"")

    # ---- from the peer ----

    def _receive(self) -> None:
        try:
            data = self._recv(self._receive_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error if self._engine.established else broken(error))
            return
        size = len(data)
        if size:
            self.bytes_in += size
            self._receive_bytes = RECEIVE_BYTES if size < RECEIVE_BYTES else LARGE_RECEIVE_BYTES
            self._advance(data)
        else:
            self._watch(self._events & ~READ)
            self._ended()

    def _advance(self, data: bytes) -> None:
        engine = self._engine
        handshaking = not engine.established
        try:
            plain = engine.receive(data)
            if handshaking and engine.established:
                self._handshake.accepted(engine)
        except TlsFailure as failure:
            self._fail(failure)
            return
        if handshaking and engine.established:
            self._stop_clock()
            if self._waits:
                super().pause()
            self._handshake.ready()
            if self.closed:
                return
        if engine.has_output or (self._plain and engine.established):
            self._flush_soon()
        if plain:
            self._deliver(plain)
        if engine.ended and not self.closed:
            self._ended()

    def _deliver(self, plain: bytes) -> None:
        if self._fresh:
            self._fresh = False
            self._handshake.received(self._engine)
        if self._paused:  # it came along with the end of the handshake, which goes on while nothing is read
            self._held += plain
        else:
            self._data_received(plain)

    def _ended(self) -> None:
        """The peer will send no more."""
        if self._eof:
            return
        self._eof = True
        if not self._engine.established:
            self._lost(TlsFailure(""))  # Envoy's logs give no reason either
        elif not self._held:
            self._receiver.eof_received()

    def pause(self) -> None:
        """See Connection. A handshake goes on."""
        if self._engine.established:
            super().pause()
        else:
            self._waits = True

    def resume(self) -> None:
        """See Connection."""
        self._waits = False
        if self._held:
            self._reactor.call_soon(self._deliver_held)
        super().resume()

    def _deliver_held(self) -> None:
        held, self._held = self._held, b""
        if self.closed or not held:
            return
        if self._paused:
            self._held = held
            return
        self._data_received(held)
        if self._eof and not self.closed:
            self._receiver.eof_received()

    # ---- to the peer ----

    def write(self, data: bytes) -> None:
        """See Connection."""
        if self.closed or self._shutdown:
            return
        self._plain.append(data)
        self.buffered += len(data)
        self._flush_soon()
        if self.buffered > self.high_watermark and not self._above:
            self._above = True
            self._receiver.high_watermark_reached()

    def _flush_soon(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._reactor.flush_later(self)

    def flush(self) -> None:
        """See Connection."""
        engine = self._engine
        if engine.established and not self.closed:
            try:
                self._encrypt(engine)
            except TlsFailure as failure:
                self._dirty = False
                self._fail(failure)
                return
        self._queue(engine)
        super().flush()

    def _encrypt(self, engine: TlsEngine) -> None:
        plain = self._plain
        if plain:
            data = plain[0] if len(plain) == 1 else b"".join(plain)
            plain.clear()
            self.buffered -= len(data)
            engine.send(data)
        if (self._shutdown or self._closing) and not self._notified:
            self._notified = True
            engine.close_notify()

    def _queue(self, engine: TlsEngine) -> None:
        if engine.has_output and not self.closed:
            sealed = engine.take()
            self._out.append(sealed)
            self.buffered += len(sealed)

    def _after_flush(self) -> None:
        if not self._plain:
            super()._after_flush()
        elif self._out:  # what waits for the handshake is neither dropped nor followed by an end
            if not self._events & WRITE:
                self._watch(self._events | WRITE)
        elif self._events & WRITE:
            self._watch(self._events & ~WRITE)

    # ---- the end ----

    def close(self) -> None:
        """See Connection. The peer is told, unless something that was written is dropped."""
        if self.closed:
            return
        self._stop_clock()
        if not self._notified and not self._out and not self._plain:
            self._notified = True
            self._engine.close_notify()
            self._send_now()
        self._plain.clear()
        self._held = b""
        super().close()

    def abort(self) -> None:
        """See Connection."""
        self._notified = True
        super().abort()

    def _lost(self, error: OSError) -> None:
        self._notified = True
        super()._lost(error)

    def _fail(self, failure: TlsFailure) -> None:
        """Tell the peer by an alert, and the owner."""
        self._notified = True
        if not self._out:
            self._send_now()
        self._handshake.failed(failure)
        self._lost(failure)

    def _send_now(self) -> None:
        """Send what the engine has to say last, if the kernel takes it."""
        data = self._engine.take()
        if data:
            with contextlib.suppress(OSError):
                self.sock.send(data)

    def _stop_clock(self) -> None:
        if self._time_limit is not None:
            self._time_limit.discard()
            self._time_limit = None

    def _too_slow(self) -> None:
        self._handshake.timed_out()
        self._lost(OSError(errno.ETIMEDOUT, "the TLS handshake took too long"))
