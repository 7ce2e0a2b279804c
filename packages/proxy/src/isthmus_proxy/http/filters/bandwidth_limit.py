"""bandwidth_limit: lets bodies pass as fast as a token bucket of bytes is filled (envoy.extensions.filters.http.bandwidth_limit.v3).

The bucket is shared by all exchanges of the filter in one worker, and by both directions. What has no tokens waits for the next fill, in a
buffer that stops the sender when it holds more than the connection may keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    HOLD,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.runtime import Runtime


class ByteBucket:
    """``rate`` bytes a second, spread evenly, up to those of one second, which it begins with."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: int) -> None:
        self._rate = float(rate)
        self._tokens = self._rate
        self._at = float("inf")

    def take(self, wanted: int, now: float) -> int:
        """Take as many of ``wanted`` bytes as there are at ``now`` (seconds)."""
        self._tokens = min(self._rate, self._tokens + max(now - self._at, 0.0) * self._rate)
        self._at = now
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class BandwidthLimitConfig:
    """BandwidthLimit. ``rate`` in bytes a second, ``fill_interval`` in seconds; ``trailer_prefix`` None = no response trailers."""

    stat_prefix: str
    request: bool
    response: bool
    rate: int = 0
    fill_interval: float = 0.05
    runtime_key: str = ""
    enabled: bool = True
    trailer_prefix: bytes | None = None

    def make(self, context: FilterContext) -> BandwidthLimitFactory:
        """See ``FilterConfig``."""
        return BandwidthLimitFactory(self, context)


@dataclass(slots=True, eq=False)
class WayStats:
    """One direction below ``<stat_prefix>.http_bandwidth_limit.``"""

    enabled: Counter
    enforced: Counter
    incoming_total_size: Counter
    allowed_total_size: Counter
    pending: Gauge
    incoming_size: Gauge
    allowed_size: Gauge
    transfer_duration: Histogram


def way_stats(scope: StatsScope, way: str) -> WayStats:
    """The stats of ``way`` (request, response)."""
    counter, gauge = scope.counter, scope.gauge
    return WayStats(
        enabled=counter(f"{way}_enabled"),
        enforced=counter(f"{way}_enforced"),
        incoming_total_size=counter(f"{way}_incoming_total_size"),
        allowed_total_size=counter(f"{way}_allowed_total_size"),
        pending=gauge(f"{way}_pending"),
        incoming_size=gauge(f"{way}_incoming_size"),
        allowed_size=gauge(f"{way}_allowed_size"),
        transfer_duration=scope.histogram(f"{way}_transfer_duration"),
    )


class Limit:
    """One configuration in use: its bucket and what it counts."""

    __slots__ = ("bucket", "config", "request", "response", "runtime")

    def __init__(self, config: BandwidthLimitConfig, context: FilterContext) -> None:
        scope = context.scope(f"{config.stat_prefix}.http_bandwidth_limit")
        self.config = config
        self.bucket = ByteBucket(config.rate)
        self.request = way_stats(scope, "request")
        self.response = way_stats(scope, "response")
        self.runtime: Runtime = context.runtime

    @property
    def enabled(self) -> bool:
        """Whether the run-time layer, or the configuration where that says nothing, lets it limit."""
        config = self.config
        return self.runtime.boolean(config.runtime_key, config.enabled) if config.runtime_key else config.enabled


class BandwidthLimitFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_context", "_own", "_routes")

    def __init__(self, config: BandwidthLimitConfig, context: FilterContext) -> None:
        self._own = Limit(config, context)
        self._context = context
        self._routes: WeakKeyDictionary[BandwidthLimitConfig, Limit] = WeakKeyDictionary()

    def create(self, callbacks: FilterCallbacks, overrides: tuple[BandwidthLimitConfig, ...]) -> BandwidthLimit | None:
        """A filter for one exchange; a route's configuration has a bucket of its own."""
        limit = self._limit(overrides[-1]) if overrides else self._own
        return BandwidthLimit(callbacks, limit) if limit.config.request or limit.config.response else None

    def _limit(self, config: BandwidthLimitConfig) -> Limit:
        limit = self._routes.get(config)
        if limit is None:
            limit = self._routes[config] = Limit(config, self._context)
        return limit


class Timing(Protocol):
    """What a valve needs of its exchange (``FilterCallbacks``)."""

    @property
    def buffer_limit(self) -> int:
        """Bytes that may wait."""

    @property
    def now(self) -> float:
        """A monotonic clock, in seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back in ``delay`` seconds."""


