"""Messages between the parent and a worker: four bytes of length, then JSON. Pure.

The parent sends ``{"id", "op", ...}``; the worker answers ``{"id", ...}``, and tells ``{"id": 0}`` once it serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

STARTED = 0
"""The id of the message that a worker sends by itself once its listeners are open."""

MAX_BYTES = 256 * 1024 * 1024
"""The longest message: a configuration dump of a large mesh takes some megabytes."""


class FrameError(ValueError):
    """What came is no message of this protocol."""


def frame(message: dict[str, object]) -> bytes:
    """One message as bytes."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return len(body).to_bytes(4) + body


class FrameReader:
    """Gathers bytes and gives out messages. Raises FrameError."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[dict[str, object]]:
        """The messages that ``data`` completes."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4:
            size = int.from_bytes(buffer[:4])
            if size > MAX_BYTES:
                message = f"a message of {size} bytes"
                raise FrameError(message)
            if len(buffer) < 4 + size:
                return
            body = bytes(buffer[4 : 4 + size])
            del buffer[: 4 + size]
            yield _parsed(body)


def _parsed(body: bytes) -> dict[str, object]:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise FrameError(str(error)) from error
    if not isinstance(message, dict) or not isinstance(message.get("id"), int):
        wrong = "a message without an id"
        raise FrameError(wrong)
    return message
