"""An exchange with HTTP filters before its router. Connection managers without filters make plain exchanges instead.

Theory of operation. The plan is made from the head as it came; filters get a copy of that head. When the last of them has
let it pass, the exchange begins as a plain one does, by the same plan if nothing changed, else by one made for the new
head. Whatever arrives in the meantime waits here, bounded: past the limit a request that a filter collects is answered 413,
and one that merely waits is read no further. The way back is the same in reverse.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.codec.http1.framing import LENGTH, NO_BODY
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.filter_demands import NOTHING
from isthmus_proxy.http.filtered_request import FilteredRequest
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, STOP, StreamFilter
from isthmus_proxy.http.local_reply import ROUTE_NOT_FOUND, LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.http.plan import Plan, Target
from isthmus_proxy.http.responding import Trailers, remembered_plan
from isthmus_proxy.http.response_plan import ResponsePlan, finish_response_plan, response_plan_head, timed_headers
from isthmus_proxy.reactor.connection import Connection


class FilteredExchange(FilteredRequest):
    """See the module."""

    __slots__ = ()

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
        self._back_trailers = trailers if came else NOTHING
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
            super()._response_done(self._back_trailers if may else NOTHING)
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

    def continue_local_reply(self, reply: LocalReply) -> None:
        """Go on with a local reply that a filter held."""
        if not self.ended and not self.response_started and self._reply_at >= 0:
            self._ask_of_reply(reply)

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
            stream_filter.encode_end(NOTHING)
            pieces = [*passed, *injected]
        self._reply_body = None
        return b"".join(pieces)

    def finish(self) -> None:
        """End the exchange and its filters."""
        if not self.ended:
            for stream_filter in self._filters:
                stream_filter.on_destroy()
        super().finish()