class Valve:
    """One direction of one exchange. ``write`` takes what goes on later, ``go_on`` is called when a held end may follow.

    ``hold`` and ``release`` stop and start the sender, when more than ``capacity`` bytes wait here and when half of that is gone.
    """

    __slots__ = (
        "_bucket", "_buffer", "_capacity", "_ending", "_go_on", "_held", "_hold", "_interval", "_over", "_release", "_started_at",
        "_stats", "_timer", "_timing", "_write", "delay", "duration",
    )  # fmt: skip

    def __init__(
        self,
        timing: Timing,
        bucket: ByteBucket,
        interval: float,
        stats: WayStats,
        write: Callable[[bytes], None],
        go_on: Callable[[], None],
        hold: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._timing = timing
        self._bucket = bucket
        self._interval = interval
        self._stats = stats
        self._write = write
        self._go_on = go_on
        self._hold = hold
        self._release = release
        self._capacity = timing.buffer_limit
        self._buffer = bytearray()
        self._held = False
        self._ending = False
        self._over = False
        self._timer: Timer | None = None
        self._started_at: float | None = None
        self.delay = 0.0
        """Seconds for which this filter made bytes wait."""
        self.duration = 0.0
        """Seconds from the first byte to the end."""
        stats.enabled.value += 1

    def feed(self, data: bytes) -> bytes:
        """Part of a body: what of it may go on at once."""
        self._begin(len(data))
        self._buffer += data
        if self._timer is None:
            return self._take()
        self._check_full()
        return b""

    def pass_all(self, data: bytes) -> None:
        """Count what cannot wait."""
        self._begin(len(data))
        self._bucket.take(len(data), self._timing.now)
        self._allowed(len(data))

    def end(self, *, trailers: bool) -> bool:
        """The body has ended: whether its end may follow at once."""
        if not trailers:
            self._stats.incoming_size.value = 0
        if self._buffer:
            self._ending = True
            return False
        self._finish()
        return True

    def close(self) -> None:
        """The exchange is over."""
        self._over = True
        if self._timer is not None:
            self._timer.discard()
            self._timer = None
        self._buffer.clear()
        self._finish()

    def _begin(self, size: int) -> None:
        stats = self._stats
        if self._started_at is None:
            self._started_at = self._timing.now
            stats.pending.value += 1
        stats.incoming_size.value = size
        stats.incoming_total_size.value += size

    def _allowed(self, size: int) -> None:
        self._stats.allowed_size.value = size
        self._stats.allowed_total_size.value += size

    def _take(self) -> bytes:
        """What has tokens; the rest waits for the next fill."""
        buffer = self._buffer
        granted = self._bucket.take(len(buffer), self._timing.now)
        data = bytes(buffer[:granted])
        del buffer[:granted]
        self._allowed(granted)
        if buffer:
            self._stats.enforced.value += 1
            self.delay += self._interval
            self._timer = self._timing.call_later(self._interval, self._filled)
            self._check_full()
        return data

    def _check_full(self) -> None:
        if len(self._buffer) > self._capacity:
            self._held = True
            self._hold()

    def _filled(self) -> None:
        self._timer = None
        data = self._take()
        if data:
            self._write(data)
        if self._over:
            return
        if self._held and len(self._buffer) <= self._capacity // 2:
            self._held = False
            self._release()
        if self._ending and not self._buffer:
            self._ending = False
            self._finish()
            self._go_on()

    def _finish(self) -> None:
        if self._started_at is None:
            return
        self.duration = self._timing.now - self._started_at
        self._started_at = None
        self._stats.transfer_duration.record(self.duration * 1000.0)
        self._stats.pending.value -= 1


class BandwidthLimit(StreamFilter):
    """See the module."""

    __slots__ = ("_limit", "_local", "_request", "_response", "_trailers")

    def __init__(self, callbacks: FilterCallbacks, limit: Limit) -> None:
        super().__init__(callbacks)
        self._limit = limit
        self._request: Valve | None = None
        self._response: Valve | None = None
        self._local = False
        self._trailers: Trailers = ()

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Limit the request, if it is to be."""
        limit, callbacks = self._limit, self.callbacks
        if limit.config.request and limit.enabled:
            self._request = Valve(
                callbacks,
                limit.bucket,
                limit.config.fill_interval,
                limit.request,
                lambda data: callbacks.inject_decoded_data(self, data),
                lambda: callbacks.continue_decoding(self),
                callbacks.hold_request,
                callbacks.release_request,
            )
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """What may go on now."""
        return data if self._request is None else self._request.feed(data)

    def decode_end(self, trailers: Trailers) -> int:
        """The end follows the last byte."""
        if self._request is None or self._request.end(trailers=bool(trailers)):
            return CONTINUE
        return HOLD

    def local_reply(self, reply: LocalReply) -> LocalReply:
        """A reply of the proxy itself goes out whole."""
        self._local = True
        if self._response is not None:  # of an upstream, in whose place the reply comes
            self._response.close()
            self._response = None
        return reply

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Limit the response, if it is to be."""
        limit, callbacks = self._limit, self.callbacks
        if limit.config.response and limit.enabled:
            self._response = Valve(
                callbacks,
                limit.bucket,
                limit.config.fill_interval,
                limit.response,
                lambda data: callbacks.inject_encoded_data(self, data),
                self._encode_rest,
                callbacks.hold_response,
                callbacks.release_response,
            )
        return CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        """What may go on now."""
        if self._response is None:
            return data
        if self._local:
            self._response.pass_all(data)
            return data
        return self._response.feed(data)

    def encode_end(self, trailers: Trailers) -> int:
        """The end follows the last byte."""
        self._trailers = trailers
        if self._response is None:
            return CONTINUE
        if not self._response.end(trailers=bool(trailers)):
            return HOLD
        self._tell(self._response)
        return CONTINUE

    def _encode_rest(self) -> None:
        if self._response is not None:
            self._tell(self._response)
        self.callbacks.continue_encoding(self)

    def _tell(self, response: Valve) -> None:
        """Say in trailers how long it took, and how long this filter made it wait: whole milliseconds, nothing of none."""
        prefix, request = self._limit.config.trailer_prefix, self._request
        if prefix is None or self._local:
            return
        told = (
            (b"request-delay-ms", request.duration if request is not None else 0.0),
            (b"request-filter-delay-ms", request.delay if request is not None else 0.0),
            (b"response-delay-ms", response.duration),
            (b"response-filter-delay-ms", response.delay),
        )
        added = tuple(
            (prefix + name, b"%d" % _milliseconds(seconds)) for name, seconds in told if _milliseconds(seconds)
        )
        if added:
            self.callbacks.set_response_trailers((*self._trailers, *added))

    def on_destroy(self) -> None:
        """Drop what waits."""
        for valve in (self._request, self._response):
            if valve is not None:
                valve.close()


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000.0 + 1e-6)
