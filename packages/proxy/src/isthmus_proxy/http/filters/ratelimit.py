"""ratelimit: lets as many requests pass as a rate limit service lets pass (envoy.extensions.filters.http.ratelimit.v3).

The service is told descriptors, which the actions of routes and virtual hosts make of a request; without any it is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead
from isthmus_proxy.ratelimit.answer import FAILED, Answer, limit_headers
from isthmus_proxy.ratelimit.descriptors import Descriptor, RateLimit
from isthmus_proxy.ratelimit.route_limits import HostLimits, facts_of, limits_of
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import Decision, ForwardAction, HeaderEdits
from isthmus_proxy.runtime import Fraction

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings

NAMESPACE = "envoy.filters.http.ratelimit"
_NO_EDITS = HeaderEdits()
_NEVER = Fraction(0)
ENABLED = Fraction(100, runtime_key="ratelimit.http_filter_enabled")
ENFORCED = Fraction(100, runtime_key="ratelimit.http_filter_enforcing")
_RATE_LIMITED = (b"x-envoy-ratelimited", b"true")


@dataclass(frozen=True, slots=True)
class RateLimitServer:
    """RateLimitServiceConfig: envoy.service.ratelimit.v3.RateLimitService of ``cluster``. ``timeout`` in seconds, 0 = none."""

    cluster: str
    timeout: float = 0.02
    authority: str = ""


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """RateLimit of the filter. ``internal`` None: requests from inside and from outside alike."""

    server: RateLimitServer
    domain: str
    stage: int = 0
    internal: bool | None = None
    status: int = 429
    status_on_error: int = 500
    resource_exhausted: bool = False
    tell_limits: bool = False
    tell_limited: bool = True
    response_headers: HeaderEdits = _NO_EDITS
    stat_prefix: str = ""
    enabled: Fraction = ENABLED
    enforced: Fraction = ENFORCED
    deny_on_failure: Fraction = _NEVER

    def make(self, context: FilterContext) -> RateLimitFactory:
        """See ``FilterConfig``."""
        return RateLimitFactory(self, context)


@dataclass(frozen=True, slots=True)
class RateLimitPerRoute:
    """RateLimitPerRoute. ``limits``, if there are any, stand in for those of the route and of its virtual host."""

    host_limits: HostLimits = "OVERRIDE"
    limits: tuple[RateLimit, ...] = ()
    domain: str = ""


class Cancellable(Protocol):
    """A question that runs."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class RateLimitFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_prefix", "config", "runtime", "surroundings")

    def __init__(self, config: RateLimitConfig, context: FilterContext) -> None:
        self.config = config
        self.runtime = context.runtime
        self.surroundings: Surroundings = context.surroundings
        self._prefix = f"ratelimit.{config.stat_prefix}." if config.stat_prefix else "ratelimit."

    def create(self, callbacks: FilterCallbacks, overrides: tuple[RateLimitPerRoute, ...]) -> RateLimitFilter | None:
        """A filter for one exchange, unless nothing limits it."""
        decision = callbacks.decision
        if decision is None or self.surroundings.clusters.get(callbacks.cluster_name) is None:
            return None
        override = overrides[-1] if overrides else None
        stage = self.config.stage
        limits = [limit for limit in _limits_of(decision, override) if limit.stage == stage]
        if not limits:
            return None
        domain = (override.domain if override is not None else "") or self.config.domain
        return RateLimitFilter(callbacks, self, limits, domain)

    def count(self, cluster: str, name: str) -> None:
        """Count for the cluster to which the request is routed."""
        found = self.surroundings.clusters.get(cluster)
        if found is not None:
            found.stats.scope.counter(self._prefix + name).value += 1

    def charge(self, cluster: str) -> None:
        """Count a refusal as a response of the cluster to which the request is routed."""
        found = self.surroundings.clusters.get(cluster)
        if found is not None:
            stats, status = found.stats, self.config.status
            stats.upstream_rq_completed.value += 1
            stats.classes[status // 100 if status < 600 else 0].value += 1
            stats.code(status).value += 1

    def admits(self, fraction: Fraction, callbacks: FilterCallbacks) -> bool:
        """Whether a draw falls into ``fraction``."""
        return self.runtime.admits(fraction, callbacks.random())


def _limits_of(decision: Decision, override: RateLimitPerRoute | None) -> tuple[RateLimit, ...]:
    if override is None:
        return limits_of(decision)
    if override.limits:
        return override.limits if isinstance(decision.route.action, ForwardAction) else ()
    return limits_of(decision, override.host_limits)


class RateLimitFilter(StreamFilter):
    """See the module."""

    __slots__ = ("_call", "_domain", "_factory", "_head", "_limits", "_over", "_to_client")

    def __init__(
        self, callbacks: FilterCallbacks, factory: RateLimitFactory, limits: list[RateLimit], domain: str
    ) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._limits = limits
        self._domain = domain
        self._head = callbacks.head
        self._call: Cancellable | None = None
        self._over = False
        self._to_client: Headers = []

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Ask, if any limit applies to the request."""
        factory, config = self._factory, self._factory.config
        self._head = head
        if not factory.admits(config.enabled, self.callbacks):
            return CONTINUE
        if config.internal is not None and (head.get(b"x-envoy-internal") == b"true") != config.internal:
            return CONTINUE
        descriptors = self._descriptors()
        if not descriptors:
            return CONTINUE
        self._call = _ask(factory.surroundings, config.server, self._domain, descriptors, self._answered)
        return HOLD

    def _descriptors(self) -> list[Descriptor]:
        factory, callbacks = self._factory, self.callbacks
        facts = facts_of(callbacks, self._head, factory.surroundings.service_cluster)
        found = []
        for limit in self._limits:
            if not limit.disable_key or factory.admits(_switch(limit), callbacks):
                descriptor = limit.descriptor(facts)
                if descriptor is not None:
                    found.append(descriptor)
        return found

    def _answered(self, answer: Answer) -> None:
        self._call = None
        if self._over:
            return
        config = self._factory.config
        if answer.metadata:
            self.callbacks.info.set_metadata(NAMESPACE, dict(answer.metadata))
        self._to_client = list(answer.response_headers)
        if answer.kind == "over_limit" and config.tell_limited:
            self._to_client.append(_RATE_LIMITED)
        if config.tell_limits:
            self._to_client += limit_headers(answer.statuses)
        self._count(answer.kind)
        if answer.kind == "over_limit":
            self._limit(answer)
        elif answer.kind == "error":
            self._fail(answer)
        else:
            self._pass(answer)

    def _count(self, name: str) -> None:
        self._factory.count(self.callbacks.cluster_name, name)

    def _pass(self, answer: Answer) -> None:
        self._head.headers.extend(answer.request_headers)
        self.callbacks.continue_decoding(self)

    def _limit(self, answer: Answer) -> None:
        factory, config, callbacks = self._factory, self._factory.config, self.callbacks
        factory.charge(callbacks.cluster_name)
        if not factory.admits(config.enforced, callbacks):
            self._pass(answer)
            return
        headers, self._to_client = self._to_client, []
        header_edits.apply(config.response_headers, headers, callbacks.info)
        grpc_status = 8 if config.resource_exhausted else None
        reply = LocalReply(
            config.status, "request_rate_limited", answer.body, ("RL",), tuple(headers), grpc_status=grpc_status
        )
        callbacks.send_local_reply(reply)

    def _fail(self, answer: Answer) -> None:
        factory, config = self._factory, self._factory.config
        if factory.admits(config.deny_on_failure, self.callbacks):
            reply = LocalReply(config.status_on_error, "rate_limiter_error", answer.body, ("RLSE",))
            self.callbacks.send_local_reply(reply)
            return
        self._count("failure_mode_allowed")
        self._pass(answer)

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Add what the service has for the client."""
        head.headers.extend(self._to_client)
        self._to_client = []
        return CONTINUE

    def on_destroy(self) -> None:
        """Nobody waits any more."""
        self._over = True
        if self._call is not None:
            self._call.cancel()


def _switch(limit: RateLimit) -> Fraction:
    return Fraction(100, runtime_key=f"ratelimit.{limit.disable_key}.http_filter_enabled")


class Answered(Protocol):
    """Who waits for an answer."""

    def __call__(self, answer: Answer, /) -> None:
        """The answer is there."""


def _ask(
    surroundings: Surroundings, server: RateLimitServer, domain: str, descriptors: list[Descriptor], answered: Answered
) -> Cancellable:
    from isthmus_proxy.grpc.call import CallOptions  # noqa: PLC0415 - loads messages that few configurations need
    from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - as above
    from isthmus_proxy.grpc.status import Outcome  # noqa: PLC0415 - as above
    from isthmus_proxy.ratelimit import service  # noqa: PLC0415 - as above

    def done(message: bytes, outcome: Outcome) -> None:
        answered(FAILED if outcome.status else service.read_response(message))

    options = CallOptions(timeout=server.timeout or None, authority=server.authority)
    message = service.limit_request(domain, descriptors)
    return GrpcClient(surroundings).unary(server.cluster, service.METHOD, message, done, options)
