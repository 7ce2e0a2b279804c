"""jwt_authn: lets requests pass whose tokens are good (envoy.extensions.filters.http.jwt_authn.v3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.jwt import status
from isthmus_proxy.jwt.authenticate import Authentication, KeysNeededError, Read, Verifier
from isthmus_proxy.jwt.model import Provider, Requirement
from isthmus_proxy.jwt.token import Token, parse
from isthmus_proxy.route.matcher import conditions, string_test
from isthmus_proxy.route.memo import Memo
from isthmus_proxy.route.model import RouteMatch

if TYPE_CHECKING:
    from isthmus_proxy.jwt.key_source import LocalKeys, RemoteKeys

NAMESPACE = "envoy.filters.http.jwt_authn"
MAX_REALM = 256
"""Bytes of a request's URI that a refusal repeats."""


@dataclass(frozen=True, slots=True)
class RequirementRule:
    """Requests that ``match`` must meet ``requirement``; None: they pass."""

    match: RouteMatch
    requirement: Requirement | None


@dataclass(frozen=True, slots=True)
class JwtPerRoute:
    """PerRouteConfig: the filter is off, or the requirement of this name counts."""

    requirement_name: str = ""


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """JwtAuthentication. The first rule that matches counts; without one, the requirement by a text of the filter state."""

    providers: tuple[Provider, ...]
    rules: tuple[RequirementRule, ...] = ()
    requirements: dict[str, Requirement] = field(default_factory=dict)
    filter_state_key: str = ""
    by_filter_state: dict[str, Requirement] = field(default_factory=dict)
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False
    stat_prefix: str = ""

    def make(self, context: FilterContext) -> JwtFactory:
        """See ``FilterConfig``."""
        return JwtFactory(self, context)


class _Rule:
    """One rule, compiled."""

    __slots__ = ("_conditions", "_folded", "_path", "requirement")

    def __init__(self, rule: RequirementRule) -> None:
        self._path = string_test(rule.match.path)
        self._folded = rule.match.path.ignore_case
        self._conditions = conditions(rule.match)
        self.requirement = rule.requirement

    def matches(self, head: RequestHead) -> bool:
        path = head.path.partition(b"?")[0].partition(b"#")[0]
        return self._path(path) and all(condition(head) for condition in self._conditions)


def matching_rule(config: JwtConfig, head: RequestHead) -> RequirementRule | None:
    """The first rule that applies to a request."""
    return next((rule for rule in config.rules if _Rule(rule).matches(head)), None)


class ProviderInUse:
    """The keys of a provider, and the tokens that they have been found to have signed."""

    __slots__ = ("_cached_with", "_tokens", "keys", "provider")

    def __init__(self, provider: Provider, keys: LocalKeys | RemoteKeys) -> None:
        self.provider = provider
        self.keys = keys
        self._tokens: Memo[Token] = Memo(2 * provider.cache_size)
        self._cached_with: object = None

    def known(self, text: bytes) -> Token | None:
        """A token that was found good with the keys that are still in use."""
        if not self.provider.cache_size or self._cached_with is not self.keys.keys:
            return None
        return self._tokens.get(text)

    def remember(self, text: bytes, token: Token) -> None:
        """Keep a good token."""
        if self.provider.cache_size and len(text) <= self.provider.cached_token_size:
            if self._cached_with is not self.keys.keys:
                self._cached_with = self.keys.keys
                self._tokens = Memo(2 * self.provider.cache_size)
            self._tokens.put(text, token)


class JwtFactory:
    """See ``FilterFactory``."""

    __slots__ = (
        "_in_use", "_rules", "allowed", "cache_hit", "cache_miss", "clock", "config", "cors_preflight_bypassed", "denied", "reactor",
    )  # fmt: skip

    def __init__(self, config: JwtConfig, context: FilterContext) -> None:
        from isthmus_proxy.jwt.key_source import LocalKeys, RemoteKeys  # noqa: PLC0415 - loads the library of signatures

        self.config = config
        prefix = f"jwt_authn.{config.stat_prefix}." if config.stat_prefix else "jwt_authn."
        counter = context.stats.counter
        self.allowed = counter(f"{prefix}allowed")
        self.denied = counter(f"{prefix}denied")
        self.cors_preflight_bypassed = counter(f"{prefix}cors_preflight_bypassed")
        self.cache_hit = counter(f"{prefix}jwt_cache_hit")
        self.cache_miss = counter(f"{prefix}jwt_cache_miss")
        succeeded, failed = counter(f"{prefix}jwks_fetch_success"), counter(f"{prefix}jwks_fetch_failed")
        self.clock = context.surroundings.clock
        self.reactor = context.surroundings.reactor
        self._rules = tuple(map(_Rule, config.rules))
        self._in_use: dict[Provider, ProviderInUse] = {}
        for provider in config.providers:
            keys: LocalKeys | RemoteKeys = LocalKeys(provider.local_jwks or b"")
            if provider.remote_jwks is not None:
                keys = RemoteKeys(provider.remote_jwks, context.surroundings, succeeded, failed)
                context.own(keys)
            self._in_use[provider] = ProviderInUse(provider, keys)

    def create(self, callbacks: FilterCallbacks, overrides: tuple[JwtPerRoute, ...]) -> JwtAuthn:
        """A filter for one exchange; a route names its requirement, or switches the filter off."""
        return JwtAuthn(callbacks, self, overrides[-1].requirement_name if overrides else None)

    def requirement(self, head: RequestHead, callbacks: FilterCallbacks) -> Requirement | None:
        """What a request has to meet by the rules."""
        for rule in self._rules:
            if rule.matches(head):
                return rule.requirement
        state = callbacks.info.filter_state
        if state is None or not self.config.filter_state_key:
            return None
        return self.config.by_filter_state.get(state.get(self.config.filter_state_key, ""))

    def of(self, provider: Provider) -> ProviderInUse:
        """The provider with its keys."""
        return self._in_use[provider]

    def read(self, provider: Provider | None, text: bytes) -> Read:
        """See ``Verifier``."""
        if provider is not None:
            known = self._in_use[provider].known(text)
            (self.cache_miss if known is None else self.cache_hit).value += 1
            if known is not None:
                return Read(known, verified=True)
        return Read(parse(text), verified=False)


