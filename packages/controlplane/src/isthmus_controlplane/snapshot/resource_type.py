"""What the protocol says about each resource type: send order, wildcard, full state, and the answer for an absent name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.message import Message

TYPE_PREFIX = "type.googleapis.com/"

CLUSTER = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SCOPED_ROUTE = TYPE_PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST = TYPE_PREFIX + "envoy.config.route.v3.VirtualHost"
SECRET = TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
RUNTIME = TYPE_PREFIX + "envoy.service.runtime.v3.Runtime"
EXTENSION_CONFIG = TYPE_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
DUAL_MODE = "isthmus.io/v1alpha1/DualMode"  # MCP over xDS: a collection of istio.mcp.v1alpha1.Resource


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceType:
    """How one resource type behaves in the xDS protocol.

    Attributes:
        type_url: full type URL.
        short: the field's short name, for metrics and status pages (``CDS``).
        full_state: a SotW response holds every subscribed resource and absence is deletion (listeners and clusters).
        legacy_wildcard: a client that never named a resource is subscribed to all of them.
        removable: may stand in a delta ``removed_resources``. Envoy drops an extension configuration at once and
            answers 5xx, so those never do.
        empty: makes the SotW answer for a subscribed name that does not exist, so that the client need not wait for
            its own timeout; None when the type has no such answer.
        removal_waits_for: types whose resources may still use one of this type: a removal waits until the client has
            acknowledged newer versions of those that name it.
        greets: a first request without names is answered at once, although there is nothing to say.
        answers_absence: on delta, a name that does not exist is answered by a resource without content, not by a removal.
    """

    type_url: str
    short: str
    full_state: bool = False
    legacy_wildcard: bool = False
    removable: bool = True
    empty: Callable[[str], Message] | None = None
    removal_waits_for: tuple[str, ...] = ()
    greets: bool = False
    answers_absence: bool = False


def _empty_load_assignment(name: str) -> Message:
    message: Message = ClusterLoadAssignment(cluster_name=name)
    return message


def _empty_route_configuration(name: str) -> Message:
    message: Message = RouteConfiguration(name=name)
    return message


def _empty_runtime(name: str) -> Message:
    message: Message = Runtime(name=name)
    return message


# In the order in which responses are sent on ADS ("Eventual consistency considerations" of the xDS protocol).
RESOURCE_TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        CLUSTER, "CDS", full_state=True, legacy_wildcard=True, removal_waits_for=(LISTENER, ROUTE, VIRTUAL_HOST)
    ),
    ResourceType(ENDPOINT, "EDS", empty=_empty_load_assignment, removal_waits_for=(CLUSTER,)),
    ResourceType(LISTENER, "LDS", full_state=True, legacy_wildcard=True),
    ResourceType(ROUTE, "RDS", empty=_empty_route_configuration, removal_waits_for=(LISTENER,)),
    ResourceType(SCOPED_ROUTE, "SRDS", legacy_wildcard=True),
    # Envoy's route configuration waits for a first answer, and the requests to a host for one about it.
    ResourceType(VIRTUAL_HOST, "VHDS", greets=True, answers_absence=True),
    ResourceType(SECRET, "SDS"),
    ResourceType(EXTENSION_CONFIG, "ECDS", removable=False),
    ResourceType(RUNTIME, "RTDS", empty=_empty_runtime),
    ResourceType(DUAL_MODE, "DualMode", full_state=True, legacy_wildcard=True),
)
_BY_URL = {kind.type_url: kind for kind in RESOURCE_TYPES}
_ORDER = {kind.type_url: position for position, kind in enumerate(RESOURCE_TYPES)}


def resource_type(type_url: str) -> ResourceType:
    """Return the rules of a type; one that is not in the table is plain: named resources, sent when they change."""
    return _BY_URL.get(type_url) or ResourceType(type_url, type_url.removeprefix(TYPE_PREFIX))


def send_order(type_url: str) -> tuple[int, str]:
    """Sort key that puts types into ADS order, unknown ones last."""
    return (_ORDER.get(type_url, len(_ORDER)), type_url)
