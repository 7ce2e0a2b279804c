"""What routes name: the clusters of their destinations, and what these hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from isthmus_controlplane.model.gateway_api import GATEWAY_API_KINDS
from isthmus_controlplane.model.model import Model, subsets_of
from isthmus_controlplane.model.references import destination_port
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.load_balancer import hash_policy
from isthmus_controlplane.translate.names import BLACK_HOLE_CLUSTER, UNRESOLVED_CLUSTER, cluster_name
from isthmus_controlplane.translate.traffic_policy import traffic_policy


@dataclasses.dataclass(frozen=True, slots=True)
class RouteContext:
    """What routes are built against.

    Attributes:
        model: the configuration.
        scope: for whom.
        clusters: names of the clusters that exist for this scope; a route names no other.
        hashing: the DestinationRules that balance by consistent hash, by host; routes to these hosts say what is hashed.
    """

    model: Model
    scope: Scope
    clusters: frozenset[str]
    hashing: Mapping[str, ConfigObject] = dataclasses.field(default_factory=dict)

    def hash_policy(self, host: str, port: int, subset: str) -> Any:
        """Return the HashPolicy by which a cluster balances; None where it does not hash."""
        rule = self.hashing.get(host)
        if rule is None:
            return None
        policy = traffic_policy(rule.spec, subsets_of(rule).get(subset), port)
        return hash_policy(policy.load_balancer)


@dataclasses.dataclass(frozen=True, slots=True)
class Destinations:
    """What the destinations of a VirtualService stand for.

    Attributes:
        governing: the VirtualService.
        port: to which the request or the connection came.
        context: what the routes are built against.
        http: whether these are destinations of requests, or of connections.
    """

    governing: ConfigObject
    port: int
    context: RouteContext
    http: bool = True

    @property
    def of_gateway_api(self) -> bool:
        """Whether an HTTPRoute or a GRPCRoute governs, whose missing backends are answered with 500."""
        return self.governing.key.kind in GATEWAY_API_KINDS

    def cluster(self, destination: Any) -> str:
        """Name the cluster; for one that does not exist the black hole, so its share gets 503, or is closed."""
        missing = UNRESOLVED_CLUSTER if self.of_gateway_api else BLACK_HOLE_CLUSTER
        found = self._find(destination)
        if found is None:
            return missing
        host, port = found
        name = cluster_name(port, destination.subset, host)
        return name if name in self.context.clusters else missing

    def hash_policy(self, destination: Any) -> Any:
        """Return the HashPolicy by which the cluster balances, or None."""
        found = self._find(destination)
        return self.context.hash_policy(*found, destination.subset) if found is not None else None

    def _find(self, destination: Any) -> tuple[str, int] | None:
        service = self.context.model.service(destination.host, self.governing.key.namespace)
        chosen = destination.port.number if destination.HasField("port") else None
        target = destination_port(service, self.port, chosen, http=self.http) if service is not None else None
        return (service.host, target.number) if service is not None and target is not None else None
