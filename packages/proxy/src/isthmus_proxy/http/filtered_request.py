"""The way of a request through HTTP filters, to the router: see ``filtered_exchange``."""

from __future__ import annotations

from isthmus_proxy.codec.http1.framing import NO_BODY
from isthmus_proxy.http.filter_demands import FilterDemands
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, STOP, RequestFilter, StreamFilter
from isthmus_proxy.http.http_filter_chain import Chosen
from isthmus_proxy.http.local_reply import ROUTE_NOT_FOUND
from isthmus_proxy.http.plan import Plan, moved_plan
from isthmus_proxy.http.responding import Trailers
from isthmus_proxy.route.model import ClusterWeight, ForwardAction


class FilteredRequest(FilterDemands):
    """What comes from the client, passed from filter to filter."""

    __slots__ = ()

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
        table = self.manager.table_for(head) if self._reroute and self.manager.scopes is not None else plan.table
        if self._reroute and (table is not None or self.manager.scopes is not None):
            decision = table.decide(head, self.manager.random()) if table is not None else None
            if decision is not None and table is not None:
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
