"""The result of a translation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from google.protobuf.message import Message

from isthmus_controlplane.stores.base import ObjectKey, Problem

LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
DUAL_MODE_TYPE = "isthmus.io/v1alpha1/DualMode"


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """All resources of one scope.

    Attributes:
        messages: per type URL, the resources by name, in sorted order; an `Aliased` where one goes by several.
        origins: for each (type URL, name), the user objects it was made from, to attribute a NACK; sorted.
        problems: what could not be translated for this scope, sorted.
        imported: hosts of the services that the scope gets; None for all that are visible to it.
        changed: names per type that differ from the translation before; None where any may.
    """

    messages: Mapping[str, Mapping[str, Message]]
    origins: Mapping[tuple[str, str], tuple[ObjectKey, ...]]
    problems: tuple[Problem, ...] = ()
    imported: frozenset[str] | None = None
    changed: Mapping[str, frozenset[str]] | None = None
