"""Whether the first bytes of a connection are HTTP, and which version (Envoy's http_inspector). Pure."""

from __future__ import annotations

import re

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_BYTES = 64 * 1024
"""A request line longer than this is not looked at any further."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_LONGEST_METHOD = 32
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\x00-\x20\x7f]+ HTTP/1\.([01])", re.ASCII)

HTTP10, HTTP11, HTTP2 = "http/1.0", "http/1.1", "h2c"
NOT_HTTP = ""


def detect(data: bytes) -> str | None:
    """``http/1.0``, ``http/1.1``, ``h2c``, or empty for anything else; None as long as more bytes may tell.

    Bytes that cannot begin a request line answer at once, so that no other protocol waits for more than it has sent.
    """
    if PREFACE.startswith(data[: len(PREFACE)]):
        return HTTP2 if len(data) >= len(PREFACE) else None
    line = data.lstrip(b"\r\n")  # RFC 9112, section 2.2
    if not line:
        return None if len(data) < 16 else NOT_HTTP
    end = line.find(b"\n")
    if end >= 0:
        found = _REQUEST_LINE.fullmatch(line[:end].rstrip(b"\r"))
        return NOT_HTTP if found is None else (HTTP11 if found[1] == b"1" else HTTP10)
    return None if _may_become_a_request_line(line) and len(data) < MAX_BYTES else NOT_HTTP


def _may_become_a_request_line(line: bytes) -> bool:
    method = _TOKEN.match(line)
    if method is None or method.end() > _LONGEST_METHOD:
        return False
    return method.end() == len(line) or line[method.end()] == 0x20
