"""fault: delays and aborts requests (envoy.extensions.filters.http.fault.v3).

A value of the run-time layer counts before the configured one; a request that is delayed may be aborted behind its delay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterContext, RequestCallbacks, RequestFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.route.matcher import Condition
from isthmus_proxy.runtime import Fraction, Runtime

DELAY_HEADER = b"x-envoy-fault-delay-request"
ABORT_HEADER = b"x-envoy-fault-abort-request"
GRPC_ABORT_HEADER = b"x-envoy-fault-abort-grpc-request"
_PERCENTAGE = b"-percentage"
_SERVICE_CLUSTER, _SERVICE_NODE = b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node"
_ABORT = LocalReply(503, "fault_filter_abort", b"fault filter abort", ("FI",))


@dataclass(frozen=True, slots=True)
class FaultDelay:
    """``seconds`` None: the request's header says how long, and may lower the share."""

    seconds: float | None
    share: Fraction
    duration_key: str


@dataclass(frozen=True, slots=True)
class FaultAbort:
    """``by_header``: the request's header says which status, and may lower the share."""

    share: Fraction
    http_status: int | None = None
    grpc_status: int | None = None
    by_header: bool = False
    http_key: str = ""
    grpc_key: str = ""


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """HTTPFault. All conditions must hold; ``max_active`` None = any number."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None
    upstream_cluster: str = ""
    headers: tuple[Condition, ...] = ()
    downstream_nodes: frozenset[bytes] = frozenset()
    max_active: int | None = None
    max_active_key: str = ""
    cluster_stats: bool = True

    def make(self, context: FilterContext) -> FaultFactory:
        """See ``FilterConfig``."""
        return FaultFactory(self, context.stats, context.runtime)

    def applies(self, head: RequestHead, cluster: str) -> bool:
        """Whether the conditions hold."""
        if self.upstream_cluster and self.upstream_cluster != cluster:
            return False
        if self.downstream_nodes and (head.get(_SERVICE_NODE) or b"") not in self.downstream_nodes:
            return False
        return all(condition(head) for condition in self.headers)


class FaultFactory:
    """See ``FilterFactory``. Keeps what all exchanges of a connection manager share."""

    __slots__ = (
        "_config",
        "aborts_injected",
        "active_faults",
        "delays_injected",
        "faults_overflow",
        "runtime",
        "scope",
    )

    def __init__(self, config: FaultConfig, scope: StatsScope, runtime: Runtime) -> None:
        self._config = config
        self.scope = scope
        self.runtime = runtime
        self.aborts_injected = scope.counter("fault.aborts_injected")
        self.delays_injected = scope.counter("fault.delays_injected")
        self.faults_overflow = scope.counter("fault.faults_overflow")
        self.active_faults = scope.gauge("fault.active_faults")
        scope.counter("fault.response_rl_injected")

    def create(self, callbacks: RequestCallbacks, overrides: tuple[FaultConfig, ...]) -> Fault | None:
        """A filter for one exchange; the route's configuration replaces the filter's own."""
        config = overrides[-1] if overrides else self._config
        if config.delay is None and config.abort is None:
            return None
        return Fault(callbacks, self, config)


class Fault(RequestFilter):
    """See the module."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ("_active", "_cluster", "_config", "_factory", "_head", "_timer")

    def __init__(self, callbacks: RequestCallbacks, factory: FaultFactory, config: FaultConfig) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._config = config
        self._head = callbacks.head
        self._timer: Timer | None = None
        self._active = False
        self._cluster = ""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Delay or abort, if the request is one of those and the draw says so."""
        config = self._config
        self._head = head
        if not config.applies(head, self.callbacks.cluster_name):
            return CONTINUE
        if config.cluster_stats:
            self._cluster = (head.get(_SERVICE_CLUSTER) or b"").decode("latin-1")
        seconds = self._delay()
        if seconds is not None and self._begin():
            self._count("delays_injected", self._factory.delays_injected)
            self.callbacks.info.flag("DI")
            self._timer = self.callbacks.call_later(seconds, self._delayed)
            return HOLD
        self._maybe_abort()
        return CONTINUE

    def _begin(self) -> bool:
        """Become an active fault, unless there are too many."""
        factory, config = self._factory, self._config
        limit = factory.runtime.integer(config.max_active_key, -1)
        if limit < 0 and config.max_active is not None:
            limit = config.max_active
        if 0 <= limit <= factory.active_faults.value:
            factory.faults_overflow.value += 1
            return False
        if not self._active:
            self._active = True
            factory.active_faults.value += 1
        return True

    def _count(self, name: str, counter: Counter) -> None:
        counter.value += 1
        if self._cluster:
            self._factory.scope.counter(f"fault.{self._cluster}.{name}").value += 1

    def _delayed(self) -> None:
        self._timer = None
        if not self._maybe_abort():
            self._end()
            self.callbacks.continue_decoding()

    def _delay(self) -> float | None:
        """Seconds to wait, None for none."""
        delay = self._config.delay
        if delay is None:
            return None
        asked = None if delay.seconds is not None else _number(self._head.get(DELAY_HEADER))
        if delay.seconds is None and asked is None:
            return None
        share = (
            delay.share if delay.seconds is not None else _lowered(delay.share, self._head, DELAY_HEADER + _PERCENTAGE)
        )
        if not self._admits(share):
            return None
        if asked is not None:
            return asked / 1000.0 or None
        configured = round((delay.seconds or 0.0) * 1000.0)
        return self._factory.runtime.integer(delay.duration_key, configured) / 1000.0 or None

    def _admits(self, share: Fraction) -> bool:
        return self._factory.runtime.admits(share, self.callbacks.random())

    def _maybe_abort(self) -> bool:
        reply = self._abort()
        if reply is None or not self._begin():
            return False
        self._count("aborts_injected", self._factory.aborts_injected)
        self.callbacks.send_local_reply(reply)
        return True

    def _abort(self) -> LocalReply | None:
        abort = self._config.abort
        if abort is None:
            return None
        http, grpc, share = abort.http_status, abort.grpc_status, abort.share
        if abort.by_header:
            http, grpc = _http_status(self._head.get(ABORT_HEADER)), _number(self._head.get(GRPC_ABORT_HEADER))
            if http is None and grpc is None:
                return None
            share = _lowered(share, self._head, ABORT_HEADER + _PERCENTAGE)
        if not self._admits(share):
            return None
        runtime = self._factory.runtime
        if http is not None:
            return replace(_ABORT, status=_valid(runtime.integer(abort.http_key, http), http))
        status = runtime.integer(abort.grpc_key, grpc or 0)
        return replace(_ABORT, status=200, grpc_status=status)

    def _end(self) -> None:
        if self._active:
            self._active = False
            self._factory.active_faults.value -= 1

    def on_destroy(self) -> None:
        """Stop the delay."""
        if self._timer is not None:
            self._timer.discard()
            self._timer = None
        self._end()


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) <= 9 else None


def _http_status(value: bytes | None) -> int | None:
    number = _number(value)
    return number if number is not None and 200 <= number < 600 else None


def _valid(status: int, default: int) -> int:
    return status if 200 <= status < 600 else default


def _lowered(share: Fraction, head: RequestHead, name: bytes) -> Fraction:
    """``share`` with the numerator that the request asks for, if that is less."""
    asked = _number(head.get(name))
    return share if asked is None else replace(share, numerator=min(asked, share.numerator))
