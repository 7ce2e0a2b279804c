"""A request that goes on as a GET (303 See Other)."""

from __future__ import annotations

from isthmus_proxy.codec.http1 import NO_BODY, parse_request_head


def test_the_body_and_its_headers_are_gone_and_all_else_stays() -> None:
    head = b"POST /a HTTP/1.1\r\nhost: b\r\nx: y\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
    request = parse_request_head(head)
    found = request.as_get()
    assert (found.method, found.framing, found.length) == (b"GET", NO_BODY, 0)
    assert (found.path, found.authority, found.keep_alive) == (b"/a", b"b", False)
    assert found.headers == ((b"x", b"y"), (b"connection", b"close"))
    assert request.method == b"POST"
