"""Response heads (RFC 9112, 4)."""

from __future__ import annotations

import re

from isthmus_proxy.codec.http1.framing import response_framing
from isthmus_proxy.codec.http1.grammar import Fields, Special, bad_request, list_tokens, parse_fields, split_head
from isthmus_proxy.codec.http1.limits import RESPONSE_LIMITS, HeadLimits
from isthmus_proxy.codec.http1.spelling import Spelling, remembered

_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")


class ParsedResponse:
    """An immutable response head. ``headers`` are in order and lower-case, hop-by-hop ones included.

    ``framing`` and ``length`` hold unless the request was HEAD or CONNECT. ``plan`` is the caller's, as for requests.
    """

    __slots__ = (
        "connection",
        "framing",
        "head_bytes",
        "headers",
        "keep_alive",
        "length",
        "plan",
        "spelling",
        "status",
        "version",
    )

    def __init__(self, status: int, version: bytes, fields: Fields, special: Special) -> None:
        self.status = status
        self.version = version
        self.headers = tuple(fields)
        self.framing, self.length = response_framing(status, special)
        self.connection = list_tokens(special.get(b"connection", []) + special.get(b"proxy-connection", []))
        self.keep_alive = _keep_alive(version, self.connection)
        self.head_bytes = 0
        self.plan: object | None = None
        self.spelling: Spelling | None = None


def _keep_alive(version: bytes, connection: list[bytes]) -> bool:
    if version == b"HTTP/1.1":
        return b"close" not in connection
    return b"keep-alive" in connection and b"close" not in connection


def parse_response_head(raw: bytes, limits: HeadLimits = RESPONSE_LIMITS) -> ParsedResponse:
    """Parse the head ``raw``, which ends with its empty line. Raises ProtocolError; its status is of no use to the peer."""
    lines = split_head(raw)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise bad_request(f"malformed status line {lines[0][:64]!r}")
    fields, special = parse_fields(lines, limits.max_headers)
    response = ParsedResponse(int(match[2]), match[1], fields, special)
    response.head_bytes = len(raw)
    if limits.key_format:
        response.spelling = remembered(lines, limits.key_format)
    return response


CONNECTED = parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n", RESPONSE_LIMITS)
"""What opens a tunnel that ends in this proxy: no upstream says so."""
