"""An exchange with HTTP filters before its router. Connection managers without filters make plain exchanges instead.

Theory of operation. The plan is made from the head as it came; filters get a copy of that head. When the last of them has
let it pass, the exchange begins as a plain one does, by the same plan if nothing changed, else by one made for the new
head. Whatever arrives in the meantime waits here, bounded: past the limit a request that a filter collects is answered 413,
and one that merely waits is read no further. The way back is the same in reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.framing import LENGTH, NO_BODY
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.exchange import Exchange
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, STOP, RequestFilter, StreamFilter
from isthmus_proxy.http.http_filter_chain import Chosen
from isthmus_proxy.http.local_reply import ROUTE_NOT_FOUND, LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.http.plan import Plan, Target, moved_plan
from isthmus_proxy.http.responding import Trailers, remembered_plan
from isthmus_proxy.http.response_plan import ResponsePlan, finish_response_plan, response_plan_head, timed_headers
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream

PAYLOAD_TOO_LARGE = LocalReply(413, "request_payload_too_large", b"Payload Too Large")
RESPONSE_TOO_LARGE = LocalReply(500, "response_payload_too_large", b"Internal Server Error")
_NOTHING: Trailers = ()


class FilteredExchange(Exchange):
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
        self._back_trailers = _NOTHING
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

    # ---- what filters ask for ----

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

    def continue_local_reply(self, reply: LocalReply) -> None:
        """Go on with a local reply that a filter held."""
        if not self.ended and not self.response_started and self._reply_at >= 0:
            self._ask_of_reply(reply)

    # ---- the request's way in ----

    def begin(self, plan: Plan, identifier: bytes) -> None:
        """Let the filters see the request first."""
        refused = plan.reply is not None and plan.reply is not ROUTE_NOT_FOUND
        chosen = () if refused else self._choose(plan)
        for factory, configs in chosen:
            made = factory.create(self, configs)
            if made is not None:
                self._filters.append(made)
                self._back_seen |= made.sees_responses
        if not self._filters:
            super().begin(plan, identifier)
            return
        self._plain = False
        self._pending = plan
        self.identifier = identifier
        head = plan.head
        self._came = [*plan.named_head(identifier).headers]
        self.head = RequestHead(head.method, head.path, head.authority, [*self._came], head.version)
        self.head.scheme = head.scheme
        self._tell(plan)
        self._back_at = len(self._filters) - 1
        self._decode_headers()

    def _choose(self, plan: Plan) -> Chosen:
        action = plan.action
        self.decision = plan.decision
        if action is not None:
            self._weight = action.clusters[0] if len(action.clusters) == 1 else super().pick(plan, action)
        chain = self.manager.filters
        return () if chain is None else chain.choose(plan.decision, self._weight)

    def _tell(self, plan: Plan) -> None:
        """What the log shows where a filter answers."""
        info = self.info
        info.request = self.head
        if plan.client:
            info.downstream_remote = plan.client
        if plan.decision is not None:
            info.route_name = plan.decision.route.name
            info.virtual_host = plan.decision.virtual_host.name
        if self._complete:
            info.request_end_at = info.started_at
        if self.manager.clusters.get(self.cluster_name) is not None:
            info.upstream_cluster = self.cluster_name

    def pick(self, plan: Plan, action: ForwardAction) -> ClusterWeight:
        """The cluster by whose settings the filters were chosen, unless one of them asked for a new route."""
        weight = self._weight
        return super().pick(plan, action) if weight is None or self._reroute else weight

    def _decode_headers(self) -> None:
        end_stream = self.request.framing == NO_BODY or self.body.parts is not None
        while self._at < len(self._filters):
            status = self._filters[self._at].decode_headers(self.head, end_stream)
            if self.ended:
                return
            self._at += 1
            if status != CONTINUE:
                self._stop = status
                return
        self._stop = CONTINUE
        self._route()

    def _route(self) -> None:
        """All filters have let the head pass."""
        plan = self._pending
        if plan is None:
            return
        if self._end_seen:
            self.request_done = False  # what waited here is passed on next
        self.info.upstream_cluster = ""
        super().begin(self._changed(plan), self.identifier)

    def _changed(self, plan: Plan) -> Plan:
        head, came = self.head, plan.head
        table = plan.table
        if self._reroute and table is not None:
            decision = table.decide(head, self.manager.random())
            if decision is not None:
                return moved_plan(table, head, decision, upgrade=plan.upgrade)
            changed = Plan(table, head)
            changed.reply = ROUTE_NOT_FOUND
            return changed
        same = head.path == came.path and head.authority == came.authority and head.method == came.method
        if same and head.headers == self._came:
            return plan
        changed = Plan(table, head)
        changed.decision, changed.action, changed.reply = plan.decision, plan.action, plan.reply
        changed.upgrade, changed.groups = plan.upgrade, plan.groups
        return changed

    def request_data(self, data: bytes) -> None:
        """More of the request's body."""
        if self._plain:
            super().request_data(data)
            return
        self.info.bytes_received += len(data)
        if self.ended or self._reply_at >= 0:
            return
        self._decode_data(data, 0)

    @property
    def _reached(self) -> int:
        """How many filters body and end may pass: those whose head has passed, and one that stopped it but does not hold."""
        return self._at - 1 if self._stop == HOLD else self._at

    def _decode_data(self, data: bytes, index: int) -> None:
        while index < self._reached:
            data = self._filters[index].decode_data(data)
            if self.ended or not data:
                return
            index += 1
        if self._stop == CONTINUE:
            self.info.bytes_received -= len(data)  # counted when it came
            super().request_data(data)
            return
        self._held.append(data)
        self._kept += len(data)
        if self._stop == HOLD:
            if self._kept > self.buffer_limit:
                self.connection.hold_request()
        elif self._kept > self._limit:
            self.request_too_large()

    def request_end(self, trailers: Trailers = ()) -> None:
        """The request is complete."""
        self._complete = True
        if self._plain:
            super().request_end(trailers)
            return
        self._end_seen = True
        self.trailers = trailers
        self.request_done = True
        self.info.request_end_at = self.manager.reactor.now
        if not self.ended and self._reply_at < 0:
            self._decode_end(0)

    def _decode_end(self, index: int) -> None:
        while index < self._reached:
            status = self._filters[index].decode_end(self.trailers)
            if self.ended:
                return
            index += 1
            if status != CONTINUE:
                self._next = index
                return
        if self._stop == CONTINUE:
            super().request_end(self.trailers)
        else:
            self._end_at = index

    def continue_decoding(self, stream_filter: RequestFilter | None = None) -> None:
        """Go on with a request that a filter stopped: with its head, its end, or both."""
        behind = -1 if stream_filter is None else self._filters.index(stream_filter) + 1
        if self._next >= 0 and not self.ended and (self._next == behind or (behind < 0 and self._stop == CONTINUE)):
            index, self._next = self._next, -1
            self._decode_end(index)
            if behind < 0:
                return
        if self.ended or self._stop == CONTINUE or behind not in (-1, self._at):
            return
        first = self._reached
        self._decode_headers()
        self._go_on_decoding(first)

    def collect_request(self) -> None:
        """Let the filter that holds the head have the body."""
        if not self.ended and self._stop == HOLD:
            first = self._reached
            self._stop = STOP
            self._go_on_decoding(first)

    def _go_on_decoding(self, first: int) -> None:
        """Hand on what waited before filter ``first``, as far as it may go now."""
        held, self._held = self._held, []
        self._kept = 0
        for data in held:
            if not self.ended:
                self._decode_data(data, first)
        self.release_request()
        if self._end_at >= 0 and not self.ended:
            index, self._end_at = self._end_at, -1
            self._decode_end(index)

    def inject_decoded_data(self, stream_filter: StreamFilter, data: bytes) -> None:
        """Hand ``data`` to the filters behind ``stream_filter``."""
        if not self.ended and data:
            self._decode_data(data, self._filters.index(stream_filter) + 1)

    # ---- the response's way back ----

    def _response_head(self, response: ParsedResponse) -> None:
        target = self.target
        if self._plain or not self._back_seen or target is None or self.request.switches:
            super()._response_head(response)
            return
        self.info.status = response.status
        self._response_head_made = head = self._head_for_filters(response, target)
        self._back_came = [*head.headers]
        self._back_kept = response
        self._encode_headers()

    def _head_for_filters(self, response: ParsedResponse, target: Target) -> ResponseHead:
        """The head of ``response`` as the router hands it on; like the one of an equal response before, where nothing else counts."""
        now = self.manager.reactor.now
        took = int((now - (self.info.request_end_at or now)) * 1000.0)
        plan = remembered_plan(self, response, target)
        head = plan.head_for_filters(took) if plan is not None else None
        if plan is not None and head is not None:
            self.info.response, self._handed_on = head, plan.handed_on
            return head
        cookies = self.balancing.set_cookies if self.balancing is not None else ()
        static = target.style.static
        head = response_plan_head(
            response,
            self.manager.config,
            target.style,
            self.info,
            self.request,
            cookies=cookies,
            milliseconds=-1 if static else took,
        )
        if static:
            self._handed_on = head.headers
            head.headers = timed_headers(head.headers, took)
        return head

    def _encode_headers(self) -> None:
        response, head = self._back_kept, self._response_head_made
        if response is None or head is None:
            return
        end_stream = self._bodyless(response)
        while self._back_at >= 0:
            status = self._filters[self._back_at].encode_headers(head, end_stream)
            if self.ended:
                return
            self._back_at -= 1
            if status != CONTINUE:
                self._back_stop = status
                return
        self._back_stop = CONTINUE
        self._back_same = head.headers == self._back_came and head.status == response.status
        if not self._back_same:
            response.plan = None  # plans of responses that filters changed hold for one exchange alone
        super()._response_head(response)
        if self._back_same and response.plan is self.response and self.response is not None:
            self.response.handed_on = self._handed_on

    def _bodyless(self, response: ParsedResponse) -> bool:
        return response.framing == NO_BODY or self.request.method == b"HEAD"

    def plan_response(self, response: ParsedResponse, target: Target) -> ResponsePlan:
        """How the head that the filters made is written."""
        head = self._response_head_made
        if self._plain or head is None:
            return super().plan_response(response, target)
        if self._back_same:
            return super().plan_response(response, target)
        connection = self.connection
        if self.request.version == b"HTTP/1.0" and self._ends_with_connection(response, head):
            connection.closing = True
        keep_alive = not (connection.closing or self.manager.draining)
        config = self.manager.config
        return finish_response_plan(
            head,
            response,
            config,
            target.style,
            self.request,
            keep_alive=keep_alive,
            plan_type=connection.plan_type,
        )

    def _ends_with_connection(self, response: ParsedResponse, head: ResponseHead) -> bool:
        return not self._bodyless(response) and head.get(b"content-length") is None

    def body_sink(self) -> Connection | None:
        """See Exchange: none while filters look at the response."""
        return super().body_sink() if self._response_head_made is None and self._reply_at < 0 else None

    def _response_data(self, data: bytes) -> None:
        if self.ended or self._reply_at >= 0:
            return
        if self._response_head_made is None:
            super()._response_data(data)
        else:
            self._encode_data(data, len(self._filters) - 1)

    @property
    def _back_reached(self) -> int:
        """The first filter, counted from the router, that body and end may not pass yet."""
        return self._back_at + 1 if self._back_stop == HOLD else self._back_at

    def _encode_data(self, data: bytes, index: int) -> None:
        while index > self._back_reached:
            data = self._filters[index].encode_data(data)
            if self.ended or not data:
                return
            index -= 1
        if self._back_stop == CONTINUE:
            super()._response_data(data)
            return
        self._back_held.append(data)
        self._back_size += len(data)
        if self._back_stop == HOLD:
            if self._back_size > self.buffer_limit:
                self.hold_response()
        elif self._back_size > self._back_limit:
            self.response_too_large()

    def _response_done(self, trailers: Trailers = ()) -> None:
        if self.ended or self._reply_at >= 0:
            return
        if self._response_head_made is None:
            super()._response_done(trailers)
            return
        upstream, cluster = self.upstream, self.cluster
        came = upstream is not None and cluster is not None and (upstream.http2 or cluster.config.enable_trailers)
        self._back_trailers = trailers if came else _NOTHING
        self._encode_end(len(self._filters) - 1)
        if self._back_stop != CONTINUE or self._back_next > -2:
            # The upstream's part is over, though the response is not.
            self.upstream = None
            self.attempt_over()
            self.pool = None

    def _encode_end(self, index: int) -> None:
        response = self._back_kept
        if response is None or not self._bodyless(response):
            while index > self._back_reached:
                status = self._filters[index].encode_end(self._back_trailers)
                if self.ended:
                    return
                index -= 1
                if status != CONTINUE:
                    self._back_next = index
                    return
        if self._back_stop == CONTINUE:
            # Filters see trailers that this client is not to have: some put them elsewhere.
            may = self.connection.http2 or self.manager.config.enable_trailers
            super()._response_done(self._back_trailers if may else _NOTHING)
        else:
            self._back_end_at = index

    def continue_encoding(self, stream_filter: StreamFilter | None = None) -> None:
        """Go on with a response that a filter stopped: with its head, its end, or both."""
        before = -2 if stream_filter is None else self._filters.index(stream_filter) - 1
        held_end = self._back_next
        if held_end > -2 and not self.ended and (held_end == before or (before < -1 and self._back_stop == CONTINUE)):
            self._back_next = -2
            self._encode_end(held_end)
            if before < -1:
                return
        if self.ended or self._back_stop == CONTINUE or before not in (-2, self._back_at):
            return
        first = self._back_reached
        self._encode_headers()
        self._go_on_encoding(first)

    def collect_response(self) -> None:
        """Let the filter that holds the head have the body."""
        if not self.ended and self._back_stop == HOLD:
            first = self._back_reached
            self._back_stop = STOP
            self._go_on_encoding(first)

    def _go_on_encoding(self, first: int) -> None:
        """Hand on what waited behind filter ``first``, as far as it may go now."""
        held, self._back_held = self._back_held, []
        self._back_size = 0
        for data in held:
            if not self.ended:
                self._encode_data(data, first)
        self.release_response()
        if self._back_end_at > -2 and not self.ended:
            index, self._back_end_at = self._back_end_at, -2
            self._encode_end(index)

    def set_response_length(self, length: int) -> None:
        """Send the response's body, all of which is here, with its length."""
        kept, head = self._back_kept, self._response_head_made
        if kept is None or head is None:
            return
        set_header(head.headers, b"content-length", b"%d" % length)
        # Others share the one that came.
        self._back_kept = sized = ParsedResponse(kept.status, kept.version, list(kept.headers), {})
        sized.framing, sized.length = LENGTH, length

    def inject_encoded_data(self, stream_filter: StreamFilter, data: bytes) -> None:
        """Hand ``data`` to the filters before ``stream_filter``, towards the client."""
        if self._reply_body is not None:
            self._reply_body.append(data)
        elif not self.ended and data:
            self._encode_data(data, self._filters.index(stream_filter) - 1)

    # ---- local replies and the end ----

    def cut_off(self, details: str) -> None:
        """Break a response off that has begun."""
        if not self.ended:
            self.give_up()
            self.break_off("", details)

    def reply(self, reply: LocalReply) -> None:
        """Answer in place of an upstream; filters are asked of the answer and see it as a response."""
        if not self._plain:
            self._back_stop = CONTINUE
            self._back_held.clear()
            self._response_head_made = None
        super().reply(reply)

    def _local_reply(self, reply: LocalReply, edit: Callable[[Headers], None] | None) -> None:
        if self._plain:
            super()._local_reply(reply, edit)
        elif self._reply_at >= 0:  # filters are asked of another one, which this one overtakes
            self._send_reply(reply, edit)
        else:
            self.connection.route_timer.cancel()
            self._reply_at = len(self._filters)
            self._reply_edit = edit
            self._ask_of_reply(reply)

    def _ask_of_reply(self, reply: LocalReply) -> None:
        while self._reply_at > 0:
            self._reply_at -= 1
            changed = self._filters[self._reply_at].local_reply(reply)
            if changed is None or self.ended:
                return
            reply = changed
        self._send_reply(reply, self._reply_edit)

    def _send_reply(self, reply: LocalReply, edit: Callable[[Headers], None] | None) -> None:
        self._reply_at = -1
        self.request_done = self._complete
        self.connection.local_reply(self, reply, edit, self._encode_reply)

    def _encode_reply(self, status: int, headers: Headers, body: bytes) -> bytes:
        head = ResponseHead(status, headers)
        end_stream = not body or self.request.method == b"HEAD"
        for stream_filter in reversed(self._filters):
            stream_filter.encode_headers(head, end_stream)
        if head.headers is not headers:
            headers[:] = head.headers
        return body if end_stream else self._encode_reply_body(body)

    def _encode_reply_body(self, body: bytes) -> bytes:
        """All of the body, through all filters; what they inject comes at its place."""
        pieces = [body]
        for stream_filter in reversed(self._filters):
            injected: list[bytes] = []
            self._reply_body = injected
            passed = [stream_filter.encode_data(piece) for piece in pieces if piece]
            stream_filter.encode_end(_NOTHING)
            pieces = [*passed, *injected]
        self._reply_body = None
        return b"".join(pieces)

    def finish(self) -> None:
        """End the exchange and its filters."""
        if not self.ended:
            for stream_filter in self._filters:
                stream_filter.on_destroy()
        super().finish()
