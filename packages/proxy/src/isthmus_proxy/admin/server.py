"""The admin HTTP server: what the admin endpoints answer, as HTTP/1.1 in chunks, large answers piece by piece."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from isthmus_proxy.admin.response import AdminRequest, AdminResponse, text
from isthmus_proxy.codec.http1 import LAST_CHUNK, ParsedRequest, chunk, response_head
from isthmus_proxy.http.date import http_date
from isthmus_proxy.local_server import Answers, LocalServer, Response, ServerLimits

LIMITS = ServerLimits()
"""More connections are answered 503: a scraper, a few people and a leak of them."""
PIECE_BYTES = 32 * 1024
BUSY_SECONDS = 0.002
"""How long a body may be worked on before traffic gets its turn."""


def admin_server(
    answer: Callable[[AdminRequest], Awaitable[AdminResponse]], limits: ServerLimits = LIMITS
) -> LocalServer:
    """A server whose requests are answered by ``answer`` (``Dispatcher.answer``)."""

    async def respond(request: ParsedRequest, _body: bytes) -> Response:
        found = await answer(AdminRequest.from_target(request.method, request.path))
        return _rendered(found, with_body=request.method != b"HEAD")

    return LocalServer("admin", limits, Answers(respond, lambda status, reason: _rendered(text(f"{reason}\n", status))))


def _rendered(response: AdminResponse, *, with_body: bool = True) -> Response:
    def pieces(keep_alive: bool) -> Iterator[bytes]:
        pending = _head(response, keep_alive)
        if with_body:
            for data in _pieces(response.body):
                if data:
                    pending += chunk(data)
                if len(pending) >= PIECE_BYTES or not data:
                    yield pending
                    pending = b""
            pending += LAST_CHUNK
        yield pending

    return pieces


def _head(response: AdminResponse, keep_alive: bool) -> bytes:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"cache-control", b"no-cache, max-age=0"),
        (b"x-content-type-options", b"nosniff"),
        (b"date", http_date(int(time.time()))),
        (b"server", b"envoy"),
    ]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    headers.append((b"transfer-encoding", b"chunked"))
    return response_head(response.status, headers)


def _pieces(body: Iterable[str]) -> Iterator[bytes]:
    """``body`` in pieces of some size, with an empty one whenever making it took so long that others should run."""
    parts: list[str] = []
    size = 0
    started = time.perf_counter()
    for part in body:
        parts.append(part)
        size += len(part)
        busy = time.perf_counter() - started > BUSY_SECONDS
        if size >= PIECE_BYTES or busy:
            yield "".join(parts).encode()
            parts, size = [], 0
            if busy:
                yield b""
            started = time.perf_counter()
    if parts:
        yield "".join(parts).encode()
