"""HTTP filters of outbound listeners, and what routes tell them.

A listener has the filters that its routes need: one that no route uses would cost every request.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import CorsPolicy as IstioCorsPolicy
from isthmus_controlplane.model.grpc_status import GRPC_STATUSES
from isthmus_controlplane.model.scope import NodeKind
from isthmus_controlplane.translate.matches import string_match
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.percent import fraction

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
ROUTER = "envoy.filters.http.router"


def filters_of(spec: Any, kind: NodeKind) -> frozenset[str]:
    """Name the filters that the routes of a VirtualService need on nodes of one kind.

    Of the two, gRPC clients have the fault filter only (gRFC A33), and no browser asks them.
    """
    needed = set()
    for http in spec.http:
        if http.HasField("fault"):
            needed.add(FAULT)
        if http.HasField("cors_policy") and kind != "grpc":
            needed.add(CORS)
    return frozenset(needed)


def http_filters(needed: Collection[str]) -> list[Any]:
    """The filter chain with these filters, in Istio's order, and the router at its end."""
    known = ((FAULT, HTTPFault()), (CORS, Cors()))
    filters = [HttpFilter(name=name, typed_config=packed(config)) for name, config in known if name in needed]
    return [*filters, HttpFilter(name=ROUTER, typed_config=packed(Router()))]


def set_overrides(route: Any, http: Any, kind: NodeKind) -> None:
    """Put on a Route what an HTTPRoute tells the filters."""
    if http.HasField("fault"):
        route.typed_per_filter_config[FAULT].CopyFrom(packed(_fault(http.fault)))
    if http.HasField("cors_policy") and kind != "grpc":
        route.typed_per_filter_config[CORS].CopyFrom(packed(_cors(http.cors_policy)))


def _fault(fault: Any) -> Any:
    """Without a percentage nothing is delayed or aborted (istio.networking.v1alpha3.HTTPFaultInjection)."""
    result = HTTPFault()
    if fault.HasField("delay"):
        percentage = fraction(fault.delay.percentage.value)
        result.delay.CopyFrom(FaultDelay(fixed_delay=fault.delay.fixed_delay, percentage=percentage))
    if fault.HasField("abort"):
        abort = FaultAbort(percentage=fraction(fault.abort.percentage.value))
        if fault.abort.HasField("grpc_status"):
            abort.grpc_status = GRPC_STATUSES.index(fault.abort.grpc_status)
        else:
            abort.http_status = fault.abort.http_status
        result.abort.CopyFrom(abort)
    return result


def _cors(policy: Any) -> Any:
    origins = (string_match(origin) for origin in policy.allow_origins)
    result = CorsPolicy(
        allow_origin_string_match=origins,
        allow_methods=",".join(policy.allow_methods),
        allow_headers=",".join(policy.allow_headers),
        expose_headers=",".join(policy.expose_headers),
        filter_enabled=RuntimeFractionalPercent(default_value=fraction(100)),
    )
    if policy.HasField("max_age"):
        result.max_age = str(policy.max_age.seconds)
    if policy.HasField("allow_credentials"):
        result.allow_credentials.CopyFrom(policy.allow_credentials)
    if policy.unmatched_preflights != IstioCorsPolicy.UNSPECIFIED:
        forward = policy.unmatched_preflights == IstioCorsPolicy.FORWARD
        result.forward_not_matching_preflights.CopyFrom(BoolValue(value=forward))
    return result
