"""Which header lists make a message (RFC 9113, 8): pseudo-header fields, names, values, content-length, trailers.

A verdict is the empty string or the reason why the message is malformed. It depends on the fields alone and is kept with
them. Nothing passes that could mean something else once it is written as HTTP/1.1.
"""

from __future__ import annotations

import re

from isthmus_proxy.codec.http2.header_block import Fields, HeaderBlock

_NAME = re.compile(rb"[a-z0-9!#$%&'*+\-.^_`|~]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_PATH = re.compile(rb"[/*][\x21-\x7e]*")
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_DIGITS = re.compile(rb"[0-9]{1,18}")

CONNECTION_SPECIFIC = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_ONCE = frozenset({b"content-length", b"host"})
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
_RESPONSE_PSEUDO = frozenset({b":status"})


def check_request(block: HeaderBlock, *, allow_connect: bool) -> str:
    """The verdict on the head of a request. ``allow_connect``: extended CONNECT (RFC 8441) was offered."""
    pseudo, verdict = _check_fields(block, _REQUEST_PSEUDO)
    if verdict:
        return verdict
    method = pseudo.get(b":method", b"")
    if not _TOKEN.fullmatch(method):
        return "no :method, or a malformed one"
    if not _AUTHORITY.fullmatch(pseudo.get(b":authority", b"")):
        return "malformed :authority"
    if b":protocol" in pseudo and (method != b"CONNECT" or not allow_connect):
        return ":protocol although extended CONNECT was not offered"
    if method == b"CONNECT" and b":protocol" not in pseudo:
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            return "CONNECT needs :authority, and neither :scheme nor :path"
        return ""
    if pseudo.get(b":scheme") not in (b"http", b"https"):
        return "no :scheme, or neither http nor https"
    path = pseudo.get(b":path", b"")
    if not _PATH.fullmatch(path) or (path[:1] == b"*" and (path != b"*" or method != b"OPTIONS")):
        return "no :path, or a malformed one"
    return ""


def check_response(block: HeaderBlock) -> str:
    """The verdict on the head of a response, final or informational."""
    pseudo, verdict = _check_fields(block, _RESPONSE_PSEUDO)
    if verdict:
        return verdict
    status = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(status):
        return "no :status, or a malformed one"
    if status == b"101":
        return "status 101, which HTTP/2 does not have"
    block.status = int(status)
    return ""


def check_trailers(block: HeaderBlock) -> str:
    """The verdict on trailers."""
    return _check_fields(block, frozenset())[1]


def _check_fields(block: HeaderBlock, allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], str]:
    """(pseudo-header fields, verdict on what all messages have in common); sets the block's content-length."""
    pseudo: dict[bytes, bytes] = {}
    seen: set[bytes] = set()
    regular = False
    for name, value in block.fields:
        if name[:1] == b":":
            if regular or name not in allowed or name in pseudo:
                return pseudo, f"pseudo-header field {name[:64]!r} twice, after a regular one, or unknown"
            pseudo[name] = value
        else:
            regular = True
            if not _NAME.fullmatch(name):
                return pseudo, f"malformed field name {name[:64]!r}"
            if name in CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
                return pseudo, f"connection-specific field {name.decode()}"
            if name in _ONCE and name in seen:
                return pseudo, f"more than one {name.decode()}"
            seen.add(name)
            if name == b"content-length":
                if not _DIGITS.fullmatch(value):
                    return pseudo, "malformed content-length"
                block.length = int(value)
            elif name == b"host" and not _AUTHORITY.fullmatch(value):
                return pseudo, "malformed host"
        if _BAD_VALUE.search(value):
            return pseudo, f"control character in the value of {name[:64]!r}"
    return pseudo, ""


def regular_fields(fields: Fields) -> Fields:
    """``fields`` without the pseudo-header fields; values without white space around them, which HTTP/1.1 could not carry."""
    return tuple([(name, value.strip(b" \t")) for name, value in fields if name[0] != 0x3A])
