"""For tests of filters, without a proxy: makes a filter as the proxy would, and leads one request and its response through it.

    signer = make_filter(Signing, {"secret": "s"})
    outcome = exchange(signer, RequestHeaders("GET", "/a"), upstream=lambda request, body: Response(200, b"ok"))
    assert outcome.request.get("x-signature")

Hooks are called in the proxy's order, and asynchronous ones are awaited, in one trio run. An exception of a hook ends the
exchange and is raised, whatever ``error_policy`` would say. There are no deadlines: use trio's ``MockClock`` or
``trio.fail_after`` with ``run_exchange``. The proxy's own tests hold this double and the proxy to the same results.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio

from isthmus_proxy.extension.headers import Headers, RequestHeaders, ResponseHeaders
from isthmus_proxy.extension.http_filter import HttpFilter, Reply

F = TypeVar("F", bound=HttpFilter[Any])


@dataclass(slots=True)
class FakeCounter:
    """A counter."""

    value: int = 0


class FakeContext:
    """A FilterContext that keeps its counters in ``counters``."""

    def __init__(self, name: str = "test") -> None:
        self.name = name
        self.log = logging.getLogger(f"isthmus_proxy.extension.testing.{name}")
        self.counters: dict[str, FakeCounter] = {}

    def counter(self, name: str) -> FakeCounter:
        """The counter ``name``."""
        return self.counters.setdefault(name, FakeCounter())


def make_filter(kind: type[F], values: Mapping[str, Any] | None = None, context: FakeContext | None = None) -> F:
    """The filter with the configuration ``values``, parsed as by the proxy. Raises what ``parse_config`` raises."""
    return kind(kind.parse_config(values or {}), context or FakeContext())


class FakeExchange:
    """An Exchange whose values are set by the test. ``rerouted``: a hook asked for it."""

    def __init__(
        self,
        request: RequestHeaders,
        *,
        remote_address: str = "192.0.2.1:40000",
        local_address: str = "192.0.2.2:80",
        protocol: str = "HTTP/1.1",
        request_id: str = "",
        route_name: str = "",
        cluster_name: str = "",
        route_configs: tuple[Any, ...] = (),
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.state: Any = None
        self.request = request
        self.response: ResponseHeaders | None = None
        self.remote_address = remote_address
        self.local_address = local_address
        self.protocol = protocol
        self.request_id = request_id
        self.route_name = route_name
        self.cluster_name = cluster_name
        self.route_configs = route_configs
        self.dynamic_metadata: dict[str, dict[str, Any]] = {name: dict(own) for name, own in (metadata or {}).items()}
        self.rerouted = False

    def metadata(self, namespace: str, *path: str) -> Any:
        """See Exchange."""
        found: Any = self.dynamic_metadata.get(namespace)
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    def set_metadata(self, namespace: str, values: Mapping[str, Any]) -> None:
        """See Exchange."""
        self.dynamic_metadata.setdefault(namespace, {}).update(values)

    def reroute(self) -> None:
        """See Exchange."""
        self.rerouted = True


@dataclass(frozen=True, slots=True)
class Response:
    """What the upstream answers: the body as bytes, or as the pieces in which it comes."""

    status: int = 200
    body: bytes | Sequence[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()


Upstream = Callable[[RequestHeaders, bytes], Response]
"""Answers a request, given its head and body as they arrive there."""


@dataclass(slots=True)
class Outcome:
    """What came of an exchange. ``sent`` and what belongs to it: as it reached the upstream, None where it did not.

    ``status``, ``headers``, ``body``, ``trailers``: as the client gets them. ``reply`` is the local reply, if that is what it gets.
    """

    exchange: FakeExchange
    sent: RequestHeaders | None = None
    sent_body: bytes = b""
    sent_trailers: Headers = field(default_factory=Headers)
    status: int = 0
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    trailers: Headers = field(default_factory=Headers)
    reply: Reply | None = None


def ok(_request: RequestHeaders, _body: bytes) -> Response:
    """An upstream that answers 200 with ``ok``."""
    return Response(200, b"ok")


def exchange(python_filter: HttpFilter[Any], request: RequestHeaders, **options: Any) -> Outcome:
    """``run_exchange`` in a trio run of its own."""

    async def run() -> Outcome:
        return await run_exchange(python_filter, request, **options)

    return trio.run(run)


async def run_exchange(
    python_filter: HttpFilter[Any],
    request: RequestHeaders,
    *,
    body: bytes | Sequence[bytes] = b"",
    trailers: tuple[tuple[str, str], ...] = (),
    upstream: Upstream = ok,
    fake: FakeExchange | None = None,
    buffer_request: bool = False,
    buffer_response: bool = False,
) -> Outcome:
    """Lead ``request`` through the filter. ``body`` may be given in the pieces in which it comes; the buffers are the proxy's options."""
    run = _Run(python_filter, fake or FakeExchange(request))
    outcome = run.outcome
    run.waits = buffer_request
    reply = await run.request(request, _pieces(body, whole=buffer_request), Headers(trailers))
    if reply is None:
        answer = upstream(request, outcome.sent_body)
        run.waits = buffer_response
        reply = await run.response(answer, _pieces(answer.body, whole=buffer_response))
    if reply is not None:
        await run.local_reply(reply)
    details = outcome.reply.details if outcome.reply is not None else "via_upstream"
    await _called(python_filter.on_end(run.exchange, outcome.status, details))
    return outcome


