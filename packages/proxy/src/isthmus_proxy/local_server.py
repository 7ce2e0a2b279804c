"""HTTP/1.1 for the machine itself: the admin server and the registry APIs. It shares no code path with traffic.

Few connections, small requests that are read as a whole, a deadline on every wait.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import trio

from isthmus_proxy.codec.http1 import EndOfMessage, HeadLimits, ParsedRequest, RequestParser
from isthmus_proxy.errors import ProtocolError

_log = logging.getLogger(__name__)

_HEADS = HeadLimits(max_bytes=16 * 1024, max_headers=64)
_READ_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server: connections at once, bytes of a body, and seconds for the next request, for the rest of one, for sending."""

    connections: int = 64
    body_bytes: int = 64 * 1024
    idle_seconds: float = 60.0
    request_seconds: float = 10.0
    send_seconds: float = 30.0


Response = Callable[[bool], Iterable[bytes]]
"""A response, head and all, in pieces to send one after the other, given whether the connection is kept. Empty: let others run."""


class Answers:
    """What a server says. ``respond`` gets each request and its body; ``refuse`` makes the answer of a status and a reason."""

    def __init__(
        self,
        respond: Callable[[ParsedRequest, bytes], Awaitable[Response]],
        refuse: Callable[[int, str], Response],
    ) -> None:
        self.respond = respond
        self.refuse = refuse


class LocalServer:
    """Serves on listeners until cancelled. ``name`` is what its log calls it."""

    def __init__(self, name: str, limits: ServerLimits, answers: Answers) -> None:
        self._name = name
        self._limits = limits
        self._answers = answers
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
            if self._connections > self._limits.connections:
                refusal = self._answers.refuse(503, f"too many {self._name} connections")
                await self._send(stream, refusal, keep_alive=False)
            else:
                await self._serve_requests(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the proxy
            _log.exception("a request to the %s server failed", self._name)
        finally:
            self._connections -= 1
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async def _serve_requests(self, stream: trio.abc.Stream) -> None:
        parser = RequestParser(_HEADS)
        events: Iterable[object] = ()
        keep_alive = True
        while keep_alive:
            try:
                found = await self._read_request(stream, parser, list(events))
            except ProtocolError as error:
                await self._send(stream, self._answers.refuse(error.status, error.message), keep_alive=False)
                return
            if found is None:
                return
            request, body = found
            keep_alive = request.keep_alive
            await self._send(stream, await self._answers.respond(request, body), keep_alive=keep_alive)
            events = parser.next_request()

    async def _read_request(
        self, stream: trio.abc.Stream, parser: RequestParser, events: list[object]
    ) -> tuple[ParsedRequest, bytes] | None:
        """The next whole request and its body; None when the peer closed or stayed silent."""
        limits = self._limits
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
            if len(body) > limits.body_bytes:
                raise ProtocolError(413, "request_payload_too_large", "request body too large")
            waiting = request is not None or parser.started
            with trio.move_on_after(limits.request_seconds if waiting else limits.idle_seconds) as waited:
                data = await stream.receive_some(_READ_BYTES)
            if waited.cancelled_caught or not data:
                return None
            events = list(parser.receive(bytes(data)))

    async def _send(self, stream: trio.abc.Stream, response: Response, *, keep_alive: bool) -> None:
        for piece in response(keep_alive):
            with trio.fail_after(self._limits.send_seconds):
                await stream.send_all(piece)
