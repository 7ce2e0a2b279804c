"""The admin HTTP server: few connections, small requests, deadlines on every wait. It shares no code path with traffic."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

import trio

from isthmus_proxy.admin.response import AdminRequest, AdminResponse, text
from isthmus_proxy.codec.http1 import (
    LAST_CHUNK,
    EndOfMessage,
    HeadLimits,
    ParsedRequest,
    RequestParser,
    chunk,
    response_head,
)
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.http.date import http_date

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
"""More are answered 503: a scraper, a few people and a leak of them."""
IDLE_SECONDS = 60.0
REQUEST_SECONDS = 10.0
SEND_SECONDS = 30.0
MAX_BODY_BYTES = 64 * 1024
PIECE_BYTES = 32 * 1024
BUSY_SECONDS = 0.002
"""How long a body may be worked on before traffic gets its turn."""

_LIMITS = HeadLimits(max_bytes=16 * 1024, max_headers=64)


class AdminServer:
    """Serves on listeners until cancelled; ``answer`` gives the answer to a request (``Dispatcher.answer``)."""

    def __init__(self, answer: Callable[[AdminRequest], Awaitable[AdminResponse]]) -> None:
        self._answer = answer
        self._connections = 0

    async def run(
        self, listeners: list[trio.SocketListener], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept and serve."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self.serve, listeners, handler_nursery=nursery)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection. Nothing that a client does ends more than its connection."""
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                await _send_response(stream, text("too many admin connections\n", 503), keep_alive=False)
            else:
                await self._serve_requests(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the proxy
            _log.exception("an admin request failed")
        finally:
            self._connections -= 1
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async def _serve_requests(self, stream: trio.abc.Stream) -> None:
        parser = RequestParser(_LIMITS)
        events: Iterable[object] = ()
        keep_alive = True
        while keep_alive:
            try:
                request = await _read_request(stream, parser, list(events))
            except ProtocolError as error:
                await _send_response(stream, text(f"{error.message}\n", error.status), keep_alive=False)
                return
            if request is None:
                return
            keep_alive = request.keep_alive
            response = await self._answer(AdminRequest.from_target(request.method, request.path))
            await _send_response(stream, response, keep_alive=keep_alive, with_body=request.method != b"HEAD")
            events = parser.next_request()


async def _read_request(stream: trio.abc.Stream, parser: RequestParser, events: list[object]) -> ParsedRequest | None:
    """The next whole request; its body is read and dropped. None when the peer closed or stayed silent."""
    request: ParsedRequest | None = None
    size = 0
    while True:
        for event in events:
            if isinstance(event, ParsedRequest):
                request = event
            elif isinstance(event, bytes):
                size += len(event)
        if request is not None and (request.end_stream or any(isinstance(event, EndOfMessage) for event in events)):
            return request
        if size > MAX_BODY_BYTES:
            raise ProtocolError(413, "request_payload_too_large", "request body too large")
        waiting = request is not None or parser.started
        with trio.move_on_after(REQUEST_SECONDS if waiting else IDLE_SECONDS) as waited:
            data = await stream.receive_some(PIECE_BYTES)
        if waited.cancelled_caught or not data:
            return None
        events = list(parser.receive(bytes(data)))


async def _send_response(
    stream: trio.abc.Stream, response: AdminResponse, *, keep_alive: bool, with_body: bool = True
) -> None:
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
    pending = response_head(response.status, headers)
    if with_body:
        for data in _pieces(response.body):
            if data:
                pending += chunk(data)
            if len(pending) >= PIECE_BYTES or not data:
                await _send(stream, pending)
                pending = b""
        pending += LAST_CHUNK
    await _send(stream, pending)


async def _send(stream: trio.abc.Stream, data: bytes) -> None:
    with trio.fail_after(SEND_SECONDS):
        await stream.send_all(data)


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
