"""What share of the load each endpoint of one priority should have: the input of ring hash and maglev. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet


def shares(hosts: HostSet, *, panic: bool) -> list[tuple[Endpoint, float]]:
    """Return the endpoints that may be chosen, with shares that add up to one; empty when there are none.

    With locality weights an endpoint shares the part of its locality. Localities of weight zero get nothing, and that holds
    for all of them together too.
    """
    if hosts.locality_weights is None:
        return _by_weight(hosts.hosts if panic else hosts.healthy, 1.0)
    groups = hosts.localities()
    total = sum(group.weight for group in groups)
    found: list[tuple[Endpoint, float]] = []
    for group in groups:
        if group.weight:
            found += _by_weight(group.hosts if panic else group.healthy, group.weight / total)
    return found


def _by_weight(hosts: Sequence[Endpoint], part: float) -> list[tuple[Endpoint, float]]:
    total = sum([host.weight for host in hosts])
    return [(host, host.weight * part / total) for host in hosts]
