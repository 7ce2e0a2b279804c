"""What the bootstrap file says of stats (config.metrics.v3.StatsConfig): which are shown, their buckets and their labels. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from isthmus_proxy.observe.histogram import BOUNDS
from isthmus_proxy.observe.tags import Tags

Matches = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class TagRule:
    """TagSpecifier: a label on every stat with a ``value``, or on those whose name the ``pattern`` is found in.

    What the first group matches leaves the name; the second group, or the first if there is no other, is the value.
    """

    label: str
    value: str = ""
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StatsSettings:
    """``shows``: whether a stat with a full name exists to anybody outside; None = all do. ``buckets``: the first match counts.

    ``default_tags``: labels are cut out of Envoy's well-known prefixes.
    """

    shows: Matches | None = None
    buckets: tuple[tuple[Matches, tuple[float, ...]], ...] = ()
    tags: tuple[TagRule, ...] = ()
    default_tags: bool = True

    def bounds(self, name: str) -> Sequence[float]:
        """Upper bounds of the buckets of the histogram with this full name."""
        return next((bounds for matches, bounds in self.buckets if matches(name)), BOUNDS)

    def retag(self, prefix: str, name: str, short: str, tags: Tags) -> tuple[str, str, Tags]:
        """Scope prefix, name and labels of the stat ``prefix.name`` by the rules.

        ``short`` is the prefix without the labels ``tags`` that have been found in it already, which has no more to lose.
        """
        full = f"{prefix}.{name}" if prefix else name
        offset = len(full) - len(name)
        found: list[tuple[str, str]] = []
        for rule in self.tags:
            match = rule.pattern.search(full) if rule.pattern is not None else None
            if rule.pattern is None:
                found.append((rule.label, rule.value))
            elif match is not None and match.re.groups:
                found.append((rule.label, match[min(2, match.re.groups)] or ""))
                start, end = match.span(1)
                if start >= offset:
                    name = name.replace(full[start:end], "", 1)
                elif not tags:
                    short = (full[:start] + full[end:offset]).strip(".")
        return short, name.strip("."), (*found, *tags)


NO_SETTINGS = StatsSettings()


def remembered(matches: Matches) -> Matches:
    """``matches`` that does not ask twice about a name: those of stats come again at every scrape. Bounded."""
    return lru_cache(maxsize=65_536)(matches)
