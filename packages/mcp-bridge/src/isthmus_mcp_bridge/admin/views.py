"""What the administration endpoint shows, as plain values for JSON."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.explain import explain
from isthmus_mcp_bridge.convert.decoded import decoded
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.mcp.streams import Stream
from isthmus_mcp_bridge.model import MergedService, ServiceKey

MAX_EXPLAINED = 20
MAX_LISTED = 1000
"""Entries of a list that are shown; ``total`` says how many there are."""


def sources(catalog: Catalog, now: float) -> list[dict[str, Any]]:
    """Every registry in order of precedence: its state and why, and what it has trouble with."""
    return [
        {
            "name": source.name,
            "state": source.state,
            "reason": source.reason,
            "unreadable": sorted(source.unreadable),
            "problems": len(source.problems()),
            "restored_from_disk": source.restored,
            "revision": source.revision,
            "in_state_s": round(max(0.0, now - source.freshness.since), 1),
            "listings": source.listings,
            "drifts": source.drifts,
            "held_deletions": source.held_deletions,
            "endpoints": source.sockets,
            "held_origins": sorted(source.held)[:MAX_LISTED],
            "hold_ends_in_s": None if source.guard.deadline is None else round(source.guard.deadline - now, 1),
            "holds": source.guard.holds,
            "dampings": source.damper.damped,
        }
        for source in catalog.sources.values()
    ]


def explanations(catalog: Catalog, host: str, now: float) -> dict[str, Any]:
    """Why the services of that host (or ``namespace/host``) are as they are."""
    keys = sorted(key for key in catalog.services if host in (key.host, key.name))
    found = (explain(catalog, key, now) for key in keys[:MAX_EXPLAINED])
    return {"total": len(keys), "services": [one for one in found if one is not None]}


def collection(snapshot: Snapshot) -> dict[str, Any]:
    """Name and version of every service that is served; ``services`` is null while they are withheld."""
    entries = snapshot.service_entries
    if entries is None:
        return {"version": "", "services": None}
    return {"version": entries.version, "services": {name: one.version for name, one in entries.resources.items()}}


def entry(snapshot: Snapshot, name: str) -> dict[str, Any] | None:
    """One served resource, ``namespace/host``, decoded."""
    found = snapshot.service_entries.resources.get(name) if snapshot.service_entries is not None else None
    return None if found is None else decoded(found)


def services(catalog: Catalog, host: str = "") -> dict[str, Any]:
    """The merged services, sorted; ``host`` narrows to those whose host or ``namespace/host`` is exactly that."""
    keys = sorted(key for key in catalog.services if not host or host in (key.host, key.name))
    return {"total": len(keys), "services": [_service(catalog, key) for key in keys[:MAX_LISTED]]}


def problems(catalog: Catalog, publication: Publication) -> dict[str, Any]:
    """Unusable entries of registries, claims that cannot stand together, and services held back by the last check."""
    found = [
        {"registry": one.registry, "path": one.path, "value": one.value, "message": one.message}
        for source in catalog.sources.values()
        for one in source.problems()
    ]
    conflicts = (
        {"service": key.name, "path": one.path, "value": one.value, "message": one.message}
        for key, merged in catalog.services.items()
        for one in merged.conflicts
    )
    quarantined = [
        {"service": name, "path": one.path, "value": one.value, "message": f"{one.rule}; the last good state stays"}
        for name, broken in publication.quarantined.items()
        for one in broken
    ]
    listed = list(itertools.islice(itertools.chain(found, quarantined, conflicts), MAX_LISTED))
    return {"total": len(listed), "problems": listed}


def sinks(streams: list[Stream]) -> list[dict[str, Any]]:
    """The open streams: what each was sent, acknowledged and rejected, by type."""
    return [
        {
            "node": stream.node,
            "peer": stream.peer,
            "variant": stream.variant,
            "filter": dataclasses.asdict(stream.filter),
            "types": {
                type_url: {
                    "sent": status.sent_version,
                    "acknowledged": status.acked_version,
                    "rejected": status.rejected_version,
                    "error": "" if status.rejection is None else status.rejection.message,
                }
                for type_url, status in stream.session.status.items()
            },
        }
        for stream in streams[:MAX_LISTED]
    ]


def _service(catalog: Catalog, key: ServiceKey) -> dict[str, Any]:
    merged = catalog.services[key]
    return {
        "name": key.name,
        "host": key.host,
        "namespace": key.namespace,
        "raw_names": list(merged.raw_names),
        "addresses": list(merged.addresses),
        "ports": [{"name": port.name, "number": port.number, "protocol": port.protocol} for port in merged.ports],
        "endpoints": _endpoints(merged),
        "claims": _claims(catalog, key),
        "conflicts": [{"path": one.path, "value": one.value, "message": one.message} for one in merged.conflicts],
    }


def _endpoints(merged: MergedService) -> list[dict[str, Any]]:
    return [
        {
            "address": workload.address,
            "ports": dict(workload.ports),
            "labels": dict(workload.labels),
            "network": workload.network,
            "locality": workload.locality,
            "weight": workload.weight,
        }
        for workload in merged.workloads
    ]


def _claims(catalog: Catalog, key: ServiceKey) -> list[dict[str, Any]]:
    return [
        {
            "source": sourced.source,
            "origin": sourced.origin,
            "address": f"{endpoint.address}:{endpoint.port}",
            "presence": endpoint.presence,
            "weight": endpoint.weight,
            "raw_id": endpoint.raw_id,
        }
        for sourced in catalog.claims(key)
        for endpoint in sourced.claim.endpoints[:MAX_LISTED]
    ]
