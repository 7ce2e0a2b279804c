"""How the claims of several registries about one field become one value: the rules, chosen by configuration."""

from __future__ import annotations

import dataclasses
import enum


class PresenceRule(enum.StrEnum):
    """When an endpoint that nobody took offline is published."""

    ANY = "any"
    """One registry that says it is up is enough."""
    ALL = "all"
    """Every registry that claims it must say that it is up."""


class WeightRule(enum.StrEnum):
    """Whose weight counts."""

    PRIORITY = "priority"
    """That of the first registry, by precedence, that states one."""
    MAX = "max"
    MIN = "min"


class LabelRule(enum.StrEnum):
    """Which labels an endpoint gets."""

    UNION = "union"
    """Those of all registries; of two values for one key, that of the first registry."""
    PRIORITY = "priority"
    """Those of the first registry that states any."""


@dataclasses.dataclass(frozen=True, slots=True)
class MergeRules:
    """A rule a field. Locality, service account and addresses always come from the first registry that states them."""

    presence: PresenceRule = PresenceRule.ANY
    weight: WeightRule = WeightRule.PRIORITY
    labels: LabelRule = LabelRule.UNION


DEFAULT_RULES = MergeRules()
