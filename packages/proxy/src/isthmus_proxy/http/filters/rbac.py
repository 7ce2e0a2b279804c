"""rbac: lets requests pass by who sends them and what they ask for (envoy.extensions.filters.http.rbac.v3).

Shadow rules are judged first and only counted; what both say stands in the dynamic metadata of the exchange.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, FilterContext, RequestCallbacks, RequestFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.rbac.engine import NAMELESS, Engine, PeerNames, Verdict
from isthmus_proxy.rbac.model import Rules
from isthmus_proxy.route.metadata_match import Metadata

NAMESPACE = "envoy.filters.http.rbac"
HINT_NAMESPACE = "envoy.common"
_NOTHING: Metadata = {}
_NO_STATE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RbacConfig:
    """RBAC. ``rules`` None: everything passes; ``shadow_rules`` None: nothing more is counted."""

    rules: Rules | None = None
    shadow_rules: Rules | None = None
    stat_prefix: str = ""
    shadow_stat_prefix: str = ""
    per_rule_stats: bool = False

    def make(self, context: FilterContext) -> RbacFactory:
        """See ``FilterConfig``."""
        return RbacFactory(self, context.stats)


class Access:
    """One configuration in use. ``prefix`` and ``shadow_prefix`` begin the names in metadata: the filter's where a route has none."""

    __slots__ = ("each", "engine", "prefix", "shadow", "shadow_prefix")

    def __init__(self, config: RbacConfig, own: RbacConfig) -> None:
        self.each = config.per_rule_stats
        self.prefix = f"{config.stat_prefix or own.stat_prefix}enforced"
        self.shadow_prefix = f"{config.shadow_stat_prefix or own.shadow_stat_prefix}shadow"
        self.engine = None if config.rules is None else Engine(config.rules)
        self.shadow = None if config.shadow_rules is None else Engine(config.shadow_rules)


class Tally:
    """Counts verdicts; ``kind`` is what the names of shadow stats begin with."""

    __slots__ = ("_kind", "_prefix", "_scope", "allowed", "denied")

    def __init__(self, scope: StatsScope, prefix: str, kind: str = "") -> None:
        self._scope = scope
        self._prefix = f"rbac.{prefix.rstrip('.')}." if prefix else "rbac."
        self._kind = kind
        self.allowed = scope.counter(f"{self._prefix}{kind}allowed")
        self.denied = scope.counter(f"{self._prefix}{kind}denied")

    def count(self, verdict: Verdict, *, each: bool) -> None:
        """Count; ``each``: for the policy, too."""
        (self.allowed if verdict.allowed else self.denied).value += 1
        if each and verdict.policy:
            outcome = "allowed" if verdict.allowed else "denied"
            self._scope.counter(f"{self._prefix}policy.{verdict.policy}.{self._kind}{outcome}").value += 1


class RbacFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_config", "_own", "_routes", "enforced", "shadow")

    def __init__(self, config: RbacConfig, scope: StatsScope) -> None:
        self._config = config
        self._own = Access(config, config)
        self._routes: WeakKeyDictionary[RbacConfig, Access] = WeakKeyDictionary()
        self.enforced = Tally(scope, config.stat_prefix)
        self.shadow = Tally(scope, config.shadow_stat_prefix, "shadow_")

    def create(self, callbacks: RequestCallbacks, overrides: tuple[RbacConfig, ...]) -> Rbac | None:
        """A filter for one exchange; the most specific configuration replaces the filter's own."""
        access = self._of(overrides[-1]) if overrides else self._own
        return None if access.engine is access.shadow is None else Rbac(callbacks, self, access)

    def _of(self, config: RbacConfig) -> Access:
        access = self._routes.get(config)
        if access is None:
            access = self._routes[config] = Access(config, self._config)
        return access


class Requester:
    """One request as policies see it (``rbac.engine.Subject``)."""

    __slots__ = ("_callbacks", "head")

    def __init__(self, callbacks: RequestCallbacks, head: RequestHead) -> None:
        self._callbacks = callbacks
        self.head = head

    @property
    def source(self) -> str:
        """See ``Subject``."""
        return self._callbacks.remote_address

    @property
    def remote(self) -> str:
        """See ``Subject``."""
        return self._callbacks.info.downstream_remote

    @property
    def direct_remote(self) -> str:
        """See ``Subject``."""
        return self._callbacks.info.downstream_direct_remote

    @property
    def destination(self) -> str:
        """See ``Subject``."""
        return self._callbacks.info.downstream_local

    @property
    def server_name(self) -> str:
        """See ``Subject``."""
        security = self._callbacks.info.downstream_security
        return "" if security is None else security.server_name

    @property
    def peer(self) -> PeerNames | None:
        """See ``Subject``."""
        security = self._callbacks.info.downstream_security
        tls = None if security is None else security.tls
        return None if tls is None else tls.peer or NAMELESS

    @property
    def dynamic_metadata(self) -> Metadata:
        """See ``Subject``."""
        return self._callbacks.info.dynamic_metadata or _NOTHING

    @property
    def filter_state(self) -> Mapping[str, str]:
        """See ``Subject``."""
        return self._callbacks.info.filter_state or _NO_STATE

    @property
    def route_metadata(self) -> Metadata:
        """See ``Subject``."""
        decision = self._callbacks.decision
        return _NOTHING if decision is None else _mappings(decision.route.metadata)


def _mappings(metadata: Mapping[str, object]) -> Metadata:
    return {name: value for name, value in metadata.items() if isinstance(value, Mapping)}


def denial(policy: str) -> str:
    """Details of the refusal for which ``policy`` is the reason, empty if none applies."""
    return f"rbac_access_denied_matched_policy[{policy.replace(' ', '_') or 'none'}]"


class Rbac(RequestFilter):
    """See the module."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ("_access", "_factory")

    def __init__(self, callbacks: RequestCallbacks, factory: RbacFactory, access: Access) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._access = access

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Let the request pass, or refuse it."""
        requester, info = Requester(self.callbacks, head), self.callbacks.info
        access, factory = self._access, self._factory
        if access.shadow is not None:
            verdict = access.shadow.decide(requester)
            factory.shadow.count(verdict, each=access.each)
            info.set_metadata(NAMESPACE, _said(access.shadow_prefix, verdict))
        if access.engine is None:
            return CONTINUE
        verdict = access.engine.decide(requester)
        factory.enforced.count(verdict, each=access.each)
        info.set_metadata(NAMESPACE, _said(access.prefix, verdict))
        if access.engine.action == "LOG":
            info.set_metadata(HINT_NAMESPACE, {"access_log_hint": bool(verdict.policy)})
        if verdict.allowed:
            return CONTINUE
        self.callbacks.send_local_reply(LocalReply(403, denial(verdict.policy), b"RBAC: access denied"))
        return HOLD


def _said(prefix: str, verdict: Verdict) -> dict[str, object]:
    values: dict[str, object] = {f"{prefix}_engine_result": "allowed" if verdict.allowed else "denied"}
    if verdict.policy:
        values[f"{prefix}_effective_policy_id"] = verdict.policy
    return values
