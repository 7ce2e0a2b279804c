"""How two merged forms of a service differ, in words; pure."""

from __future__ import annotations

from typing import Any

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.model import MergedService, ServiceKey, Workload

MAX_NAMED = 20
"""Endpoints named in a difference; the counts are whole."""


def pending_change(catalog: Catalog, key: ServiceKey, now: float) -> dict[str, Any] | None:
    """What would change if every registry were believed at once; None when nothing would."""
    published = catalog.services.get(key)
    said = catalog.merge_as_said(key, now)
    found = difference(published, said, with_addresses=catalog.vips is None)
    return None if found is None else {"service": key.name} | found


def difference(
    old: MergedService | None, new: MergedService | None, *, with_addresses: bool = True
) -> dict[str, Any] | None:
    """How ``new`` differs from ``old``; None when it does not."""
    if old is None or new is None:
        return None if old is new else {"change": "removed" if new is None else "added"}
    before, after = _by_socket(old), _by_socket(new)
    found = {
        "endpoints_added": _named(after.keys() - before.keys()),
        "endpoints_removed": _named(before.keys() - after.keys()),
        "endpoints_changed": _named({one for one in before.keys() & after.keys() if before[one] != after[one]}),
    }
    other = {
        "ports": (old.ports, new.ports),
        **({"addresses": (old.addresses, new.addresses)} if with_addresses else {}),
        "raw_names": (old.raw_names, new.raw_names),
    }
    fields = [name for name, (was, now) in other.items() if was != now]
    if not fields and not any(one["count"] for one in found.values()):
        return None
    return {"change": "changed", "fields": fields, **{name: one for name, one in found.items() if one["count"]}}


def _by_socket(service: MergedService) -> dict[str, Workload]:
    return {
        f"{one.network + ' ' if one.network else ''}{one.address}:{','.join(str(port) for _, port in one.ports)}": one
        for one in service.workloads
    }


def _named(sockets: set[str]) -> dict[str, Any]:
    return {"count": len(sockets), "first": sorted(sockets)[:MAX_NAMED]}
