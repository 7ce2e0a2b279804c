"""RBAC from AuthorizationPolicies, in Istio's order of evaluation: what DENY matches is denied; then, where there is any ALLOW,
only what one of them matches is allowed. AUDIT marks.

On TCP nothing is known of requests. A rule that asks for more takes nothing as ALLOW, and is read without that as DENY or AUDIT, so that
a policy is never wider than it says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal

from isthmus_api.istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from isthmus_controlplane.model.condition import attribute
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.authorization_match import OPERATIONS, SOURCES, permission_of, principal_of

ALLOW, DENY, AUDIT = AuthorizationPolicy.ALLOW, AuthorizationPolicy.DENY, AuthorizationPolicy.AUDIT
_ORDER = ((AUDIT, RBAC.LOG), (DENY, RBAC.DENY), (ALLOW, RBAC.ALLOW))
_PERMISSION_FAMILIES = frozenset({"destination.ip", "destination.port", "connection.sni"})


class HttpOnlyError(Exception):
    """A connection does not have what a rule asks for."""


def access_rules(policies: Iterable[ConfigObject], *, http: bool) -> Iterator[Any]:
    """Yield the RBAC rules of a port, in the order in which they are to be checked; none where no policy holds.

    Args:
        policies: those that hold for the workload.
        http: whether requests are judged, or connections.
    """
    listed = list(policies)
    for action, meaning in _ORDER:
        chosen = [policy for policy in listed if policy.spec.action == action]  # type: ignore[attr-defined]
        if not chosen:
            continue
        rules = RBAC(action=meaning)
        for policy in chosen:
            for name, translated in _policies(policy, action, http=http):
                rules.policies[name].CopyFrom(translated)
        if rules.policies or action == ALLOW:  # ALLOW with nothing that matches denies everything
            yield rules


def _policies(policy: ConfigObject, action: int, *, http: bool) -> Iterator[tuple[str, Any]]:
    spec: Any = policy.spec
    for index, rule in enumerate(spec.rules):
        name = f"ns[{policy.key.namespace}]-policy[{policy.key.name}]-rule[{index}]"
        try:
            yield name, _policy(rule, policy.key.namespace, strict=action == ALLOW, http=http)
        except HttpOnlyError:
            continue


def _policy(rule: Any, namespace: str, *, strict: bool, http: bool) -> Any:
    """One rule: a permission for each operation, a principal for each source; conditions are added to all of them."""
    reader = _Reader(namespace, strict=strict, http=http)
    of_permission = [when for when in rule.when if _family(when) in _PERMISSION_FAMILIES]
    of_principal = [when for when in rule.when if _family(when) not in _PERMISSION_FAMILIES]
    extra = [reader.permission(when.key, when) for when in of_permission]
    permissions = [[*reader.operation(each.operation), *extra] for each in rule.to] or [extra]
    extra = [reader.principal(when.key, when) for when in of_principal]
    principals = [[*reader.source(each.source), *extra] for each in getattr(rule, "from")] or [extra]
    return Policy(
        permissions=[_all_permissions(each) for each in permissions],
        principals=[_all_principals(each) for each in principals],
    )


def _family(condition: Any) -> str:
    found = attribute(condition.key)
    assert found is not None  # checked when the object came
    return found.family


class _Reader:
    """Reads the parts of one rule."""

    def __init__(self, namespace: str, *, strict: bool, http: bool) -> None:
        self._namespace = namespace
        self._strict = strict
        self._http = http

    def operation(self, operation: Any) -> list[list[Any]]:
        """What an operation asks for."""
        return list(self._fields(operation, OPERATIONS, self.permission))

    def source(self, source: Any) -> list[list[Any]]:
        """What a source has to be."""
        return list(self._fields(source, SOURCES, self.principal))

    def _fields(
        self, message: Any, families: Iterable[tuple[str, str]], read: Callable[[str, Any], list[Any]]
    ) -> Iterator[list[Any]]:
        for field, key in families:
            values, not_values = getattr(message, field), getattr(message, f"not_{field}")
            if values or not_values:
                yield read(key, _Condition(values, not_values))

    def permission(self, key: str, condition: Any) -> list[Any]:
        """Both halves of a condition as permissions."""
        return self._both(key, condition, permission_of, Permission, "rules")

    def principal(self, key: str, condition: Any) -> list[Any]:
        """Likewise as principals."""
        return self._both(
            key, condition, lambda key, value: principal_of(key, value, self._namespace), Principal, "ids"
        )

    def _both(self, key: str, condition: Any, make: Callable[[str, str], Any], kind: Any, parts: str) -> list[Any]:
        if not self._http and _is_of_request(key):
            if self._strict:
                raise HttpOnlyError
            return []
        any_of, negation = ("or_rules", "not_rule") if kind is Permission else ("or_ids", "not_id")
        found = []
        for values, negated in ((condition.values, False), (condition.not_values, True)):
            if not values:
                continue
            made = [make(key, value) for value in values]
            one = made[0] if len(made) == 1 else kind(**{any_of: kind.Set(**{parts: made})})
            found.append(kind(**{negation: one}) if negated else one)
        return found


class _Condition:
    """The values of one field of a source or an operation, as those of a condition."""

    def __init__(self, values: Sequence[str], not_values: Sequence[str]) -> None:
        self.values = values
        self.not_values = not_values


def _is_of_request(key: str) -> bool:
    return key.startswith("request.")


def _all_permissions(groups: Iterable[list[Any]]) -> Any:
    rules = list(itertools.chain.from_iterable(groups))
    return Permission(and_rules=Permission.Set(rules=rules)) if rules else Permission(any=True)


def _all_principals(groups: Iterable[list[Any]]) -> Any:
    ids = list(itertools.chain.from_iterable(groups))
    return Principal(and_ids=Principal.Set(ids=ids)) if ids else Principal(any=True)
