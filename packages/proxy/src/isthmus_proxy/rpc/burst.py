"""Requests that were read at once from one client and go the same way: they share everything but their identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.http.filters.stream_filter import RequestFilter
    from isthmus_proxy.http.retry import RetryState
    from isthmus_proxy.http.stream_info import StreamInfo
    from isthmus_proxy.rpc.plan import RpcPlan
    from isthmus_proxy.rpc.requester import RpcRequester
    from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection


class Call:
    """What is remembered of one request that is tried again, passes filters or has a span.

    ``deadline`` is that of all attempts. ``breaker`` counts the retry that runs, None if none does. ``info`` is what filters and
    tracer know of it, None if there are none.
    """

    __slots__ = ("attempts", "breaker", "deadline", "filters", "info", "previous", "retry", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.deadline = started
        self.attempts = 1
        self.retry: RetryState | None = None
        self.breaker: CircuitBreaker | None = None
        self.previous: list[Endpoint] = []
        self.info: StreamInfo | None = None
        self.filters: list[RequestFilter] = []

    def attempt_over(self) -> None:
        """The retry that ran is over, if one did."""
        if self.breaker is not None:
            self.breaker.active_retries -= 1
            self.breaker = None

    def finished(self) -> None:
        """The request has its answer, or will never get one."""
        self.attempt_over()
        for each in self.filters:
            each.on_destroy()
        self.filters.clear()


class Burst:
    """See the module. Times are the reactor's, in seconds; deadlines may be infinite. ``form`` is as in a frame.

    ``deadline`` is when this attempt is given up, ``last_deadline`` when no other one may follow. ``whole``: all requests of the
    plan go to this connection, so that nothing has to be chosen for each. ``call`` is set where the burst is a single request of
    which something is remembered.
    """

    __slots__ = (
        "call", "deadline", "downstream", "extra", "form", "last_deadline", "plan", "started", "upstream", "whole",
    )  # fmt: skip

    def __init__(
        self,
        downstream: RpcRequester,
        plan: RpcPlan,
        upstream: RpcUpstreamConnection,
        extra: int,
        form: int,
        started: float,
        deadline: float,
        *,
        whole: bool,
    ) -> None:
        self.downstream = downstream
        self.plan = plan
        self.upstream = upstream
        self.extra = extra
        self.form = form
        self.started = started
        self.deadline = self.last_deadline = deadline
        self.whole = whole
        self.call: Call | None = None
        if plan.per_try:
            self.deadline = min(deadline, started + plan.per_try)
