"""Serves a registry API over HTTP/1.1 on loopback: few connections, small requests, a deadline on every wait."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable

import trio

from isthmus_proxy.codec.http1 import EndOfMessage, HeadLimits, ParsedRequest, RequestParser, response_head
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.registry_api.message import ApiAnswer

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""An SDK publishes with a pool of some twenty threads."""
MAX_BODY_BYTES = 1024 * 1024
IDLE_SECONDS = 60.0
REQUEST_SECONDS = 10.0
SEND_SECONDS = 10.0

_LIMITS = HeadLimits(max_bytes=16 * 1024, max_headers=64)

Answer = Callable[[str, str, bytes], ApiAnswer]


class RegistryApiServer:
    """Serves on listeners until cancelled; ``answer`` gives the answer to method, path and body."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._connections = 0

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        """Accept and serve."""
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(self.serve, listeners, handler_nursery=nursery)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection. Nothing that a client does ends more than its connection."""
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                await _send(
                    stream, ApiAnswer(503, {"success": False, "errorMessage": "too many connections"}), end=True
                )
            else:
                await self._serve_requests(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the proxy
            _log.exception("a request to the registry API failed")
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
                found = await _read_request(stream, parser, list(events))
            except ProtocolError as error:
                await _send(
                    stream, ApiAnswer(error.status, {"success": False, "errorMessage": error.message}), end=True
                )
                return
            if found is None:
                return
            request, body = found
            keep_alive = request.keep_alive
            path = request.path.partition(b"?")[0].decode("latin-1")
            answer = self._answer(request.method.decode("ascii"), path, body)
            await _send(stream, answer, end=not keep_alive)
            events = parser.next_request()


async def _read_request(
    stream: trio.abc.Stream, parser: RequestParser, events: list[object]
) -> tuple[ParsedRequest, bytes] | None:
    """The next whole request and its body; None when the peer closed or stayed silent."""
    request: ParsedRequest | None = None
    body = b""
    while True:
        for event in events:
            if isinstance(event, ParsedRequest):
                request = event
            elif isinstance(event, bytes):
                body += event
        if request is not None and (request.end_stream or any(isinstance(event, EndOfMessage) for event in events)):
            return request, body
        if len(body) > MAX_BODY_BYTES:
            raise ProtocolError(413, "request_payload_too_large", "request body too large")
        waiting = request is not None or parser.started
        with trio.move_on_after(REQUEST_SECONDS if waiting else IDLE_SECONDS) as waited:
            data = await stream.receive_some(65536)
        if waited.cancelled_caught or not data:
            return None
        events = list(parser.receive(bytes(data)))


async def _send(stream: trio.abc.Stream, answer: ApiAnswer, *, end: bool) -> None:
    body = json.dumps(answer.body).encode()
    headers = [(b"content-type", b"application/json;charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if end:
        headers.append((b"connection", b"close"))
    with trio.fail_after(SEND_SECONDS):
        await stream.send_all(response_head(answer.status, headers) + body)
