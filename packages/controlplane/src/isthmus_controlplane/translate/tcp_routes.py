"""TCP and TLS routes of VirtualServices: which clusters share the connections of a port, or of a server name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.destinations import Destinations, RouteContext
from isthmus_controlplane.translate.source import Source

Shares = tuple[tuple[str, int], ...]


def tcp_shares(governing: ConfigObject, source: Source, context: RouteContext) -> Shares:
    """Return (cluster, weight) of the first TCP route that takes connections from there; none where no route does."""
    spec: Any = governing.spec
    for route in spec.tcp:
        if not route.match or any(map(source.fits, route.match)):
            return shares_of(route, governing, source, context)
    return ()


def tls_shares(governing: ConfigObject, source: Source, context: RouteContext) -> Iterator[tuple[str, Shares]]:
    """Yield each server name (in lower case, perhaps with a first label ``*``) that TLS routes take, with its shares."""
    spec: Any = governing.spec
    for route in spec.tls:
        for match in route.match:
            if source.fits(match):
                for name in match.sni_hosts:
                    yield name.lower(), shares_of(route, governing, source, context)


def shares_of(route: Any, governing: ConfigObject, source: Source, context: RouteContext) -> Shares:
    """Return the clusters of one route, and their weights."""
    destinations = Destinations(governing, source.port, context, http=False)
    targets = [target for target in route.route if target.weight > 0 or len(route.route) == 1]
    return tuple((destinations.cluster(target.destination), max(target.weight, 1)) for target in targets)
