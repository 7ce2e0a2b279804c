"""How long a body is (RFC 9112, 6.3). Anything ambiguous is an error of the sender."""

from __future__ import annotations

from isthmus_proxy.codec.http1.grammar import Special, bad_request
from isthmus_proxy.errors import ProtocolError

NO_BODY = 0
LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3

_DIGITS = b"0123456789"
_MAX_LENGTH_DIGITS = 18


def content_length(values: list[bytes]) -> int:
    """The one decimal number; refuses repetitions, signs, leading zeros and anything that is not a digit."""
    if len(values) != 1:
        raise bad_request("more than one content-length")
    value = values[0]
    if not value or value.translate(None, _DIGITS) or len(value) > _MAX_LENGTH_DIGITS:
        raise bad_request(f"malformed content-length {value[:64]!r}")
    if value[0] == 0x30 and len(value) > 1:
        raise bad_request(f"content-length with a leading zero {value!r}")
    return int(value)


def is_chunked(special: Special) -> bool:
    """Whether the transfer coding is exactly ``chunked``; any other is not implemented, and with a length ambiguous."""
    codings = special.get(b"transfer-encoding")
    if codings is None:
        return False
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        raise ProtocolError(501, "http1.invalid_transfer_encoding", f"transfer-encoding {codings[0][:64]!r}")
    if b"content-length" in special:
        raise bad_request("both content-length and chunked", "http1.content_length_and_chunked_not_allowed")
    return True


def request_framing(special: Special) -> tuple[int, int]:
    """(kind, length) of a request's body."""
    if is_chunked(special):
        return CHUNKED, 0
    lengths = special.get(b"content-length")
    if lengths is None:
        return NO_BODY, 0
    length = content_length(lengths)
    return (LENGTH, length) if length else (NO_BODY, 0)


def response_framing(status: int, special: Special) -> tuple[int, int]:
    """(kind, length) of a response's body to any method but HEAD and CONNECT."""
    if status < 200 or status in (204, 304):
        return NO_BODY, 0
    if is_chunked(special):
        return CHUNKED, 0
    lengths = special.get(b"content-length")
    if lengths is None:
        return UNTIL_CLOSE, 0
    length = content_length(lengths)
    return (LENGTH, length) if length else (NO_BODY, 0)
