"""Character sets and field lines of RFC 9110 (5.1, 5.5, 5.6.2) and RFC 9112 (5)."""

from __future__ import annotations

import string

from isthmus_proxy.errors import ProtocolError

TOKEN_BYTES = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
"""tchar (RFC 9110, 5.6.2)."""

_HEAD_BYTES = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_MEMO_LIMIT = 1024
_names: dict[bytes, bytes] = {}

CODEC_ERROR = "http1.codec_error"
INVALID_CHARACTERS = "http1.invalid_characters"

SPECIAL = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"proxy-connection"}
)
"""Fields whose value decides how a message is read."""

Fields = list[tuple[bytes, bytes]]
Special = dict[bytes, list[bytes]]


def bad_request(message: str, detail: str = CODEC_ERROR) -> ProtocolError:
    """The error for a malformed message: status 400."""
    return ProtocolError(400, detail, message)


def split_head(raw: bytes) -> list[bytes]:
    """Lines of a head that ends with an empty line; refuses control characters and any CR or LF that is not a CRLF."""
    if raw.translate(None, _HEAD_BYTES):
        raise bad_request("control character in the head", INVALID_CHARACTERS)
    lines = raw.split(b"\r\n")
    breaks = len(lines) - 1
    if raw.count(b"\r") != breaks or raw.count(b"\n") != breaks:
        raise bad_request("CR or LF outside a CRLF in the head")
    del lines[-2:]
    return lines


def field_name(raw: bytes) -> bytes:
    """The lower-case form of a field name; refuses what is not a token, such as white space before the colon."""
    if not raw or raw.translate(None, TOKEN_BYTES):
        raise bad_request(f"malformed field name {raw[:64]!r}")
    name = raw.lower()
    if len(_names) < _MEMO_LIMIT and len(raw) <= 64:
        _names[raw] = name
    return name


def parse_fields(lines: list[bytes], max_headers: int) -> tuple[Fields, Special]:
    """All fields in order, and the values of the ``SPECIAL`` ones by name. ``lines[0]``, the start line, is passed over."""
    if len(lines) - 1 > max_headers:
        raise ProtocolError(431, "http1.too_many_headers", f"more than {max_headers} headers")
    fields: Fields = []
    special: Special = {}
    known = _names.get
    for line in lines[1:]:
        raw, colon, value = line.partition(b":")
        if not colon:
            raise bad_request(f"header without a colon: {raw[:64]!r}")
        name = known(raw) or field_name(raw)
        value = value.strip(b" \t")
        if name in SPECIAL:
            special.setdefault(name, []).append(value)
        fields.append((name, value))
    return fields, special


def list_tokens(values: list[bytes]) -> list[bytes]:
    """Members of a comma-separated list of tokens, lower case (RFC 9110, 5.6.1); empty members are left out."""
    return [token for value in values for member in value.split(b",") if (token := member.strip(b" \t").lower())]
