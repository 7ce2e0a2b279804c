"""One stream: its two windows, what waits to be sent on it, and who owns it."""

from __future__ import annotations

from collections import deque


class Stream:
    """State of a stream that is open or half closed (RFC 9113, 5.1); the codec forgets it once both sides have ended.

    ``owner`` is whatever the codec's owner attaches. ``queued`` counts the bytes that wait for a window or for the socket;
    ``withheld`` those received whose credit the owner holds back; ``expected`` is the length the body must have, or -1.
    """

    __slots__ = (
        "end_queued",
        "expected",
        "head_received",
        "id",
        "local_closed",
        "outgoing",
        "owner",
        "queued",
        "receive_window",
        "received",
        "remote_closed",
        "send_window",
        "trailers_queued",
        "uncredited",
        "withheld",
        "withholding",
    )  # fmt: skip

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.remote_closed = False
        self.local_closed = False
        self.head_received = False
        self.expected = -1
        self.received = 0
        self.uncredited = 0
        self.withholding = False
        self.withheld = 0
        self.outgoing: deque[bytes] | None = None
        self.queued = 0
        self.end_queued = False
        self.trailers_queued: bytes | None = None
        self.owner: object | None = None
