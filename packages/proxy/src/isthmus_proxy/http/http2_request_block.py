"""Request heads as HTTP/2 header blocks: pseudo-header fields first, nothing that concerns a connection of HTTP/1.1."""

from __future__ import annotations

from isthmus_proxy.codec.http2.hpack_encoder import encode, encode_name
from isthmus_proxy.http.message import Headers, RequestHead

_X_REQUEST_ID = b"x-request-id"
_OF_HTTP1 = frozenset({b"transfer-encoding", b"connection", b"upgrade"})


def http2_request_block(head: RequestHead) -> bytes:
    """The header block of ``head``."""
    return encode([*_pseudo(head), *_regular(head.headers)])


def planned_block(head: RequestHead, id_index: int) -> tuple[bytes, bytes]:
    """(before, after) the string of the identifier at ``id_index`` of the headers; with -1 all is before."""
    if id_index < 0:
        return http2_request_block(head), b""
    before = encode([*_pseudo(head), *_regular(head.headers[:id_index])]) + encode_name(_X_REQUEST_ID)
    return before, encode(_regular(head.headers[id_index + 1 :]))


def _pseudo(head: RequestHead) -> Headers:
    if head.method == b"CONNECT":
        return [(b":method", head.method), (b":authority", head.authority)]
    protocol = head.get(b"upgrade")
    if protocol is not None:  # only what asks for a tunnel still has it (RFC 8441, 4)
        return [
            (b":method", b"CONNECT"),
            (b":protocol", protocol),
            (b":scheme", head.scheme),
            (b":path", head.path),
            (b":authority", head.authority),
        ]
    return [
        (b":method", head.method),
        (b":scheme", head.scheme),
        (b":path", head.path),
        (b":authority", head.authority),
    ]


def _regular(headers: Headers) -> Headers:
    return [field for field in headers if field[0] not in _OF_HTTP1]
