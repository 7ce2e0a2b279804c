"""A request of HTTP/2 as the value that the rest of the proxy reads, made once for each distinct header list."""

from __future__ import annotations

from isthmus_proxy.codec.http1.framing import CHUNKED, LENGTH, NO_BODY
from isthmus_proxy.codec.http1.grammar import SPECIAL, Special
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http2.header_block import HeaderBlock
from isthmus_proxy.codec.http2.messages import regular_fields

VERSION = b"HTTP/2"


def parsed_request(block: HeaderBlock, *, end: bool) -> ParsedRequest:
    """The request whose head is ``block``, which has been checked; with ``end`` it has no body."""
    known = block.whole if end else block.begun
    if type(known) is ParsedRequest:
        return known
    request = _make(block, end=end)
    if end:
        block.whole = request
    else:
        block.begun = request
    return request


def _make(block: HeaderBlock, *, end: bool) -> ParsedRequest:
    pseudo = {name: value for name, value in block.fields if name[0] == 0x3A}
    fields = [field for field in regular_fields(block.fields) if field[0] != b"cookie"]
    crumbs = [value for name, value in block.fields if name == b"cookie"]
    if crumbs:
        fields.append((b"cookie", b"; ".join(crumbs)))  # RFC 9113, 8.2.3
    special: Special = {}
    for name, value in fields:
        if name in SPECIAL:
            special.setdefault(name, []).append(value)
    method, protocol = pseudo[b":method"], pseudo.get(b":protocol")
    if protocol is not None:  # extended CONNECT (RFC 8441) asks for what an upgrade of HTTP/1.1 asks for
        method = b"GET"
        fields += [(b"connection", b"upgrade"), (b"upgrade", protocol)]
        special |= {b"connection": [b"upgrade"], b"upgrade": [protocol]}
    request = ParsedRequest(method, pseudo.get(b":path", b""), VERSION, fields, special)
    request.authority = pseudo.get(b":authority") or special.get(b"host", [b""])[0]
    request.scheme = pseudo.get(b":scheme", b"")
    request.plain = request.method != b"HEAD" and not request.switches
    if end or request.switches:
        request.framing, request.length = NO_BODY, 0
    elif block.length < 0:
        request.framing, request.length = CHUNKED, 0
    else:
        request.framing, request.length = LENGTH, block.length
    if b"#" in request.path:
        request.refusal = "path_normalization_failed"
    elif not request.authority:
        request.refusal = "missing_host_header"
    return request