def _pieces(body: bytes | Sequence[bytes], *, whole: bool) -> list[bytes]:
    pieces = [body] if isinstance(body, bytes) else [*body]
    return [piece for piece in ([b"".join(pieces)] if whole else pieces) if piece]


class _Run:
    """One exchange on its way; what its methods answer is a reply that ends it, or None. ``waits``: the head does, for its body."""

    def __init__(self, python_filter: HttpFilter[Any], exchange: FakeExchange) -> None:
        self.python_filter = python_filter
        self.exchange = exchange
        self.outcome = Outcome(exchange)
        self.waits = False

    async def request(self, head: RequestHeaders, pieces: list[bytes], trailers: Headers) -> Reply | None:
        hooks, outcome = self.python_filter, self.outcome
        self.exchange.request = head
        reply = _reply(await _called(hooks.on_request_headers(self.exchange, head)))
        if not self.waits:
            self.exchange.request = head.copy()
        for piece in pieces:
            if reply is None:
                changed = await _called(hooks.on_request_data(self.exchange, piece))
                reply = _reply(changed)
                outcome.sent_body += _body(changed, piece, changes=hooks.changes_request_body)
        if reply is None and trailers:
            reply = _reply(await _called(hooks.on_request_trailers(self.exchange, trailers)))
        if reply is None:
            outcome.sent, outcome.sent_trailers = head, trailers
        return reply

    async def response(self, answer: Response, pieces: list[bytes]) -> Reply | None:
        hooks, outcome = self.python_filter, self.outcome
        head = self.exchange.response = ResponseHeaders(answer.status, answer.headers)
        self.exchange.request = self.exchange.request.copy()
        reply = _reply(await _called(hooks.on_response_headers(self.exchange, head)))
        if not self.waits:
            self.exchange.response = head.copy()
        for piece in pieces:
            if reply is None:
                changed = await _called(hooks.on_response_data(self.exchange, piece))
                reply = _reply(changed)
                outcome.body += _body(changed, piece, changes=hooks.changes_response_body)
        trailers = Headers(answer.trailers)
        if reply is None and trailers:
            reply = _reply(await _called(hooks.on_response_trailers(self.exchange, trailers)))
        if reply is None:
            outcome.status, outcome.headers, outcome.trailers = head.status, head, trailers
        return reply

    async def local_reply(self, reply: Reply) -> None:
        outcome = self.outcome
        amended = await _called(self.python_filter.on_local_reply(self.exchange, reply))
        reply = amended if isinstance(amended, Reply) else reply
        outcome.reply, outcome.status, outcome.body = reply, reply.status, reply.body
        outcome.headers = Headers(reply.headers)


async def _called(outcome: Any) -> Any:
    return await outcome if inspect.isawaitable(outcome) else outcome


def _reply(outcome: object) -> Reply | None:
    if outcome is None or isinstance(outcome, bytes):
        return None
    if isinstance(outcome, Reply):
        return outcome
    message = f"a hook answered {type(outcome).__name__}, which is no answer"
    raise TypeError(message)


def _body(changed: object, piece: bytes, *, changes: bool) -> bytes:
    if isinstance(changed, Reply):
        return b""
    return changed if changes and isinstance(changed, bytes) else piece
