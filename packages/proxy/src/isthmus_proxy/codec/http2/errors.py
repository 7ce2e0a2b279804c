"""Error codes of HTTP/2 (RFC 9113, 7) and what a codec raises inside itself when a connection cannot go on."""

from __future__ import annotations

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB
HTTP_1_1_REQUIRED = 0xD


class Http2ConnectionError(Exception):
    """The peer broke the protocol for the whole connection: it ends with a GOAWAY of ``code``. ``detail`` is Envoy's."""

    def __init__(self, code: int, message: str, detail: str = "http2.protocol_error") -> None:
        super().__init__(code, message, detail)
        self.code = code
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail}: {self.message} (error code {self.code})"


def compression(message: str) -> Http2ConnectionError:
    """The fault of a header block that cannot be decoded: the tables of the two sides differ from now on."""
    return Http2ConnectionError(COMPRESSION_ERROR, message, "http2.compression_error")
