"""The retries of one exchange: the timers of a try, back-off between two, and tries left running beside a new one (hedging).

An exchange has them only where its route has a retry policy: others do not pay for them. ``http/retry.py`` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import Event
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.charge import charge_retried
from isthmus_proxy.http.hedge import Rival, Rivals
from isthmus_proxy.http.local_reply import PER_TRY_IDLE_TIMEOUT, PER_TRY_TIMEOUT, LocalReply
from isthmus_proxy.http.retry import Fields, RetryState, admit
from isthmus_proxy.reactor.timers import Timer
from isthmus_proxy.route.model import RetryPolicy

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.http.exchange import Exchange


class Retries:
    """See the module. ``state`` is None once there can be no further try; ``previous``: the endpoints tried so far.

    ``after_timeout``: the last try ran out of time. ``blamed``: outlier detection was told so of the try that answers now.
    """

    __slots__ = (
        "_admitted", "_exchange", "_idle", "_idle_timeout", "_per_try", "_rivals", "_timer", "after_timeout", "blamed",
        "previous", "state",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, state: RetryState) -> None:
        self._exchange = exchange
        self.state: RetryState | None = state
        self.previous: list[Endpoint] | None = None
        self.after_timeout = False
        self.blamed = False
        self._admitted = False
        self._timer: Timer | None = None
        self._per_try: Timer | None = None
        self._idle: Timer | None = None
        self._idle_timeout = 0.0
        self._rivals: Rivals | None = None

    @property
    def tried(self) -> bool:
        """Whether there was a retry, and could be another."""
        return self.state is not None and self.state.tried > 0

    def abandon(self) -> bool:
        """Let there be no further try; answers whether there could have been one."""
        possible, self.state = self.state is not None, None
        return possible

    # ---- one try ----

    def try_sent(self, policy: RetryPolicy) -> None:
        """The head of a try is on its way: start its timers."""
        reactor = self._exchange.manager.reactor
        if policy.per_try_timeout:
            self._per_try = reactor.call_later(policy.per_try_timeout, self._per_try_timed_out)
        if policy.per_try_idle_timeout:
            self._idle_timeout = policy.per_try_idle_timeout
            self._idle = reactor.call_later(self._idle_timeout, self._per_try_idled)

    def stirred(self) -> None:
        """Something came of the response."""
        if self._idle is not None:
            self._idle.set(self._exchange.manager.reactor.now + self._idle_timeout)

    def try_over(self) -> None:
        """Stop the timers of the try."""
        if self._per_try is not None:
            self._per_try.discard()
            self._per_try = None
        if self._idle is not None:
            self._idle.discard()
            self._idle = None

    def give_up(self) -> None:
        """Begin no try that was planned, and leave none running beside."""
        if self._timer is not None:
            self._timer.discard()
            self._timer = None
        if self._rivals is not None:
            self._rivals.drop()

    def release(self) -> None:
        """Give back what the circuit breaker has counted."""
        exchange = self._exchange
        if self._admitted and exchange.cluster is not None:
            self._admitted = False
            exchange.cluster.breakers[exchange.priority].active_retries -= 1

    # ---- what ends a try ----

    def after_response(self, response: ParsedResponse, *, done: bool) -> bool:
        """Whether ``response`` is not for the client: it is tried again, or another try still runs."""
        state, exchange = self.state, self._exchange
        if state is None or not state.wants_response(response.status, response.headers):
            return False
        again = self._may_retry(state)
        if not again and not self._rivals:
            exchange.charge_response(response)
            return False
        if again and exchange.cluster is not None:
            charge_retried(exchange.cluster, exchange.endpoint, response.status)
        exchange.judge(response)
        if done:
            exchange.upstream = None
            exchange.attempt_over()
        else:
            exchange.leave_attempt()
        if again:
            self._retry_later(state, response.headers)
        return True

    def after_reset(self, reason: str, *, sent: bool) -> bool:
        """Whether the exchange goes on although a try was lost."""
        state = self.state
        if state is not None and state.wants_reset(reason, sent=sent) and self._may_retry(state):
            self._retry_later(state)
            return True
        return bool(self._rivals)

    def answered(self, response: ParsedResponse) -> None:
        """``response`` goes to the client: charge it, unless it would rather have been tried again and is charged already."""
        exchange, state = self._exchange, self.state
        if self._rivals is not None:
            self._rivals.drop()
        if state is None:
            exchange.charge_response(response)
        elif not state.wants_response(response.status, response.headers):
            exchange.charge_response(response)
            if state.tried and exchange.cluster is not None:
                exchange.cluster.stats.upstream_rq_retry_success.value += 1
                for group in exchange.groups:
                    group.upstream_rq_retry_success.value += 1

    def _per_try_timed_out(self) -> None:
        exchange = self._exchange
        self._per_try = None
        if exchange.response_started or exchange.cluster is None:
            return
        if exchange.target is not None and exchange.target.action.hedge_on_per_try_timeout:
            self._hedge()
        else:
            exchange.cluster.stats.upstream_rq_per_try_timeout.value += 1
            self._try_timed_out(PER_TRY_TIMEOUT)

    def _per_try_idled(self) -> None:
        exchange = self._exchange
        self._idle = None
        if exchange.cluster is None:
            return
        exchange.cluster.stats.upstream_rq_per_try_idle_timeout.value += 1
        if exchange.response_started:
            exchange.give_up()
            exchange.break_off("UT", PER_TRY_IDLE_TIMEOUT.details)
        else:
            self._try_timed_out(PER_TRY_IDLE_TIMEOUT)

    def _try_timed_out(self, reply: LocalReply) -> None:
        exchange, state = self._exchange, self.state
        exchange.leave_attempt()
        exchange.blame(504)
        if state is not None and state.wants_timeout() and self._may_retry(state):
            self._retry_later(state, after_timeout=True)
        elif not self._rivals:
            exchange.charge(504)
            exchange.reply(reply)

    # ---- the next try ----

    def _may_retry(self, state: RetryState) -> bool:
        """Take one retry if policy, body and circuit breaker allow it, else say why not."""
        self.release()
        exchange = self._exchange
        cluster, manager = exchange.cluster, exchange.manager
        if cluster is not None and exchange.body.possible:
            breaker = cluster.breakers[exchange.priority]
            self._admitted = admit(
                state, cluster, breaker, exchange.info, manager.runtime, manager.random(), exchange.groups
            )
        return self._admitted

    def _retry_later(self, state: RetryState, headers: Fields = (), *, after_timeout: bool = False) -> None:
        """Try again after the back-off, or when the response's ``headers`` ask for it."""
        exchange = self._exchange
        if exchange.endpoint is not None:
            self.previous = [*(self.previous or ()), exchange.endpoint]
        self.after_timeout = after_timeout
        manager = exchange.manager
        reactor = manager.reactor
        delay = state.asked_to_wait(headers, manager.clock.at(reactor.now), manager.random()) if headers else None
        if exchange.cluster is not None:
            stats = exchange.cluster.stats
            limited = delay is not None
            (
                stats.upstream_rq_retry_backoff_ratelimited if limited else stats.upstream_rq_retry_backoff_exponential
            ).value += 1
        if delay is None:
            delay = state.back_off(manager.random())
        self._timer = reactor.call_later(delay, self._retry_now)

    def _retry_now(self) -> None:
        self._timer = None
        self._exchange.attempt()

    # ---- hedging ----

    def _hedge(self) -> None:
        """Leave the try that takes too long running, and begin another beside it."""
        exchange, state = self._exchange, self.state
        upstream = exchange.upstream
        exchange.blame(504)
        if state is None or upstream is None or not exchange.request_done or not self._may_retry(state):
            return
        if self._rivals is None:
            self._rivals = Rivals(self._rival_answered, self._rival_lost)
        self._rivals.add(upstream, exchange.pool, exchange.endpoint)
        exchange.upstream = None
        exchange.pool = None
        if self._idle is not None:
            self._idle.discard()
            self._idle = None
        self._retry_later(state, after_timeout=True)

    @property
    def _under_way(self) -> bool:
        exchange = self._exchange
        return exchange.upstream is not None or exchange.waiting or self._timer is not None or bool(self._rivals)

    def _rival_answered(self, rival: Rival, events: Sequence[Event], done: bool) -> None:
        """A rival has a response: it wins, unless that is one to retry and there is still hope for another."""
        exchange, state = self._exchange, self.state
        head = next((event for event in events if isinstance(event, ParsedResponse)), None)
        bad = head is not None and state is not None and state.wants_response(head.status, head.headers)
        if bad and self._under_way:
            rival.drop()
            return
        exchange.give_up()
        self._adopt(rival)
        exchange.upstream = rival.connection
        if not done:
            rival.connection.sink = exchange
        self.state = None
        self.blamed = True
        exchange.upstream_events(events, done)

    def _rival_lost(self, rival: Rival, reason: str, transport: str) -> None:
        if self._under_way:
            if rival.pool is not None:
                rival.pool.finished()
            return
        self._adopt(rival)
        self.state = None
        self._exchange.upstream_reset(reason, transport, sent=True, reused=False)

    def _adopt(self, rival: Rival) -> None:
        exchange = self._exchange
        exchange.pool, exchange.endpoint = rival.pool, rival.endpoint
        exchange.info.upstream_host = rival.endpoint.name if rival.endpoint is not None else ""
        exchange.info.upstream = rival.connection.end if rival.connection is not None else None
