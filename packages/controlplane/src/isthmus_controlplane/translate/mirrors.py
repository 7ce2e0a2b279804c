"""Copies of requests, whose responses are thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import RouteAction
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_controlplane.translate.names import BLACK_HOLE_CLUSTER, UNRESOLVED_CLUSTER
from isthmus_controlplane.translate.percent import fraction

ALL = 100.0  # per cent, Istio's default


def mirrors_of(http: Any) -> Iterator[tuple[Any, float]]:
    """Yield (Destination, per cent) of the mirrors of an HTTPRoute, in either of the two forms."""
    if http.HasField("mirror"):
        yield http.mirror, http.mirror_percentage.value if http.HasField("mirror_percentage") else ALL
    for each in http.mirrors:
        yield each.destination, each.percentage.value if each.HasField("percentage") else ALL


def mirror_policy(cluster: str, percent: float) -> Any:
    """Return the policy for one mirror; None where nothing is to be copied, or nowhere to copy it to."""
    if cluster in {BLACK_HOLE_CLUSTER, UNRESOLVED_CLUSTER} or percent == 0:
        return None
    return RouteAction.RequestMirrorPolicy(
        cluster=cluster,
        runtime_fraction=RuntimeFractionalPercent(default_value=fraction(percent)),
        trace_sampled=BoolValue(value=False),
    )
