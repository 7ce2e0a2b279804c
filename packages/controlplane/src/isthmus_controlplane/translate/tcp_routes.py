"""TCP routes of VirtualServices: which clusters share the connections of a port."""

from __future__ import annotations

from typing import Any

from isthmus_controlplane.model.service import Port
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.destinations import Destinations, RouteContext


def tcp_shares(governing: ConfigObject, port: Port, context: RouteContext) -> tuple[tuple[str, int], ...]:
    """Return (cluster, weight) of the first TCP route that takes connections to ``port``; none where no route does."""
    destinations = Destinations(governing, port.number, context, http=False)
    spec: Any = governing.spec
    for route in spec.tcp:
        if _applies(route, port.number, context.scope.namespace):
            targets = [target for target in route.route if target.weight > 0 or len(route.route) == 1]
            return tuple((destinations.cluster(target.destination), max(target.weight, 1)) for target in targets)
    return ()


def _applies(route: Any, port: int, namespace: str) -> bool:
    return not route.match or any(
        match.port in {0, port} and match.source_namespace in {"", namespace} for match in route.match
    )
