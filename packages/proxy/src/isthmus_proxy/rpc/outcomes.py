"""How requests end that do not simply get a response without error: errors, timeouts, lost connections, and further attempts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus_proxy.http.local_reply import CONNECT_FAILURES
from isthmus_proxy.http.retry import RetryState, admit
from isthmus_proxy.http.retry_hosts import avoiding
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.rpc.burst import Burst, Call
from isthmus_proxy.rpc.call_log import answered_info
from isthmus_proxy.rpc.upstream_connection import Pending, RpcUpstreamConnection

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import Surroundings
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
        if status >= 500 and frame is not None:
            call = self._call(burst)
            if call is not None and call.retry.wants_response(status, []) and self._again(entry, call):
                return
        self._end_retry(burst)
        proxy = self._proxy
        if proxy.logs:
            proxy.write_log(answered_info(proxy, burst, frame, status, len(response)))
        stats = burst.plan.stats
        (stats.success if status < 500 else stats.error).value += 1
        proxy.ended(burst, 1)
        burst.downstream.answer(proxy.codec.set_id(response, original), 1)

    def lost(self, upstream: RpcUpstreamConnection, entry: Pending, reason: str, *, sent: bool) -> None:
        """The connection ended before the answer came."""
        burst, _, frame = entry
        upstream.pool.completed(burst, 1, UNAVAILABLE)
        upstream.pool.judged(UNAVAILABLE, answered=False)
        if not sent:
            upstream.pool.cluster.stats.upstream_rq_pending_failure_eject.value += 1
        if frame is not None:
            call = self._call(burst)
            if call is not None and call.retry.wants_reset(reason, sent=sent) and self._again(entry, call):
                return
        status = UNAVAILABLE if reason in CONNECT_FAILURES else LOST
        self._give_up(entry, status, "UF" if reason in CONNECT_FAILURES else "UC", reason.replace(" ", "_"))

    def timed_out(self, upstream: RpcUpstreamConnection, entry: Pending) -> None:
        """No answer came in time."""
        proxy, burst = self._proxy, entry[0]
        proxy.stats.rq_timeout.value += 1
        pool = upstream.pool
        pool.cluster.stats.upstream_rq_timeout.value += 1
        pool.endpoint.rq_timeout += 1
        pool.completed(burst, 1, TIMED_OUT)
        pool.judged(TIMED_OUT, answered=False)
        self._give_up(entry, TIMED_OUT, "UT", "response_timeout")

    def _give_up(self, entry: Pending, status: int, flag: str, details: str) -> None:
        burst, original, frame = entry
        self._end_retry(burst)
        proxy = self._proxy
        burst.plan.stats.local.value += 1
        if proxy.logs:
            info = answered_info(proxy, burst, frame, status, 0)
            info.flag(flag)
            info.response_code_details = details
            proxy.write_log(info)
        proxy.ended(burst, 1)
        burst.downstream.answer(proxy.codec.error(original, burst.form, status, details), 1)

    # ---- further attempts ----

    def _call(self, burst: Burst) -> Call | None:
        """What the request remembers of its attempts; None if its plan does not retry."""
        if burst.call is not None:
            return burst.call
        if burst.plan.retry is None:
            return None
        state = RetryState(burst.plan.retry, burst.plan.head, self._runtime)
        return Call(state, burst.started, burst.deadline)

    def _again(self, entry: Pending, call: Call) -> bool:
        """Try once more after a while, if the policy, the circuit breaker and the time left allow it."""
        burst, now = entry[0], self._proxy.reactor.now
        pool = burst.upstream.pool
        self._end_retry(burst)
        if burst.downstream.closed or call.deadline <= now:
            return False
        scratch = StreamInfo(now, 0.0)
        if not admit(call.retry, pool.cluster, pool.breaker, scratch, self._runtime, self._random()):
            return False
        call.breaker = pool.breaker
        call.previous.append(pool.endpoint)
        call.attempts += 1
        delay = call.retry.back_off(self._random())
        pool.cluster.stats.upstream_rq_retry_backoff_exponential.value += 1
        self._proxy.reactor.call_later(delay, partial(self._attempt, entry, call))
        return True

    def _end_retry(self, burst: Burst) -> None:
        """A further attempt is over."""
        if burst.call is not None:
            burst.call.over()

    def _attempt(self, entry: Pending, call: Call) -> None:
        burst, original, frame = entry
        proxy, plan = self._proxy, burst.plan
        policy = plan.action.retry_policy if plan.action is not None else None
        upstream = None
        if not burst.downstream.closed and frame is not None and proxy.reactor.now < call.deadline:
            upstream = proxy.router.choose(plan, burst.downstream, burst.form, avoiding(policy, call.previous))
        if upstream is None or frame is None or upstream.pool.room(upstream) < 1:
            call.over()
            self._give_up(entry, UNAVAILABLE, "UH", "no_healthy_upstream")
            return
        again = Burst(
            burst.downstream, plan, upstream, burst.extra, burst.form, proxy.reactor.now, call.deadline, whole=False
        )
        again.call = call
        if call.deadline < upstream.timer.at:
            upstream.timer.set(call.deadline)
        self.send_alone(again, original, frame, retained=frame)

    def send_alone(self, burst: Burst, original: int, frame: bytes, retained: bytes | None) -> None:
        """Send one request on the connection of ``burst``."""
        upstream, proxy = burst.upstream, self._proxy
        identifier = upstream.next_id()
        upstream.pending[identifier] = (burst, original, retained)
        sent = proxy.codec.set_id(proxy.edited(burst.plan, frame, upstream.pool.cluster.name), identifier)
        upstream.send(sent)
        upstream.pool.begun(1, len(sent))
        if burst.call is None:
            burst.plan.stats.total.value += 1
