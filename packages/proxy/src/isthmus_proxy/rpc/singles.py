"""Requests with which something is done one by one: filters, spans, header edits, copies. All others go in bursts.

Theory of operation. Filters see a request's head, and may hold or answer it; then its span begins, and what both changed is
written into the frame; then it is routed as any other. What is remembered of it (``Call``) lives until its answer is sent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus_proxy.codec.rpc import ONE_WAY, SEALED, Frame, Unreadable
from isthmus_proxy.http.http_filter_chain import Chosen, HttpFilterChain
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.request_id import request_id
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.http.surroundings import Surroundings, Tracer
from isthmus_proxy.rpc.burst import Burst, Call
from isthmus_proxy.rpc.call_log import answered_info, call_info
from isthmus_proxy.rpc.outcomes import REFUSED_BY_LIMIT
from isthmus_proxy.rpc.plan import RpcPlan, apply_edits
from isthmus_proxy.rpc.router import OVERFLOW

if TYPE_CHECKING:
    from isthmus_proxy.route.model import ClusterWeight, Decision, MirrorPolicy
    from isthmus_proxy.rpc.downstream_connection import RpcDownstreamConnection
    from isthmus_proxy.rpc.filtered_call import FilteredCall
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy

_OF_GRPC = {4: 504, 5: 404, 7: 403, 8: 429, 12: 404, 14: 503, 16: 401}
_NOBODY_WAITS = 0


class Single:
    """One request. ``data`` is its frame, whose identifier is ``original``; ``weight`` the cluster drawn for it, if it is known."""

    __slots__ = ("call", "data", "downstream", "extra", "form", "held", "one_way", "original", "plan", "weight")

    def __init__(self, downstream: RpcDownstreamConnection, plan: RpcPlan, data: bytes, frame: Frame) -> None:
        self.downstream = downstream
        self.plan = plan
        self.data = data
        self.original = frame[3]
        self.extra = frame[7]
        self.form = frame[8]
        self.one_way = frame[0] & ~SEALED == ONE_WAY
        self.weight: ClusterWeight | None = None
        self.call: Call | None = None
        self.held: FilteredCall | None = None

    def abandon(self) -> None:
        """The client is gone."""
        if self.held is not None:
            self.held.abandon()
        if self.call is not None:
            self.call.finished()


class Singles:
    """See the module."""

    __slots__ = ("_clock", "_filters", "_getrandbits", "_proxy", "_random", "_runtime", "_tracer")

    def __init__(
        self, proxy: RpcProxy, surroundings: Surroundings, filters: HttpFilterChain | None, tracer: Tracer | None
    ) -> None:
        self._proxy = proxy
        self._filters = filters
        self._tracer = tracer
        self._runtime = surroundings.runtime
        self._random = surroundings.random
        self._getrandbits = surroundings.getrandbits
        self._clock = surroundings.clock

    def concerns(self, decision: Decision | None, clusters: tuple[ClusterWeight, ...]) -> bool:
        """Whether requests that go by ``decision`` to ``clusters`` are traced or pass filters."""
        if self._tracer is not None:
            return True
        if self._filters is None:
            return False
        return any(self._filters.choose(decision, weight) for weight in clusters or (None,))

    # ---- filters and spans ----

    def take(self, downstream: RpcDownstreamConnection, data: bytes, frame: Frame, plan: RpcPlan) -> None:
        """Send one request of ``plan``, or answer it; ``data`` is its frame alone."""
        single = Single(downstream, plan, data, frame)
        single.weight = self._proxy.router.target(plan)
        chosen: Chosen = () if self._filters is None else self._filters.choose(plan.decision, single.weight)
        if not chosen and self._tracer is None:
            self._route(single)
            return
        info = call_info(self._proxy, downstream, plan, data, self._proxy.reactor.now)
        single.call = Call(self._proxy.reactor.now)
        single.call.info = info
        if chosen:
            self._filter(single, info, chosen)
        else:
            self._trace(single, info, [])

    def _filter(self, single: Single, info: StreamInfo, chosen: Chosen) -> None:
        from isthmus_proxy.rpc.filtered_call import FilteredCall  # noqa: PLC0415 - loaded where there are filters

        plan, head = single.plan, info.request or single.plan.head
        cluster = plan.cluster_name(single.weight) if single.weight is not None else ""
        done = partial(self._filtered, single, list(head.headers))
        held = FilteredCall(self._proxy.reactor, self._random, info, head, plan.decision, cluster, done)
        single.held = held
        if single.call is not None:
            single.call.filters = held.filters
        held.run(chosen)
        if held.waiting:
            single.downstream.hold(single)

    def _filtered(self, single: Single, before: Headers, reply: LocalReply | None) -> None:
        """All filters have seen the request; ``before`` are its headers as they came."""
        single.downstream.release(single)
        call = single.call
        if call is None or call.info is None:
            return
        if reply is not None:
            self._refuse(single, _status(reply), reply.details)
            return
        head = call.info.request
        changes = [] if head is None else [field for field in head.headers if field not in before]
        self._trace(single, call.info, changes)

    def _trace(self, single: Single, info: StreamInfo, changes: Headers) -> None:
        """Begin the span, and write what is new in the headers into the frame."""
        tracer, head = self._tracer, info.request
        if tracer is not None and head is not None:
            from isthmus_proxy.rpc.trace_context import begin_call  # noqa: PLC0415 - loaded where calls are traced

            decision = single.plan.decision
            route = decision.route if decision is not None else None
            begin_call(tracer, info, head, route, request_id(self._getrandbits))
        if changes or info.span is not None:
            single.data = self._rewritten(single.data, info, changes)
        self._route(single)

    def _rewritten(self, data: bytes, info: StreamInfo, changes: Headers) -> bytes:
        codec = self._proxy.codec
        try:
            frames, _, _ = codec.split(data, len(data))
            headers = codec.read(data, frames[0]).headers
            for name, value in changes:
                headers[:] = [field for field in headers if field[0].lower() != name]
                headers.append((name, value))
            if info.span is not None:
                from isthmus_proxy.rpc.trace_context import inject  # noqa: PLC0415 - the same

                inject(info.span, headers, codec.name)
            return codec.with_headers(data, headers)
        except Unreadable:
            self._proxy.stats.edit_failed.value += 1
            return data

    # ---- routes ----

    def _route(self, single: Single) -> None:
        proxy, plan = self._proxy, single.plan
        single.downstream.form = single.form
        if plan.reply:
            status, details, flag = proxy.refusal(plan)
            self._refuse(single, status, details, flag)
            return
        burst = proxy.router.begin(plan, single.downstream, single.extra, single.form, None, single.weight)
        if burst is None:
            status, details, flag = proxy.refusal(plan)
            self._refuse(single, status, details, flag)
            return
        if burst.upstream.pool.room(burst.upstream) < 1:
            burst.upstream.pool.overflowed(burst.upstream)
            self._refuse(single, REFUSED_BY_LIMIT, OVERFLOW, "UO")
            return
        if single.call is not None:
            single.call.deadline = burst.last_deadline
            burst.call = single.call
        if single.one_way:
            self._send_one_way(single, burst)
        else:
            proxy.outcomes.send_alone(burst, single.original, single.data, single.data if plan.retains else None)
        if plan.action is not None and plan.action.mirrors:
            self._copy(single, burst, plan.action.mirrors)

    def _send_one_way(self, single: Single, burst: Burst) -> None:
        """Send a request that nobody waits for: it is never tried again, and nobody is told when it fails."""
        proxy, plan, upstream = self._proxy, single.plan, burst.upstream
        cluster = upstream.pool.cluster
        data = proxy.edited(plan, single.data, cluster.name)
        upstream.send(proxy.codec.set_id(data, upstream.next_id()))
        cluster.stats.upstream_rq_total.value += 1
        upstream.pool.endpoint.rq_total += 1
        plan.stats.total.value += 1
        if proxy.logs:
            proxy.write_log(answered_info(proxy, burst, single.data, 0, 0))
        if single.call is not None:
            single.call.finished()

    def _refuse(self, single: Single, status: int, details: str, flag: str = "") -> None:
        """Answer the request here, unless nobody waits for that."""
        proxy = self._proxy
        call = single.call
        if single.one_way:
            single.plan.stats.local.value += 1
        else:
            info = call.info if call is not None else None
            proxy.refused(
                single.downstream, single.plan, single.original, single.form, single.data, status, details, flag, info
            )
        if call is not None:
            call.finished()

    # ---- copies ----

    def _copy(self, single: Single, burst: Burst, policies: tuple[MirrorPolicy, ...]) -> None:
        """Send copies of the request, as it goes upstream, to the clusters of those policies that are drawn."""
        proxy, plan = self._proxy, single.plan
        random = self._random()
        data = proxy.edited(plan, single.data, burst.upstream.pool.cluster.name)
        for policy in policies:
            if policy.fraction is not None and not self._runtime.admits(policy.fraction, random):
                continue
            name = policy.cluster or (plan.head.get(policy.cluster_header) or b"").decode("latin-1")
            upstream = proxy.router.copy_connection(name, proxy.nobody, single.form)
            # A copy must not slow the original: whoever reads copies too slowly gets no more of them.
            if upstream is None or upstream.blocked or upstream.pool.room(upstream) < 1:
                proxy.stats.mirror_dropped.value += 1
                continue
            copy = Burst(
                proxy.nobody, proxy.copies, upstream, single.extra, single.form, proxy.reactor.now, burst.last_deadline,
                whole=False,
            )  # fmt: skip
            if copy.deadline < upstream.timer.at:
                upstream.timer.set(copy.deadline)
            self._send_copy(copy, self._mutated(data, policy), one_way=single.one_way)

    def _send_copy(self, copy: Burst, data: bytes, *, one_way: bool) -> None:
        if not one_way:
            self._proxy.outcomes.send_alone(copy, _NOBODY_WAITS, data, None)
            return
        upstream = copy.upstream
        upstream.send(self._proxy.codec.set_id(data, upstream.next_id()))
        upstream.pool.cluster.stats.upstream_rq_total.value += 1
        copy.plan.stats.total.value += 1

    def _mutated(self, data: bytes, policy: MirrorPolicy) -> bytes:
        """The frame of a copy with the header mutations of its policy."""
        if not policy.edits:
            return data
        codec = self._proxy.codec
        now = self._proxy.reactor.now
        try:
            frames, _, _ = codec.split(data, len(data))
            headers = codec.read(data, frames[0]).headers
            apply_edits(policy.edits, headers, StreamInfo(now, self._clock.at(now)))
            return codec.with_headers(data, headers)
        except Unreadable:
            self._proxy.stats.edit_failed.value += 1
            return data


def _status(reply: LocalReply) -> int:
    """The HTTP status that a reply stands for; of gRPC's, that which means the same."""
    if reply.grpc_status and reply.status == 200:
        return _OF_GRPC.get(reply.grpc_status, 500)
    return reply.status
