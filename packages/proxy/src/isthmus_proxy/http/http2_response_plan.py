"""How a response head goes out over HTTP/2: the same as over HTTP/1.1, but as a header block without state."""

from __future__ import annotations

from isthmus_proxy.codec.http2.hpack_encoder import encode, encode_name, encode_string
from isthmus_proxy.http.message import Headers, ResponseHead
from isthmus_proxy.http.response_plan import ID_MARKER, SERVICE_TIME, X_REQUEST_ID, ResponsePlan, Style
from isthmus_proxy.listener.model import HttpConnectionManagerConfig

_TIME_NAME = encode_name(SERVICE_TIME)
_DATE_NAME = encode_name(b"date")
_OF_HTTP1 = frozenset({b"transfer-encoding", b"connection", b"upgrade"})
_ID_FIELD = encode([(X_REQUEST_ID, ID_MARKER)])


class Http2ResponsePlan(ResponsePlan):
    """The parts of a header block; the body is delimited by frames, so nothing is ever ``chunked``."""

    __slots__ = ()

    def __init__(
        self, manager: HttpConnectionManagerConfig, style: Style, head: ResponseHead, *, chunked: bool
    ) -> None:
        head.headers = [field for field in head.headers if field[0] not in _OF_HTTP1]
        super().__init__(manager, style, head, chunked=False)
        del chunked

    def _compile(self, headers: Headers, date_index: int) -> None:
        until_time = self.time_index if self.timed else 0
        until_date = date_index if self.dated else len(headers)
        status = 200 if self.head.status == 101 else self.head.status  # RFC 8441, 5
        self.before = encode([(b":status", b"%d" % status), *headers[:until_time]])
        if self.timed:
            self.before += _TIME_NAME
            self.middle = encode(headers[until_time + 1 : until_date])
        else:
            self.middle = encode(headers[:until_date])
        if self.dated:
            self.middle += _DATE_NAME
        self.after = encode(headers[until_date + 1 :])

    def encode(self, milliseconds: int, date: bytes) -> bytes:
        """The header block."""
        took = encode_string(b"%d" % milliseconds) if self.timed else b""
        dated = encode_string(date) if self.dated else b""
        return b"%b%b%b%b%b" % (self.before, took, self.middle, dated, self.after)

    def identify(self, head: bytes, identifier: bytes) -> bytes:
        """The same, where the length of the identifier comes before it."""
        field = encode([(X_REQUEST_ID, identifier)]) if identifier else b""
        return head.replace(_ID_FIELD, field, 1)
