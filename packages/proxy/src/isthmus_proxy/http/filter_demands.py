"""What HTTP filters may ask of their exchange (``filters.stream_filter.FilterCallbacks``), and what it remembers of both ways.

The ways themselves are ``filtered_request`` and ``filtered_exchange``, whose module says how they work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.exchange import Exchange
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, RequestFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead
from isthmus_proxy.http.plan import Plan
from isthmus_proxy.http.responding import Trailers
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.route.model import ClusterWeight, Decision

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream

PAYLOAD_TOO_LARGE = LocalReply(413, "request_payload_too_large", b"Payload Too Large")
RESPONSE_TOO_LARGE = LocalReply(500, "response_payload_too_large", b"Internal Server Error")
NOTHING: Trailers = ()


class FilterDemands(Exchange):
    """See the module. ``head`` is the request as the filters made it so far; ``decision`` its route."""

    __slots__ = (
        "_at", "_back_at", "_back_came", "_back_done", "_back_end_at", "_back_held", "_back_kept", "_back_limit", "_back_next",
        "_back_same", "_back_seen", "_back_size", "_back_stop", "_back_trailers", "_came", "_client_full", "_complete",
        "_end_at", "_end_seen", "_filters", "_handed_on", "_held", "_kept", "_limit", "_next", "_pending", "_plain", "_reply_at",
        "_reply_body", "_reply_edit", "_reroute", "_response_head_made", "_stop", "_upstream_full", "_weight", "decision",
        "head",
    )  # fmt: skip

    def __init__(
        self,
        connection: DownstreamConnection | Http2DownstreamStream,
        manager: HttpConnectionManager,
        request: ParsedRequest,
        *,
        done: bool,
    ) -> None:
        super().__init__(connection, manager, request, done=done)
        self._complete = done
        self._plain = True
        self._filters: list[RequestFilter] = []
        self._at = 0
        self._stop = CONTINUE
        self._held: list[bytes] = []
        self._kept = 0
        self._limit = connection.buffer_limit
        self._end_seen = False
        self._end_at = -1
        self._next = -1
        self._back_end_at = -2
        self._back_next = -2
        self._back_at = -1
        self._back_stop = CONTINUE
        self._back_held: list[bytes] = []
        self._back_kept: ParsedResponse | None = None
        self._back_limit = connection.buffer_limit
        self._back_size = 0
        self._upstream_full = False
        self._client_full = False
        self._back_trailers = NOTHING
        self._response_head_made: ResponseHead | None = None
        self._back_seen = False
        self._back_same = False
        self._back_came: Headers = []
        self._handed_on: Headers | None = None
        self._pending: Plan | None = None
        self._came: Headers = []
        self._reroute = False
        self._reply_at = -1
        self._reply_body: list[bytes] | None = None
        self._reply_edit: Callable[[Headers], None] | None = None
        self._weight: ClusterWeight | None = None
        self.decision: Decision | None = None
        self.head = RequestHead(request.method, request.path, request.authority, [])

    @property
    def buffer_limit(self) -> int:
        """Bytes that may be kept in either direction."""
        return self.connection.buffer_limit

    @property
    def cluster_name(self) -> str:
        """The cluster to which the request is routed, empty if there is none."""
        return self._weight.cluster if self._weight is not None else ""

    @property
    def random(self) -> Callable[[], float]:
        """Draws a number in [0, 1)."""
        return self.manager.random

    @property
    def upgrade(self) -> bool:
        """Whether the request asks for another protocol."""
        return self._pending is not None and self._pending.upgrade

    @property
    def remote_address(self) -> str:
        """The peer, ``host:port``."""
        return self.connection.remote

    @property
    def local_address(self) -> str:
        """The address at which the client's connection arrived."""
        return self.connection.local

    @property
    def now(self) -> float:
        """The reactor's monotonic clock, in seconds."""
        return self.manager.reactor.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back in ``delay`` seconds."""
        return self.manager.reactor.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the reactor's next batch."""
        self.manager.reactor.call_soon(callback)

    def hold_request(self) -> None:
        """Read no more of the request's body for now."""
        if not self.ended:
            self.connection.hold_request()

    def release_request(self) -> None:
        """Read on."""
        if not self.ended and self._stop != HOLD and not self._upstream_full:
            self.connection.release_request()

    def hold_response(self) -> None:
        """Read no more of the response's body for now."""
        super().downstream_blocked()

    def release_response(self) -> None:
        """Read on."""
        if self._back_stop != HOLD and not self._client_full:
            super().downstream_writable()

    def upstream_blocked(self) -> None:
        """The endpoint reads too slowly."""
        self._upstream_full = True
        super().upstream_blocked()

    def upstream_writable(self) -> None:
        """The endpoint has caught up."""
        self._upstream_full = False
        super().upstream_writable()

    def downstream_blocked(self) -> None:
        """The client reads too slowly."""
        self._client_full = True
        super().downstream_blocked()

    def downstream_writable(self) -> None:
        """The client has caught up."""
        self._client_full = False
        super().downstream_writable()

    def set_request_trailers(self, trailers: Trailers) -> None:
        """Let the filters behind, and the upstream, get these trailers."""
        self.trailers = trailers

    def set_response_trailers(self, trailers: Trailers) -> None:
        """Let the filters before, and the client, get these trailers."""
        self._back_trailers = trailers

    def set_decoder_buffer_limit(self, limit: int) -> None:
        """Let a stopped request keep ``limit`` bytes of its body."""
        self._limit = limit

    def set_encoder_buffer_limit(self, limit: int) -> None:
        """Let a stopped response keep ``limit`` bytes of its body."""
        self._back_limit = limit

    def request_too_large(self) -> None:
        """Answer 413."""
        self.manager.stats.downstream_rq_too_large.value += 1
        self._complete = False  # the rest of it is not read
        self.send_local_reply(PAYLOAD_TOO_LARGE)

    def response_too_large(self) -> None:
        """Answer 500."""
        self.send_local_reply(RESPONSE_TOO_LARGE)

    def set_body_length(self, length: int) -> None:
        """Send the request's body, all of which is here, with its length."""
        self.request = self.request.with_length(length)
        headers = [field for field in self.head.headers if field[0] != b"content-length"]
        self.head.headers = [*headers, (b"content-length", b"%d" % length)]

    def clear_route_cache(self) -> None:
        """Choose the route anew when all filters have seen the head."""
        self._reroute = True

    def send_local_reply(self, reply: LocalReply) -> None:
        """Answer in place of an upstream."""
        if not self.ended and not self.response_started:
            self.reply(reply)
