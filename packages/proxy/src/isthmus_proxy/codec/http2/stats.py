"""What HTTP/2 connections count, under Envoy's names below ``http2.`` (a listener's) or ``cluster.<name>.http2.``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

COUNTERS = (
    "goaway_sent",
    "header_overflow",
    "headers_cb_no_stream",
    "inbound_continuation_flood",
    "inbound_empty_frames_flood",
    "inbound_priority_frames_flood",
    "inbound_window_update_frames_flood",
    "keepalive_timeout",
    "outbound_control_flood",
    "outbound_flood",
    "rx_messaging_error",
    "rx_reset",
    "stream_refused_errors",
    "trailers",
    "tx_flush_timeout",
    "tx_reset",
)


class CounterLike(Protocol):
    """A counter of the stats store."""

    value: int


class Http2Stats:
    """One counter for each of ``COUNTERS``, shared by the connections of one owner, and the gauge of open streams."""

    __slots__ = (*COUNTERS, "streams_active")

    goaway_sent: CounterLike
    header_overflow: CounterLike
    headers_cb_no_stream: CounterLike
    inbound_continuation_flood: CounterLike
    inbound_empty_frames_flood: CounterLike
    inbound_priority_frames_flood: CounterLike
    inbound_window_update_frames_flood: CounterLike
    keepalive_timeout: CounterLike
    outbound_control_flood: CounterLike
    outbound_flood: CounterLike
    rx_messaging_error: CounterLike
    rx_reset: CounterLike
    stream_refused_errors: CounterLike
    trailers: CounterLike
    tx_flush_timeout: CounterLike
    tx_reset: CounterLike

    def __init__(self, counter: Callable[[str], CounterLike], gauge: Callable[[str], CounterLike]) -> None:
        for name in COUNTERS:
            setattr(self, name, counter(name))
        self.streams_active = gauge("streams_active")
