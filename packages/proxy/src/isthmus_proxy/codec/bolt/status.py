"""Statuses of Bolt responses (sofa-bolt's ResponseStatus), and the HTTP statuses that stand for them."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0x00
ERROR: Final = 0x01
SERVER_EXCEPTION: Final = 0x02
UNKNOWN: Final = 0x03
SERVER_THREADPOOL_BUSY: Final = 0x04
ERROR_COMM: Final = 0x05
NO_PROCESSOR: Final = 0x06
TIMEOUT: Final = 0x07
CLIENT_SEND_ERROR: Final = 0x08
CODEC_EXCEPTION: Final = 0x09
CONNECTION_CLOSED: Final = 0x10
SERVER_SERIAL_EXCEPTION: Final = 0x11
SERVER_DESERIAL_EXCEPTION: Final = 0x12

_HTTP: Final = {SUCCESS: 200, SERVER_THREADPOOL_BUSY: 503, TIMEOUT: 504, CONNECTION_CLOSED: 502}

_BOLT: Final = {
    200: SUCCESS,
    400: CODEC_EXCEPTION,
    403: SERVER_EXCEPTION,
    404: NO_PROCESSOR,
    422: SERVER_DESERIAL_EXCEPTION,
    429: SERVER_THREADPOOL_BUSY,
    500: SERVER_EXCEPTION,
    502: CONNECTION_CLOSED,
    503: NO_PROCESSOR,
    504: TIMEOUT,
    529: SERVER_THREADPOOL_BUSY,
}


def to_http(status: int) -> int:
    """The HTTP status for the status of a response."""
    return _HTTP.get(status, 500)


def from_http(status: int) -> int:
    """The status of an answer that the proxy makes itself. 529 is the proxy's own limit, 503 nobody to send to."""
    return _BOLT.get(status, UNKNOWN)
