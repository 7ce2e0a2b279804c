"""The interface between HTTP filters and the exchange: what a filter is told, what it may answer, what it may ask for.

A filter sees one exchange, and is made for it. On the way in filters are called in their configured order, on the way back
in the reverse one. Heads are changed in place. Bodies are handed on as bytes: what ``decode_data`` returns is what the next
filter gets. Each way ends with ``decode_end`` or ``encode_end``, unless its head had no body (``end_stream``).

A filter that has to wait for something (an answer from elsewhere, a task, a timer) answers HOLD at a head or at an end, and
calls ``continue_decoding(self)`` or ``continue_encoding(self)`` when it goes on. To wait in the middle of a body it keeps the data, answers
``b""``, asks for no more (``hold_request``, ``hold_response``), and later hands on with ``inject_decoded_data`` or
``inject_encoded_data``; an end that comes meanwhile it holds. What runs as a trio task is started by ``FilterContext.start_soon``
when the exchange is under way, and calls back by way of ``call_soon``, so that everything happens in the reactor's batches:

    def decode_headers(self, head, end_stream):
        self._scope = trio.CancelScope(deadline=...)
        self._factory.start_soon(self._ask, dict(head.headers))
        return HOLD

    async def _ask(self, headers):
        with self._scope:
            self._verdict = await something(headers)
        self.callbacks.call_soon(self._go_on)    # also where the scope was cancelled

    def _go_on(self):
        if not self._over:                       # set by on_destroy, which also cancels the scope
            self.callbacks.continue_decoding(self)   # or send_local_reply(...)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.route.model import Decision
from isthmus_proxy.runtime import Runtime

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings

Trailers = tuple[tuple[bytes, bytes], ...]

CONTINUE: Final = 0
"""Go on with the next filter."""
STOP: Final = 1
"""The head waits. This filter goes on getting the body; what it returns is kept behind it, up to the buffer limit."""
HOLD: Final = 2
"""Everything waits before this filter, body and end as well, until it calls ``continue_decoding`` or ``continue_encoding``."""


class RequestCallbacks(Protocol):
    """What a filter that looks at heads alone may ask: of an exchange of HTTP, or of a remote call.

    ``decision`` is None where no route fits.
    """

    info: StreamInfo
    head: RequestHead
    decision: Decision | None

    @property
    def cluster_name(self) -> str:
        """The cluster to which the request is routed, empty if there is none."""

    @property
    def random(self) -> Callable[[], float]:
        """Draws a number in [0, 1)."""

    @property
    def remote_address(self) -> str:
        """The peer, ``host:port``."""

    @property
    def local_address(self) -> str:
        """The address at which the client's connection arrived, ``host:port``."""

    @property
    def now(self) -> float:
        """The reactor's monotonic clock, in seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back in ``delay`` seconds; discard the timer when the exchange ends."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the reactor's next batch: the way back from a trio task."""

    def send_local_reply(self, reply: LocalReply) -> None:
        """Answer in place of an upstream. Nothing more of the exchange reaches the filter but the response."""

    def continue_decoding(self, stream_filter: RequestFilter | None = None) -> None:
        """Go on with a request that ``stream_filter`` stopped: with all of it that it holds. None: the filter never holds ends."""


