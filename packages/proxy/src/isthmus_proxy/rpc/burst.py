"""Requests that were read at once from one client and go the same way: they share everything but their identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.http.retry import RetryState
    from isthmus_proxy.rpc.downstream_connection import RpcDownstreamConnection
    from isthmus_proxy.rpc.plan import RpcPlan
    from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection


class Call:
    """What a request that is tried again remembers from its first attempt. ``breaker`` counts the retry that runs, None if none does."""

    __slots__ = ("attempts", "breaker", "deadline", "previous", "retry", "started")

    def __init__(self, retry: RetryState, started: float, deadline: float) -> None:
        self.retry = retry
        self.started = started
        self.deadline = deadline
        self.attempts = 1
        self.breaker: CircuitBreaker | None = None
        self.previous: list[Endpoint] = []

    def over(self) -> None:
        """The retry that ran is over, if one did."""
        if self.breaker is not None:
            self.breaker.active_retries -= 1
            self.breaker = None


class Burst:
    """See the module. Times are the reactor's, in seconds; ``deadline`` may be infinite. ``form`` is as in a frame.

    ``whole``: all requests of the plan go to this connection, so that nothing has to be chosen for each.
    ``call`` is set where the burst is a single request that is tried again.
    """

    __slots__ = ("call", "deadline", "downstream", "extra", "form", "plan", "started", "upstream", "whole")

    def __init__(
        self,
        downstream: RpcDownstreamConnection,
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
        self.deadline = deadline
        self.whole = whole
        self.call: Call | None = None
