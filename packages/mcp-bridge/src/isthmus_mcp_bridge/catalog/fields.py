"""The fields of one endpoint: each chosen from all claims about it by its rule, together with who won."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_mcp_bridge.catalog.rules import LabelRule, MergeRules, PresenceRule, WeightRule
from isthmus_mcp_bridge.model import ORDINARY_WEIGHT, EndpointClaim, Labels, Presence

NOBODY = -1
"""The winner of a field about which no registry says anything: the default stands."""


def is_up(claims: Sequence[EndpointClaim], rules: MergeRules) -> bool:
    """Whether the endpoint is published."""
    return verdict(claims, rules)[0]


def verdict(claims: Sequence[EndpointClaim], rules: MergeRules) -> tuple[bool, str]:
    """Whether the endpoint is published, and the rule that decides it, in words."""
    if len(claims) == 1 and claims[0].presence is Presence.UP:
        return True, "up"
    said = {claim.presence for claim in claims}
    if Presence.OFFLINE in said:
        return False, "taken offline explicitly, which outweighs every other claim"
    if Presence.UNHEALTHY in said:
        if rules.presence is PresenceRule.ALL:
            return False, "presence: all, and a registry counts it as lost"
        if Presence.UP not in said:
            return False, "a registry counts it as lost, and none says that it is up"
    if Presence.UP in said:
        return True, "up" if len(said) == 1 else "up in one registry, which is enough"
    return True, "held: its registry lacks it, but is not believed yet"


def weight(claims: Sequence[EndpointClaim], rules: MergeRules) -> tuple[int, int]:
    """The weight and the index of the claim that it is from."""
    stated = [(index, claim.weight) for index, claim in enumerate(claims) if claim.weight is not None]
    if not stated:
        return ORDINARY_WEIGHT, NOBODY
    if rules.weight is WeightRule.PRIORITY:
        index, value = stated[0]
    elif rules.weight is WeightRule.MAX:
        index, value = max(stated, key=lambda one: (one[1], -one[0]))
    else:
        index, value = min(stated, key=lambda one: (one[1], one[0]))
    return value, index


def labels(claims: Sequence[EndpointClaim], rules: MergeRules) -> tuple[Labels, int]:
    """The labels and the index of the first claim that has some."""
    first = next((index for index, claim in enumerate(claims) if claim.labels), NOBODY)
    if first == NOBODY:
        return (), NOBODY
    if rules.labels is LabelRule.PRIORITY or all(one.labels in ((), claims[first].labels) for one in claims):
        return tuple(sorted(claims[first].labels)), first
    united: dict[str, str] = {}
    for claim in reversed(claims):
        united.update(claim.labels)
    return tuple(sorted(united.items())), first


def locality(claims: Sequence[EndpointClaim]) -> tuple[str, int]:
    """The locality and the index of the claim that it is from."""
    return next(((claim.locality, index) for index, claim in enumerate(claims) if claim.locality), ("", NOBODY))


def service_account(claims: Sequence[EndpointClaim]) -> tuple[str, int]:
    """The service account and the index of the claim that it is from."""
    found = ((claim.service_account, index) for index, claim in enumerate(claims) if claim.service_account)
    return next(found, ("", NOBODY))