class FilterCallbacks(RequestCallbacks, Protocol):
    """What a filter may ask of its exchange."""

    response_started: bool

    @property
    def buffer_limit(self) -> int:
        """Bytes that may be kept in either direction (per_connection_buffer_limit_bytes)."""

    @property
    def upgrade(self) -> bool:
        """Whether the request asks for another protocol."""

    def hold_request(self) -> None:
        """Read no more of the request's body for now: the filter has enough of it."""

    def release_request(self) -> None:
        """Read on."""

    def hold_response(self) -> None:
        """Read no more of the response's body for now: the filter has enough of it."""

    def release_response(self) -> None:
        """Read on."""

    def set_request_trailers(self, trailers: Trailers) -> None:
        """Let the filters behind, and the upstream, get these trailers: in ``decode_end`` or while the end is held."""

    def set_response_trailers(self, trailers: Trailers) -> None:
        """Let the filters before, and the client, get these trailers: in ``encode_end`` or while the end is held."""

    def set_decoder_buffer_limit(self, limit: int) -> None:
        """Let a stopped request keep ``limit`` bytes of its body before it is answered 413."""

    def set_encoder_buffer_limit(self, limit: int) -> None:
        """Let a stopped response keep ``limit`` bytes of its body before it is answered 500."""

    def request_too_large(self) -> None:
        """Answer 413: the filter was to collect the request's body, which is larger than it may be."""

    def response_too_large(self) -> None:
        """Answer 500: the filter was to collect the response's body, which is larger than it may be."""

    def set_body_length(self, length: int) -> None:
        """Send the request's body, all of which is here, with its length."""

    def set_response_length(self, length: int) -> None:
        """Send the response's body, all of which is here, with its length, while the head waits."""

    def clear_route_cache(self) -> None:
        """Choose the route anew when all filters have seen the head."""

    def continue_encoding(self, stream_filter: StreamFilter | None = None) -> None:
        """Go on with a response that ``stream_filter`` stopped: with all of it that it holds. None: the filter never holds ends."""

    def collect_request(self) -> None:
        """From HOLD to STOP: the head goes on waiting, but the filter that holds it gets the body."""

    def collect_response(self) -> None:
        """From HOLD to STOP: the head goes on waiting, but the filter that holds it gets the body."""

    def cut_off(self, details: str) -> None:
        """Break a response off that has begun and cannot be completed."""

    def inject_decoded_data(self, stream_filter: StreamFilter, data: bytes) -> None:
        """Hand ``data`` to the filters behind ``stream_filter``."""

    def inject_encoded_data(self, stream_filter: StreamFilter, data: bytes) -> None:
        """Hand ``data`` to the filters before ``stream_filter``, towards the client."""

    def continue_local_reply(self, reply: LocalReply) -> None:
        """Go on with a local reply that the filter held, as ``reply``."""


class RequestFilter:
    """A filter that lets everything pass, and asks for nothing that remote calls lack. ``callbacks`` is what it was made for.

    ``sees_responses`` is false for a class that overrides nothing of the way back but ``local_reply``: where all filters are such, a
    response goes by the plan that is remembered with its head.
    """

    sees_responses: ClassVar[bool] = True

    __slots__ = ("callbacks",)

    def __init__(self, callbacks: RequestCallbacks) -> None:
        self.callbacks = callbacks

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """The request's head; answer CONTINUE, STOP or HOLD."""
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Part of the request's body; answer what goes on in its place."""
        return data

    def decode_end(self, trailers: Trailers) -> int:
        """The request is complete; answer CONTINUE or HOLD."""
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """The response's head, or that of a local reply, for which only CONTINUE counts.

        The body of a local reply passes ``encode_data`` as well, and ``encode_end``, which may inject.
        """
        return CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        """Part of the response's body; answer what goes on in its place."""
        return data

    def encode_end(self, trailers: Trailers) -> int:
        """The response is complete; answer CONTINUE or HOLD."""
        return CONTINUE

    def local_reply(self, reply: LocalReply) -> LocalReply | None:
        """The proxy answers in place of an upstream: what goes on in place of ``reply``; None to hold it.

        Called before the reply is made into a response, which passes ``encode_headers`` like any other. A reply that is held goes
        on with ``continue_local_reply``, or is overtaken by another one (a time-out), of which no filter is asked.
        """
        return reply

    def on_destroy(self) -> None:
        """The exchange is over, whatever ended it."""


class StreamFilter(RequestFilter):
    """A filter that lets everything pass. ``callbacks`` is the exchange that it was made for."""

    __slots__ = ()

    callbacks: FilterCallbacks

    def __init__(self, callbacks: FilterCallbacks) -> None:
        super().__init__(callbacks)


class FilterFactory(Protocol):
    """One configured filter under one connection manager."""

    def create(self, callbacks: FilterCallbacks, overrides: tuple[Any, ...]) -> RequestFilter | None:
        """The filter for one exchange, None if it has nothing to do there.

        ``overrides`` are the compiled per-route configurations of the route, the least specific first.
        """


class Closable(Protocol):
    """What holds something beyond one exchange."""

    def close(self) -> None:
        """Give it up."""


class FilterContext(Protocol):
    """What a filter gets from its connection manager when that is made."""

    runtime: Runtime
    stats: StatsScope
    surroundings: Surroundings

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``task(*args)`` as a trio task beside the reactor. It must not raise, and must end with the exchange that it is for."""

    def scope(self, prefix: str) -> StatsScope:
        """Another scope of stats, which is given up with the connection manager."""

    def own(self, closable: Closable) -> None:
        """Close ``closable`` when the connection manager is given up; no exchange is left then."""

    def part(self) -> FilterContext:
        """The same for a filter that may be given up before the connection manager, by ``close``, with exchanges under way."""

    def close(self) -> None:
        """Give up everything that was made or owned here."""


class FilterConfig(Protocol):
    """The compiled configuration of a filter."""

    def make(self, context: FilterContext) -> FilterFactory:
        """The filter under one connection manager."""
