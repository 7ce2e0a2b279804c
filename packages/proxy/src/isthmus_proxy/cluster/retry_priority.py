"""Where a retry goes that keeps away from priorities it has tried (envoy.extensions.retry.priority.previous_priorities)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isthmus_proxy.cluster.priority import Loads, spread


def loads_after(loads: Loads, attempted: Sequence[int], frequency: int) -> Loads:
    """The loads for the next attempt, where ``attempted`` are the priorities tried so far, first to last.

    After every ``frequency`` attempts the priorities tried are excluded; when none is left that has anything, all count again.
    """
    result = loads
    counted: set[int] = set()
    excluded: set[int] = set()
    seen = 0
    for priority in attempted:
        seen += 1
        counted.add(priority)
        if seen < frequency:
            result = loads
        elif seen % frequency == 0:
            excluded |= counted
            found = _without(loads, excluded)
            if found is None:
                excluded.clear()
                counted.clear()
                seen = 0
                found = _without(loads, excluded) or loads
            result = found
    return result


def _without(loads: Loads, excluded: set[int]) -> Loads | None:
    healthy, degraded = (
        [0 if priority in excluded else value for priority, value in enumerate(values)] for values in loads.availability
    )
    total = min(100, sum(healthy) + sum(degraded))
    if not total:
        return None
    share, rest = spread(healthy, degraded, total)
    return replace(loads, healthy=share, degraded=rest)
