"""A response of HTTP/2 as the value that the rest of the proxy reads, made once for each distinct header list."""

from __future__ import annotations

from isthmus_proxy.codec.http1.framing import LENGTH, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http2.header_block import HeaderBlock
from isthmus_proxy.codec.http2.messages import regular_fields
from isthmus_proxy.upstream.upgrade import ACCEPT, Upgrade, accept_for

_VERSION = b"HTTP/2"


def parsed_response(block: HeaderBlock, *, end: bool) -> ParsedResponse:
    """The response, final or interim, whose head is ``block``, which has been checked; with ``end`` no body follows."""
    known = block.whole if end else block.begun
    if type(known) is ParsedResponse:
        return known
    response = ParsedResponse(block.status, _VERSION, list(regular_fields(block.fields)), {})
    if block.status in (204, 304) or (end and block.length <= 0):
        response.framing, response.length = NO_BODY, 0
    elif block.length >= 0:
        response.framing, response.length = LENGTH, block.length
    else:
        response.framing, response.length = UNTIL_CLOSE, 0
    if end:
        block.whole = response
    else:
        block.begun = response
    return response


def switching(response: ParsedResponse, upgrade: Upgrade) -> ParsedResponse:
    """What grants ``upgrade`` in HTTP/2 (RFC 8441), as HTTP/1.1 grants it: with status 101, and WebSocket's proof."""
    fields = [field for field in response.headers if field[0] != b"content-length"]
    if upgrade.key and not any(name == ACCEPT for name, _ in fields):
        fields.append((ACCEPT, accept_for(upgrade.key)))
    fields += [(b"connection", b"upgrade"), (b"upgrade", upgrade.protocol)]
    switched = ParsedResponse(101, _VERSION, fields, {})
    switched.framing, switched.length = NO_BODY, 0
    return switched
