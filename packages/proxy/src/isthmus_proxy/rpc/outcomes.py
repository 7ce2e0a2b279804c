"""How requests end that do not simply get a response without error: errors, timeouts, lost connections, and further attempts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from isthmus_proxy.http.local_reply import CONNECT_FAILURES, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from isthmus_proxy.http.retry import RetryState, admit
from isthmus_proxy.http.retry_hosts import avoiding
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.rpc.burst import Burst, Call
from isthmus_proxy.rpc.call_log import answered_info
from isthmus_proxy.rpc.upstream_connection import Pending, RpcUpstreamConnection

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy

TIMED_OUT = 504
LOST = 502
UNAVAILABLE = 503
REFUSED_BY_LIMIT = 529
"""Stands for a limit of the proxy's own where a protocol has a status of its own for that."""


class Outcomes:
    """See the module."""

    __slots__ = ("_proxy", "_random", "_runtime")

    def __init__(self, proxy: RpcProxy, surroundings: Surroundings) -> None:
        self._proxy = proxy
        self._random = surroundings.random
        self._runtime = surroundings.runtime

    def responded(self, upstream: RpcUpstreamConnection, entry: Pending, status: int, response: bytes) -> None:
        """An endpoint answered with an error, or in a frame that has to be sealed anew."""
        burst, original, frame = entry
        upstream.pool.completed(burst, 1, status)
        upstream.pool.judged(status, answered=True)
        if status >= 500 and self._tried_again(entry, lambda retry: retry.wants_response(status, [])):
            return
        proxy = self._proxy
        if proxy.logs and burst.downstream is not proxy.nobody:
            proxy.write_log(answered_info(proxy, burst, frame, status, len(response)))
        stats = burst.plan.stats
        (stats.success if status < 500 else stats.error).value += 1
        proxy.ended(burst, 1)
        burst.downstream.answer(proxy.codec.set_id(response, original), 1)

    def lost(self, upstream: RpcUpstreamConnection, entry: Pending, reason: str, *, sent: bool) -> None:
        """The connection ended before the answer came."""
        upstream.pool.completed(entry[0], 1, UNAVAILABLE)
        upstream.pool.judged(UNAVAILABLE, answered=False)
        if not sent:
            upstream.pool.cluster.stats.upstream_rq_pending_failure_eject.value += 1
        if self._tried_again(entry, lambda retry: retry.wants_reset(reason, sent=sent)):
            return
        status = UNAVAILABLE if reason in CONNECT_FAILURES else LOST
        self._give_up(entry, status, "UF" if reason in CONNECT_FAILURES else "UC", reason.replace(" ", "_"))

    def timed_out(self, upstream: RpcUpstreamConnection, entry: Pending) -> None:
        """No answer came in time."""
        proxy, burst = self._proxy, entry[0]
        per_try = burst.deadline < burst.last_deadline
        pool, stats = upstream.pool, upstream.pool.cluster.stats
        (stats.upstream_rq_per_try_timeout if per_try else stats.upstream_rq_timeout).value += 1
        pool.endpoint.rq_timeout += 1
        pool.completed(burst, 1, TIMED_OUT)
        pool.judged(TIMED_OUT, answered=False)
        if per_try and self._tried_again(entry, RetryState.wants_timeout):
            return
        if burst.downstream is not proxy.nobody:
            proxy.stats.rq_timeout.value += 1
        self._give_up(entry, TIMED_OUT, "UT", (PER_TRY_TIMEOUT if per_try else ROUTE_TIMEOUT).details)

    def _give_up(self, entry: Pending, status: int, flag: str, details: str) -> None:
        burst, original, frame = entry
        proxy = self._proxy
        burst.plan.stats.local.value += 1
        if proxy.logs and burst.downstream is not proxy.nobody:
            info = answered_info(proxy, burst, frame, status, 0)
            info.flag(flag)
            info.response_code_details = details
            proxy.write_log(info)
        proxy.ended(burst, 1)
        burst.downstream.answer(proxy.codec.error(original, burst.form, status, details), 1)

    # ---- further attempts ----

    def _tried_again(self, entry: Pending, wants: Callable[[RetryState], bool]) -> bool:
        """Try once more, if the policy of the request's plan ``wants`` that and nothing is against it."""
        burst, _, frame = entry
        if burst.plan.retry is None or frame is None:
            return False
        call = burst.call
        if call is None:
            call = Call(burst.started)
            call.deadline = burst.last_deadline
        if call.retry is None:
            call.retry = RetryState(burst.plan.retry, burst.plan.head, self._runtime)
        return wants(call.retry) and self._again(entry, call, call.retry)

    def _again(self, entry: Pending, call: Call, retry: RetryState) -> bool:
        """Try once more after a while, if the policy, the circuit breaker and the time left allow it."""
        burst, now = entry[0], self._proxy.reactor.now
        pool = burst.upstream.pool
        call.attempt_over()
        if burst.downstream.closed or call.deadline <= now:
            return False
        scratch = StreamInfo(now, 0.0)
        if not admit(retry, pool.cluster, pool.breaker, scratch, self._runtime, self._random()):
            return False
        call.breaker = pool.breaker
        call.previous.append(pool.endpoint)
        call.attempts += 1
        delay = retry.back_off(self._random())
        pool.cluster.stats.upstream_rq_retry_backoff_exponential.value += 1
        self._proxy.reactor.call_later(delay, partial(self._attempt, entry, call))
        return True

    def _attempt(self, entry: Pending, call: Call) -> None:
        burst, original, frame = entry
        proxy, plan = self._proxy, burst.plan
        policy = plan.action.retry_policy if plan.action is not None else None
        upstream = None
        if proxy.reactor.now >= call.deadline:
            call.attempt_over()
            burst.upstream.pool.cluster.stats.upstream_rq_timeout.value += 1
            proxy.stats.rq_timeout.value += 1
            self._give_up(entry, TIMED_OUT, "UT", ROUTE_TIMEOUT.details)
            return
        if not burst.downstream.closed and frame is not None:
            upstream = proxy.router.choose(plan, burst.downstream, burst.form, avoiding(policy, call.previous))
        if upstream is None or frame is None or upstream.pool.room(upstream) < 1:
            call.attempt_over()
            self._give_up(entry, UNAVAILABLE, "UH", "no_healthy_upstream")
            return
        again = Burst(
            burst.downstream, plan, upstream, burst.extra, burst.form, proxy.reactor.now, call.deadline, whole=False
        )
        again.call = call
        if again.deadline < upstream.timer.at:
            upstream.timer.set(again.deadline)
        self.send_alone(again, original, frame, retained=frame)

    def send_alone(self, burst: Burst, original: int, frame: bytes, retained: bytes | None) -> None:
        """Send one request on the connection of ``burst``."""
        upstream, proxy = burst.upstream, self._proxy
        identifier = upstream.next_id()
        upstream.pending[identifier] = (burst, original, retained)
        sent = proxy.codec.set_id(proxy.edited(burst.plan, frame, upstream.pool.cluster.name), identifier)
        upstream.send(sent)
        upstream.pool.begun(upstream, 1, len(sent))
        if burst.call is None or burst.call.attempts == 1:
            burst.plan.stats.total.value += 1
