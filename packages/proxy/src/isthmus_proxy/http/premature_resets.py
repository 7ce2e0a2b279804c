"""Clients that open streams only to reset them (CVE-2023-44487, rapid reset), told from those that cancel now and then."""

from __future__ import annotations

STREAM_COUNT = 500
"""Streams after which a share is judged (Envoy's overload.premature_reset_total_stream_count)."""

MIN_LIFETIME = 1.0
"""Seconds below which a reset is premature (Envoy's overload.premature_reset_min_stream_lifetime_seconds)."""


class PrematureResets:
    """Counts of one connection."""

    __slots__ = ("_closed", "_premature")

    def __init__(self) -> None:
        self._closed = 0
        self._premature = 0

    def is_premature(self, lifetime: float, status: int) -> bool:
        """Whether a client's reset of a stream that lived so many seconds is premature: it is not once a response has a status."""
        return lifetime <= MIN_LIFETIME and not status

    def closed(self) -> None:
        """Count a stream that is over, however it ended."""
        self._closed += 1

    def premature(self) -> bool:
        """Count a premature reset among the streams that are over; answer whether the connection has to end.

        It ends when half of the streams, or as many as half of ``STREAM_COUNT`` before that many are closed, were premature.
        """
        self._premature += 1
        return self._premature * 2 >= max(self._closed, STREAM_COUNT)
