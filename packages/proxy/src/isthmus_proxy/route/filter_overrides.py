"""What a route says of the HTTP filters in front of it (typed_per_filter_config): one entry a filter, the most specific wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus_proxy.route.model import ClusterWeight, Decision


@dataclass(frozen=True, slots=True)
class FilterOverride:
    """One entry. ``config`` is what the filter's compiler of per-route messages made of it, None where there is no message.

    An entry that is not ``disabled`` enables a filter which the connection manager, or a less specific entry, disables.
    """

    config: Any = None
    disabled: bool = False


FilterOverrides = Mapping[str, FilterOverride]
"""By the name that the filter has in http_filters."""


def override(decision: Decision, target: ClusterWeight | None, name: str) -> FilterOverride | None:
    """The entry for filter ``name`` that counts: the weighted cluster's, the route's, the virtual host's or the configuration's."""
    if target is not None and name in target.filters:
        return target.filters[name]
    for level in (decision.route, decision.virtual_host, decision.configuration):
        if name in level.filters:
            return level.filters[name]
    return None


def overrides(decision: Decision, target: ClusterWeight | None, name: str) -> tuple[FilterOverride, ...]:
    """All entries for filter ``name``, the least specific first: for filters that add levels up."""
    levels = [decision.configuration.filters, decision.virtual_host.filters, decision.route.filters]
    if target is not None:
        levels.append(target.filters)
    return tuple(level[name] for level in levels if name in level)


def names_filtered(decision: Decision, target: ClusterWeight | None) -> frozenset[str]:
    """Names of the filters of which some level says something."""
    levels = (decision.configuration, decision.virtual_host, decision.route)
    own = frozenset() if target is None else frozenset(target.filters)
    return own.union(*(level.filters for level in levels))
