"""Counters of a stats store, as they pass from one process to the next."""

from __future__ import annotations

from isthmus_proxy.handover.messages import Counters
from isthmus_proxy.observe.stats import Counter, StatsStore


def gather(store: StatsStore) -> Counters:
    """All counters that are not 0."""
    found: dict[str, dict[str, int]] = {}
    for scope in store.scopes():
        values = {each.name: each.value for each in scope.all_metrics() if isinstance(each, Counter) and each.value}
        if values:
            found[scope.prefix] = values
    return found


def add(store: StatsStore, counters: Counters) -> None:
    """Count on from ``counters``. Scopes that this process does not have, such as those of removed clusters, are left out."""
    for scope in store.scopes():
        values = counters.get(scope.prefix)
        if values is None:
            continue
        others = {each.name for each in scope.all_metrics() if not isinstance(each, Counter)}
        for name, value in values.items():
            if name not in others:
                scope.counter(name).value += value


def keep(store: StatsStore) -> None:
    """Let no scope leave the store any more: what was counted to the end is told when their owners have gone."""
    for scope in store.scopes():
        scope.join()
