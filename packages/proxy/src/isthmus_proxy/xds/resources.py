"""The resource types that the proxy subscribes to, and resources and updates as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.message import Message

_PREFIX = "type.googleapis.com/"

CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SCOPE = _PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
RUNTIME = _PREFIX + "envoy.service.runtime.v3.Runtime"
WRAPPER = _PREFIX + "envoy.service.discovery.v3.Resource"

FULL_STATE = frozenset({CLUSTER, LISTENER, SCOPE})
"""Types of which a state-of-the-world response always names every resource: one that is missing was removed."""

SHORT_NAMES = {
    CLUSTER: "cds",
    ENDPOINT: "eds",
    LISTENER: "lds",
    ROUTE: "rds",
    EXTENSION: "ecds",
    SCOPE: "srds",
    RUNTIME: "rtds",
}

_MESSAGES: dict[str, tuple[type[Message], str]] = {
    CLUSTER: (Cluster, "name"),
    ENDPOINT: (ClusterLoadAssignment, "cluster_name"),
    LISTENER: (Listener, "name"),
    ROUTE: (RouteConfiguration, "name"),
    EXTENSION: (TypedExtensionConfig, "name"),
    SCOPE: (ScopedRouteConfiguration, "name"),
    RUNTIME: (Runtime, "name"),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of an update. ``body`` is the serialised ``message``; ``version`` is empty in state-of-the-world."""

    name: str
    version: str
    body: bytes
    message: Message


@dataclass(frozen=True, slots=True)
class Update:
    """What one response changes: resources that are new or different, and names that are no more."""

    type_url: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource that was accepted. ``updated_at`` is wall-clock seconds."""

    version: str
    body: bytes
    updated_at: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The latest version of a resource that was refused, and why; an older good version may still be in service."""

    version: str
    body: bytes
    reason: str
    rejected_at: float


Apply = Callable[[Update], Mapping[str, str]]
"""Takes an update into service and returns the reason for each resource that it refuses, by name."""


def know(type_url: str, kind: type[Message], name_field: str) -> None:
    """Decode resources of one more type, whose module few proxies need."""
    _MESSAGES.setdefault(type_url, (kind, name_field))


def empty(type_url: str) -> Message:
    """A message of a type."""
    return _MESSAGES[type_url][0]()


def decode(type_url: str, body: bytes) -> tuple[str, Message]:
    """Name and message of a serialised resource. Raises google.protobuf.message.DecodeError."""
    kind, name_field = _MESSAGES[type_url]
    message = kind.FromString(body)
    return getattr(message, name_field), message