class JwtAuthn(StreamFilter):
    """See the module."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ("_factory", "_failed", "_head", "_name", "_over", "_read", "_requirement")

    def __init__(self, callbacks: FilterCallbacks, factory: JwtFactory, name: str | None) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._name = name  # empty: off; None: as the rules say
        self._head = callbacks.head
        self._requirement: Requirement | None = None
        self._failed: set[Provider] = set()
        self._read: dict[tuple[Provider | None, bytes], Read] = {}
        self._over = False

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Let the request pass, refuse it, or wait for keys."""
        factory = self._factory
        self._head = head
        if factory.config.bypass_cors_preflight and is_preflight(head):
            factory.cors_preflight_bypassed.value += 1
            factory.allowed.value += 1
            return CONTINUE
        if self._name is None:
            self._requirement = factory.requirement(head, self.callbacks)
        elif self._name:
            self._requirement = factory.config.requirements.get(self._name)
            if self._requirement is None:
                return self._misconfigured()
        if self._requirement is None:
            factory.allowed.value += 1
            return CONTINUE
        return CONTINUE if self._authenticate() else HOLD

    def _authenticate(self) -> bool:
        """Whether the request may go on now."""
        factory, head, requirement = self._factory, self._head, self._requirement
        if requirement is None:
            return True
        now = int(factory.clock.at(factory.reactor.now))
        attempt = Authentication(head.headers, head.path, Verifier(self._read_once, self._verify, now))
        try:
            found = attempt.meets(requirement)
        except KeysNeededError as needed:
            provider = needed.provider
            factory.of(provider).keys.wait(lambda there: self._fetched(provider, there=there))
            return False
        realm = (head.scheme + b"://" + head.authority + head.path)[:MAX_REALM]
        self._apply(attempt)
        if found != status.OK:
            self._refuse(found, realm)
            return False
        factory.allowed.value += 1
        return True

    def _apply(self, attempt: Authentication) -> None:
        """Good tokens count even where others are missing: later filters and the log see what they say."""
        head = self._head
        head.headers, head.path = attempt.carrier.headers, attempt.carrier.path
        if attempt.metadata:
            self.callbacks.info.set_metadata(NAMESPACE, attempt.metadata)
        if attempt.clear_route_cache:
            self.callbacks.clear_route_cache()

    def _read_once(self, provider: Provider | None, text: bytes) -> Read:
        """Read a token, also where the request is looked at again because keys have come."""
        found = self._read.get((provider, text))
        if found is None:
            found = self._read[provider, text] = self._factory.read(provider, text)
        return found

    def _verify(self, provider: Provider, text: bytes, token: Token) -> str:
        from isthmus_proxy.jwt.jwks import verify  # noqa: PLC0415 - loads the library of signatures

        in_use = self._factory.of(provider)
        keys = in_use.keys.keys
        if keys is None:
            if provider in self._failed:
                return status.FETCH_FAILED
            raise KeysNeededError(provider)
        if not keys:
            return status.NO_VALID_KEYS
        outcome = verify(token, keys)
        if outcome == status.OK:
            in_use.remember(text, token)
        return outcome

    def _fetched(self, provider: Provider, *, there: bool) -> None:
        if self._over:
            return
        if not there:
            self._failed.add(provider)
        if self._authenticate() and not self._over:
            self.callbacks.continue_decoding()

    def _misconfigured(self) -> int:
        self._factory.denied.value += 1
        words = (
            f"Wrong requirement_name: {self._name}. It should be one of [{','.join(self._factory.config.requirements)}]"
        )
        body = f"Failed JWT authentication: {words}".encode()
        self.callbacks.send_local_reply(LocalReply(403, _details(words), body))
        return HOLD

    def _refuse(self, why: str, realm: bytes) -> None:
        factory = self._factory
        factory.denied.value += 1
        code = 403 if why == status.AUDIENCE_NOT_ALLOWED else 401
        headers: tuple[tuple[bytes, bytes], ...] = ()
        body = b""
        if not factory.config.strip_failure_response:
            body = why.encode()
            error = b"" if why == status.MISSING else b', error="invalid_token"'
            headers = ((b"www-authenticate", b'Bearer realm="' + realm + b'"' + error),)
        self.callbacks.send_local_reply(LocalReply(code, _details(why), body, headers=headers))

    def on_destroy(self) -> None:
        """Wait no more."""
        self._over = True


def _details(why: str) -> str:
    return f"jwt_authn_access_denied{{{why.replace(' ', '_')}}}"


def is_preflight(head: RequestHead) -> bool:
    """Whether a browser asks what another request would be allowed."""
    return head.method == b"OPTIONS" and bool(head.get(b"origin") and head.get(b"access-control-request-method"))
