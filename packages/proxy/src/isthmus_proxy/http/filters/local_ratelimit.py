"""local_ratelimit: lets as many requests pass as a token bucket has tokens (envoy.extensions.filters.http.local_ratelimit.v3).

Buckets are shared by all connections of the filter in one worker. Descriptors have buckets of their own: a request takes a token from that
of each descriptor which the rate limits of its route make of it, and from the filter's own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar
from weakref import WeakKeyDictionary

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterContext, RequestCallbacks, RequestFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.ratelimit.descriptors import Descriptor, RateLimit
from isthmus_proxy.ratelimit.route_limits import HostLimits, facts_of, limits_of
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import HeaderEdits
from isthmus_proxy.runtime import Fraction, Runtime

_RATE_LIMITED = b"local_rate_limited"
_NEVER = Fraction(0)
_NO_EDITS = HeaderEdits()


class TokenBucket:
    """type.v3.TokenBucket: ``tokens_per_fill`` every ``interval`` seconds, spread evenly, up to ``max_tokens``."""

    __slots__ = ("_at", "_max", "_rate", "_tokens")

    def __init__(self, max_tokens: int, tokens_per_fill: int, interval: float) -> None:
        self._max = float(max_tokens)
        self._rate = tokens_per_fill / interval
        self._tokens = self._max
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Take one token, if there is one at ``now`` (seconds)."""
        if self._at > float("-inf"):
            self._tokens = min(self._max, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class LocalDescriptor:
    """LocalRateLimitDescriptor: a bucket for requests with exactly these entries."""

    entries: Descriptor
    max_tokens: int
    tokens_per_fill: int
    fill_interval: float


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LocalRateLimitConfig:
    """LocalRateLimit. ``max_tokens`` 0: no bucket, so nothing is limited but by ``descriptors``.

    ``limits``, if there are any, stand in for those of routes and virtual hosts. ``always``: a request that has taken a token of
    a descriptor takes one of the filter's own bucket as well.
    """

    stat_prefix: str
    status: int = 429
    max_tokens: int = 0
    tokens_per_fill: int = 1
    fill_interval: float = 1.0
    enabled: Fraction = _NEVER
    enforced: Fraction = _NEVER
    request_headers: HeaderEdits = _NO_EDITS
    response_headers: HeaderEdits = _NO_EDITS
    resource_exhausted: bool = False
    descriptors: tuple[LocalDescriptor, ...] = ()
    limits: tuple[RateLimit, ...] = ()
    host_limits: HostLimits = "OVERRIDE"
    stage: int = 0
    always: bool = True

    def make(self, context: FilterContext) -> LocalRateLimitFactory:
        """See ``FilterConfig``."""
        return LocalRateLimitFactory(self, context)


class Limit:
    """One configuration in use: its buckets and its counters."""

    __slots__ = ("_bucket", "_buckets", "config", "enabled", "enforced", "ok", "rate_limited", "reply")

    def __init__(self, config: LocalRateLimitConfig, context: FilterContext) -> None:
        scope = context.scope(f"{config.stat_prefix}.http_local_rate_limit")
        self.config = config
        self._bucket = TokenBucket(config.max_tokens, config.tokens_per_fill, config.fill_interval)
        # The slowest first: it is the likeliest to be empty, and what is taken before that is lost.
        slowest = sorted(config.descriptors, key=lambda each: each.tokens_per_fill / each.fill_interval)
        self._buckets = {
            each.entries: TokenBucket(each.max_tokens, each.tokens_per_fill, each.fill_interval) for each in slowest
        }
        self.enabled: Counter = scope.counter("enabled")
        self.enforced: Counter = scope.counter("enforced")
        self.rate_limited: Counter = scope.counter("rate_limited")
        self.ok: Counter = scope.counter("ok")
        grpc_status = 8 if config.resource_exhausted else None
        self.reply = LocalReply(config.status, "local_rate_limited", _RATE_LIMITED, ("RL",), grpc_status=grpc_status)

    def take(self, now: float, descriptors: Collection[Descriptor]) -> bool:
        """Take a token of each bucket that counts for a request with ``descriptors``; False when one is empty."""
        found = [bucket for entries, bucket in self._buckets.items() if entries in descriptors] if descriptors else ()
        if not all(bucket.take(now) for bucket in found):
            return False
        if found and not self.config.always:
            return True
        return not self.config.max_tokens or self._bucket.take(now)


class LocalRateLimitFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_context", "_own", "_routes", "runtime", "service_cluster")

    def __init__(self, config: LocalRateLimitConfig, context: FilterContext) -> None:
        self._own = Limit(config, context)
        self._context = context
        self._routes: WeakKeyDictionary[LocalRateLimitConfig, Limit] = WeakKeyDictionary()
        self.service_cluster = context.surroundings.service_cluster
        self.runtime: Runtime = context.runtime

    def create(self, callbacks: RequestCallbacks, overrides: tuple[LocalRateLimitConfig, ...]) -> LocalRateLimit | None:
        """A filter for one exchange; a route's configuration has a bucket of its own."""
        return LocalRateLimit(callbacks, self._limit(overrides[-1]) if overrides else self._own, self)

    def _limit(self, config: LocalRateLimitConfig) -> Limit:
        limit = self._routes.get(config)
        if limit is None:
            limit = self._routes[config] = Limit(config, self._context)
        return limit


class LocalRateLimit(RequestFilter):
    """See the module."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ("_factory", "_limit", "_runtime")

    def __init__(self, callbacks: RequestCallbacks, limit: Limit, factory: LocalRateLimitFactory) -> None:
        super().__init__(callbacks)
        self._limit = limit
        self._factory = factory
        self._runtime = factory.runtime

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Take a token, or refuse."""
        limit, config, callbacks = self._limit, self._limit.config, self.callbacks
        if not self._runtime.admits(config.enabled, callbacks.random()):
            return CONTINUE
        limit.enabled.value += 1
        if limit.take(callbacks.now, self._descriptors(head) if config.descriptors else ()):
            limit.ok.value += 1
            return CONTINUE
        limit.rate_limited.value += 1
        if not self._runtime.admits(config.enforced, callbacks.random()):
            header_edits.apply(config.request_headers, head.headers, callbacks.info)
            return CONTINUE
        limit.enforced.value += 1
        headers: Headers = []
        header_edits.apply(config.response_headers, headers, callbacks.info)
        callbacks.send_local_reply(replace(limit.reply, headers=tuple(headers)))
        return HOLD

    def _descriptors(self, head: RequestHead) -> list[Descriptor]:
        """What the limits that apply make of the request."""
        config, decision = self._limit.config, self.callbacks.decision
        limits = config.limits
        if not limits and decision is not None:
            limits = tuple(each for each in limits_of(decision, config.host_limits) if each.stage == config.stage)
        if not limits:
            return []
        facts = facts_of(self.callbacks, head, self._factory.service_cluster)
        found = (limit.descriptor(facts) for limit in limits)
        return [descriptor for descriptor in found if descriptor is not None]
