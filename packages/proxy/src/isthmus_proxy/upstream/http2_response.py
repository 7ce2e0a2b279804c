"""A response of HTTP/2 as the value that the rest of the proxy reads, made once for each distinct header list."""

from __future__ import annotations

from isthmus_proxy.codec.http1.framing import LENGTH, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http2.header_block import HeaderBlock
from isthmus_proxy.codec.http2.messages import regular_fields

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
