"""Serves a registry API over HTTP/1.1 on loopback: JSON answers to small requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from isthmus_proxy.codec.http1 import ParsedRequest, response_head
from isthmus_proxy.local_server import Answers, LocalServer, Response, ServerLimits
from isthmus_proxy.registry_api.message import ApiAnswer

LIMITS = ServerLimits(connections=256, body_bytes=1024 * 1024, send_seconds=10.0)
"""An SDK publishes with a pool of some twenty threads."""

Answer = Callable[[str, str, bytes], ApiAnswer]


def registry_api_server(answer: Answer, limits: ServerLimits = LIMITS) -> LocalServer:
    """A server whose requests are answered by ``answer``, given method, path and body."""

    async def respond(request: ParsedRequest, body: bytes) -> Response:
        path = request.path.partition(b"?")[0].decode("latin-1")
        return _rendered(answer(request.method.decode("ascii"), path, body))

    def refuse(status: int, reason: str) -> Response:
        return _rendered(ApiAnswer(status, {"success": False, "errorMessage": reason}))

    return LocalServer("registry API", limits, Answers(respond, refuse))


def _rendered(answer: ApiAnswer) -> Response:
    def pieces(keep_alive: bool) -> Iterator[bytes]:
        body = json.dumps(answer.body).encode()
        headers = [(b"content-type", b"application/json;charset=utf-8"), (b"content-length", b"%d" % len(body))]
        if not keep_alive:
            headers.append((b"connection", b"close"))
        yield response_head(answer.status, headers) + body

    return pieces
