"""One gRPC call on an HTTP/2 stream of a cluster: messages out, messages in, one outcome. Callbacks, from the reactor.

The call is a ``ResponseSink`` of the connection pools, as a proxied request is: it shares their connections, counts in the
cluster's stats, and waits where a circuit breaker makes it wait. It is not retried: that, and when, is its maker's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from isthmus_proxy.codec.http1.events import EndOfMessage, Event
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.grpc.framing import MessageReader, frame
from isthmus_proxy.grpc.status import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    GrpcError,
    Metadata,
    Outcome,
    outcome_of,
    refusal,
)
from isthmus_proxy.http.local_reply import PROTOCOL_ERROR
from isthmus_proxy.reactor.reactor import Reactor, Timer

if TYPE_CHECKING:
    from isthmus_proxy.upstream.http1_connection import Http1Connection
    from isthmus_proxy.upstream.http2_pool import Http2Pool
    from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream

_REASONS = {PROTOCOL_ERROR: "not HTTP/2, or broken; is it a gRPC server, and without TLS?"}


class CallListener(Protocol):
    """Who made a call. It is told from the reactor, never from within a method of the call, and must not raise."""

    def message_received(self, message: bytes) -> None:
        """One whole message came in."""

    def writable(self) -> None:
        """The call has its stream now, or the server has caught up: what ``send`` had said should wait need not."""

    def closed(self, outcome: Outcome) -> None:
        """The call is over. It comes once, last, and not after ``cancel``."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """Seconds: for the server's settings on a new connection, of silence before a ping, and for the answer to it.

    gRPC servers end a connection that pings more often than every five minutes without data (too_many_pings).
    """

    greeting: float = 10.0
    ping_after: float = 305.0
    ping_answer: float = 20.0


@dataclass(frozen=True, slots=True)
class CallOptions:
    """``timeout`` in seconds, None for none; ``authority`` is the cluster's name if empty; metadata names are in lower case.

    ``max_queued_bytes`` may wait to be sent: beyond that the call ends. ``liveness`` is for calls that stay open for long.
    """

    timeout: float | None = None
    metadata: Metadata = ()
    authority: str = ""
    max_message_bytes: int = 4 * 1024 * 1024
    max_queued_bytes: int = 4 * 1024 * 1024
    liveness: Liveness | None = None


class GrpcCall:
    """See the module; ``GrpcClient`` makes it. ``initial_metadata`` is there with the first message at the latest."""

    __slots__ = (
        "_blocked", "_head", "_listener", "_options", "_over", "_paused", "_pending", "_pool", "_reactor", "_reader", "_send_done",
        "_timer", "_upstream", "_waiting", "initial_metadata",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, head: bytes, listener: CallListener, options: CallOptions) -> None:
        self._reactor = reactor
        self._head = head
        self._listener = listener
        self._options = options
        self._reader = MessageReader(options.max_message_bytes)
        self._pool: Http2Pool | None = None
        self._upstream: Http2UpstreamStream | None = None
        self._waiting = False
        self._pending: list[bytes] = []
        self._send_done = False
        self._blocked = False
        self._paused = False
        self._over = False
        self._timer: Timer | None = None
        self.initial_metadata: Metadata = ()
        if options.timeout is not None:
            self._timer = reactor.timer(self._timed_out)
            self._timer.set(reactor.now + options.timeout)

    def begin(self, pool: Http2Pool) -> None:
        """Take a stream of ``pool``, or wait for one."""
        self._pool = pool
        taken = pool.acquire(self)
        if isinstance(taken, str):
            self._pool = None
            self.fail_soon(Outcome(UNAVAILABLE, f"not sent: {taken}"))
        elif taken is None:
            self._waiting = True
        else:
            self._start(taken)

    def fail_soon(self, outcome: Outcome) -> None:
        """End with ``outcome``, though not from within the caller's call."""
        self._reactor.call_soon(lambda: self._end(outcome))

    # ---- what its maker does ----

    @property
    def started(self) -> bool:
        """Whether the call has a stream: before that it waits for a connection."""
        return self._upstream is not None

    @property
    def queued(self) -> int:
        """Bytes that wait to be sent."""
        if self._upstream is not None:
            return self._upstream.unsent
        return sum(map(len, self._pending))

    def send(self, message: bytes) -> bool:
        """Send a message, or queue it. False: it waits, ``writable`` tells when to go on. Nothing happens on a call that is over."""
        if self._over or self._send_done:
            return False
        self._reactor.refresh()
        data = frame(message)
        if self.queued + len(data) > self._options.max_queued_bytes:
            self.fail_soon(Outcome(RESOURCE_EXHAUSTED, "the server takes none of what is sent to it"))
            return False
        if self._upstream is None:
            self._pending.append(data)
        else:
            self._upstream.send_body(data)
        return self._upstream is not None and not self._blocked

    def finish(self) -> None:
        """No more messages will be sent."""
        if self._over or self._send_done:
            return
        self._reactor.refresh()
        self._send_done = True
        if self._upstream is not None:
            self._upstream.send_end(())

    def cancel(self) -> None:
        """Give the call up: the server is told, the listener hears no more."""
        self._reactor.refresh()
        self._close()

    def pause(self) -> None:
        """Take no more than the stream's window allows already."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause()

    def resume(self) -> None:
        """Take more again."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume()

    # ---- what the pool and the stream tell (ResponseSink) ----

    def pool_ready(self, connection: Http1Connection | Http2UpstreamStream) -> None:
        """The stream waited for is there."""
        self._waiting = False
        self._start(cast("Http2UpstreamStream", connection))
        self._listener.writable()

    def _start(self, upstream: Http2UpstreamStream) -> None:
        self._upstream = upstream
        pending, self._pending = self._pending, []
        upstream.send_head(self, b"POST", self._head, done=False)
        liveness = self._options.liveness
        if liveness is not None:
            upstream.keep_alive(liveness.greeting, liveness.ping_after, liveness.ping_answer)
        if self._paused:
            upstream.pause()
        for data in pending:
            upstream.send_body(data)
        if self._send_done:
            upstream.send_end(())

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Parts of the answer."""
        for event in events:
            if self._over:
                return
            if isinstance(event, bytes):
                self._data(event)
            elif isinstance(event, ParsedResponse):
                if event.status < 200:
                    continue
                self.initial_metadata = event.headers
                outcome = refusal(event.status, event.headers)
                if outcome is not None:
                    self._end(outcome)
            elif isinstance(event, EndOfMessage):
                self._end(outcome_of(event.trailers))
        if done:
            self._end(Outcome(UNKNOWN, "the server ended the call without a status"))

    def _data(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except GrpcError as error:
            self._end(Outcome(error.status, error.message))
            return
        for message in messages:
            if self._over:
                return
            self._listener.message_received(message)

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The call is lost."""
        del sent, reused
        if self._waiting:
            self._waiting = False
            self._pool = None
        text = _REASONS.get(reason, reason)
        detail = transport.partition(":_")[2].replace("_", " ") or transport
        code = INTERNAL if reason == PROTOCOL_ERROR else UNAVAILABLE
        self._end(Outcome(code, f"{text}: {detail}" if detail else text))

    def upstream_blocked(self) -> None:
        """The server reads too slowly."""
        self._blocked = True

    def upstream_writable(self) -> None:
        """The server has caught up."""
        self._blocked = False
        if not self._over:
            self._listener.writable()

    # ---- the end ----

    def _timed_out(self) -> None:
        self._end(Outcome(DEADLINE_EXCEEDED, f"no answer within {self._options.timeout:g} s"))

    def _end(self, outcome: Outcome) -> None:
        if not self._over:
            self._close()
            self._listener.closed(outcome)

    def _close(self) -> None:
        if self._over:
            return
        self._over = True
        self._pending = []
        if self._timer is not None:
            self._timer.discard()
        pool, self._pool = self._pool, None
        upstream, self._upstream = self._upstream, None
        if pool is None:
            return
        if self._waiting:
            self._waiting = False
            pool.cancel(self)
            return
        pool.finished()
        if upstream is not None:
            upstream.reset(self)


UnaryDone = Callable[[bytes, Outcome], None]
"""Called with the answer and the outcome; without success the answer is empty."""


class UnaryListener:
    """Makes of a call's events the one of a unary call."""

    __slots__ = ("_answer", "_done")

    def __init__(self, done: UnaryDone) -> None:
        self._done = done
        self._answer: bytes | None = None

    def message_received(self, message: bytes) -> None:
        """The answer, or one too many: the last counts, since the outcome is what tells."""
        self._answer = message

    def writable(self) -> None:
        """There is nothing more to send."""

    def closed(self, outcome: Outcome) -> None:
        """The end: success needs an answer."""
        answer = self._answer
        if outcome.status:
            self._done(b"", outcome)
        elif answer is None:
            self._done(b"", Outcome(INTERNAL, "the server answered without a message", outcome.metadata))
        else:
            self._done(answer, outcome)
