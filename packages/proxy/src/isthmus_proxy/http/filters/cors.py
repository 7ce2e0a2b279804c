"""cors: answers preflight requests and marks responses for other origins (envoy.extensions.filters.http.cors.v3).

The policy is the route's or its virtual host's; without one nothing happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.route.matcher import StringTest
from isthmus_proxy.route.memo import Memo
from isthmus_proxy.route.model import ForwardAction
from isthmus_proxy.runtime import Fraction, Runtime

_ALL = Fraction(100)
_MAX_POLICIES = 1024
"""Merged policies that are kept for one connection manager; beyond it they are merged anew."""
_NONE = Fraction(0)


@dataclass(frozen=True, slots=True, eq=False)
class CorsPolicy:
    """CorsPolicy. Empty values and None leave it to the next less specific level."""

    origins: tuple[StringTest, ...] = ()
    allow_methods: bytes = b""
    allow_headers: bytes = b""
    expose_headers: bytes = b""
    max_age: bytes = b""
    allow_credentials: bool | None = None
    allow_private_network: bool | None = None
    enabled: Fraction = _ALL
    shadow: Fraction = _NONE
    forward_not_matching_preflights: bool | None = None


def merged(levels: tuple[CorsPolicy, ...]) -> CorsPolicy:
    """The policy of several levels, the least specific first: each field comes from the most specific that sets it.

    Whether the policy is enabled is for the most specific level alone, as in Envoy.
    """
    policy = levels[0]
    for level in levels[1:]:
        policy = CorsPolicy(
            level.origins or policy.origins,
            level.allow_methods or policy.allow_methods,
            level.allow_headers or policy.allow_headers,
            level.expose_headers or policy.expose_headers,
            level.max_age or policy.max_age,
            _set(level.allow_credentials, policy.allow_credentials),
            _set(level.allow_private_network, policy.allow_private_network),
            level.enabled,
            level.shadow,
            _set(level.forward_not_matching_preflights, policy.forward_not_matching_preflights),
        )
    return policy


def _set(value: bool | None, otherwise: bool | None) -> bool | None:
    return otherwise if value is None else value


@dataclass(frozen=True, slots=True)
class CorsConfig:
    """The filter's own message says nothing."""

    def make(self, context: FilterContext) -> CorsFactory:
        """See ``FilterConfig``."""
        return CorsFactory(context.stats, context.runtime)


class CorsFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_merged", "origin_invalid", "origin_valid", "runtime")

    def __init__(self, scope: StatsScope, runtime: Runtime) -> None:
        self.runtime = runtime
        self._merged: Memo[CorsPolicy] = Memo(_MAX_POLICIES)
        self.origin_valid = scope.counter("cors.origin_valid")
        self.origin_invalid = scope.counter("cors.origin_invalid")

    def create(self, callbacks: FilterCallbacks, overrides: tuple[CorsPolicy, ...]) -> Cors | None:
        """A filter if some level of the route has a policy, and the route forwards."""
        decision = callbacks.decision
        if not overrides or decision is None or not isinstance(decision.route.action, ForwardAction):
            return None
        policy = self._merged.get(overrides)
        if policy is None:
            policy = merged(overrides)
            self._merged.put(overrides, policy)
        return Cors(callbacks, self, policy)


class Cors(StreamFilter):
    """See the module."""

    __slots__ = ("_factory", "_origin", "_policy")

    def __init__(self, callbacks: FilterCallbacks, factory: CorsFactory, policy: CorsPolicy) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._policy = policy
        self._origin = b""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Judge the origin, and answer a preflight request."""
        origin = head.get(b"origin")
        policy, factory = self._policy, self._factory
        if not origin:
            return CONTINUE
        enabled = factory.runtime.admits(policy.enabled, self.callbacks.random())
        if not enabled and not factory.runtime.admits(policy.shadow, self.callbacks.random()):
            return CONTINUE
        allowed = any(test(origin) for test in policy.origins)
        (factory.origin_valid if allowed else factory.origin_invalid).value += 1
        if not enabled:
            return CONTINUE
        if allowed:
            self._origin = origin
        if head.method != b"OPTIONS" or not head.get(b"access-control-request-method"):
            return CONTINUE
        if not allowed and policy.forward_not_matching_preflights is not False:
            return CONTINUE
        self.callbacks.send_local_reply(LocalReply(200, "cors_response", headers=tuple(self._preflight(head))))
        return HOLD

    def _preflight(self, head: RequestHead) -> Headers:
        policy = self._policy
        headers: Headers = []
        if self._origin:
            headers.append((b"access-control-allow-origin", self._origin))
        if policy.allow_credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        if policy.allow_methods:
            headers.append((b"access-control-allow-methods", policy.allow_methods))
        if policy.allow_headers:
            headers.append((b"access-control-allow-headers", policy.allow_headers))
        if policy.max_age:
            headers.append((b"access-control-max-age", policy.max_age))
        if policy.allow_private_network and head.get(b"access-control-request-private-network") == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        return headers

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Tell the browser that the origin may read the response."""
        if self._origin:
            set_header(head.headers, b"access-control-allow-origin", self._origin)
            if self._policy.allow_credentials:
                set_header(head.headers, b"access-control-allow-credentials", b"true")
            if self._policy.expose_headers:
                set_header(head.headers, b"access-control-expose-headers", self._policy.expose_headers)
        return CONTINUE
