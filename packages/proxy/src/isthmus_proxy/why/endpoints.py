"""Which endpoints of a cluster can get a request, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health import flags
from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.cluster.priority import Census, Loads, distribute

_Row = dict[str, object]

MAX_ROWS = 1000
"""Endpoints that are named, those that can be chosen first."""


def explain_endpoints(
    hosts: Sequence[Endpoint], overprovisioning: int, panic_threshold: float, criteria: Criteria | None
) -> tuple[Loads, list[_Row]]:
    """Loads of the priorities in per cent, and a row for each endpoint."""
    loads = distribute(_census(hosts), overprovisioning, panic_threshold)
    rows = [_row(host, _why_not(host, loads, criteria)) for host in hosts]
    rows.sort(key=lambda row: "why_not" in row)
    return loads, rows[:MAX_ROWS]


def _census(hosts: Iterable[Endpoint]) -> list[Census]:
    by_priority: dict[int, list[Endpoint]] = {}
    for host in hosts:
        by_priority.setdefault(host.priority, []).append(host)
    found = []
    for priority in range(max(by_priority, default=0) + 1):
        members = by_priority.get(priority, [])
        healths = [host.coarse_health for host in members]
        excluded = sum(host.excluded for host in members)
        found.append(Census(len(members), healths.count("healthy"), healths.count("degraded"), excluded))
    return found


def _why_not(host: Endpoint, loads: Loads, criteria: Criteria | None) -> str:
    missing = _missing(host, criteria)
    if missing:
        return f"the route asks for metadata that it does not have: {', '.join(missing)}"
    priority = host.priority
    if not loads.healthy[priority] and not loads.degraded[priority]:
        return f"priority {priority} gets no requests: those before it have enough healthy endpoints"
    if loads.panic[priority]:
        return ""
    health = host.coarse_health
    if health == "unhealthy":
        return f"it is unhealthy ({flags.names(host.flags)})"
    if health == "degraded" and not loads.degraded[priority]:
        return f"it is degraded ({flags.names(host.flags)}), and the healthy ones suffice"
    if health == "healthy" and not loads.healthy[priority]:
        return f"the healthy endpoints of priority {priority} get no requests"
    return ""


def _missing(host: Endpoint, criteria: Criteria | None) -> list[str]:
    return [f"{name}={value}" for name, value in criteria or () if (name, value) not in host.config.metadata]


def _row(host: Endpoint, why_not: str) -> _Row:
    row: _Row = {
        "address": host.name,
        "priority": host.priority,
        "weight": host.weight,
        "health": flags.names(host.flags),
        "active_requests": host.rq_active,
        "chosen_from": not why_not,
    }
    if why_not:
        row["why_not"] = why_not
    return row
