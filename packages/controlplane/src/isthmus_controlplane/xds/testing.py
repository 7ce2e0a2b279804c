"""For tests: small resources, and both sides of a stream joined in memory, with every message in its wire form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from isthmus_controlplane.snapshot.names import name_of as resource_name
from isthmus_controlplane.snapshot.resource import Aliased, Content, message_of, type_url_of
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.xds.message import Request, Variant
from isthmus_controlplane.xds.session import DEFAULT_LIMITS, Limits, Session
from isthmus_controlplane.xds.wire import decode, encode

IDENTIFIER = "test"
NODE = Node(id="sidecar~10.0.0.1~a.default~default.svc.cluster.local", user_agent_name="envoy")


def cluster(name: str, revision: int = 1, eds: str = "") -> Message:
    """Make an EDS cluster; ``revision`` changes its content, ``eds`` is the name it asks for (its own if empty)."""
    message: Message = Cluster(
        name=name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(service_name=eds),
        connect_timeout=Duration(seconds=revision),
    )
    return message


def endpoints(name: str, *ports: int) -> Message:
    """Make a load assignment with one endpoint on the loopback address per port."""
    message = ClusterLoadAssignment(cluster_name=name)
    for port in ports:
        address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    result: Message = message
    return result


def route(name: str, *clusters: str) -> Message:
    """Make a route configuration with one virtual host that has a route per cluster."""
    message = RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="all", domains=["*"])
    for target in clusters:
        added = host.routes.add()
        added.match.prefix = f"/{target}"
        added.route.cluster = target
    result: Message = message
    return result


def listener(name: str, route_name: str, revision: int = 1) -> Message:
    """Make a listener whose connection manager asks for a route configuration."""
    manager = HttpConnectionManager(stat_prefix=f"revision-{revision}")
    manager.rds.route_config_name = route_name
    typed = Filter(name="hcm")
    typed.typed_config.Pack(manager)
    message: Message = Listener(name=name, filter_chains=[FilterChain(filters=[typed])])
    return message


def snapshot_of(*contents: Content, previous: Snapshot | None = None) -> Snapshot:
    """Build a snapshot of loose messages."""
    by_type: dict[str, dict[str, Content]] = {}
    for content in contents:
        message = message_of(content)
        for name in (resource_name(message), *(content.aliases if isinstance(content, Aliased) else ())):
            by_type.setdefault(type_url_of(message), {})[name] = content
    return build(by_type, previous)


class Conversation:
    """A client's requests and a session's responses, as protobuf messages that went over the wire form.

    Each call returns the responses that the session wants to send next, in order. Nothing is acknowledged by itself.

    Attributes:
        session: the side under test.
        take: how it takes a request; replace it where requests come to it through a fleet.
        now: the session's clock, in seconds; set it to make time pass.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        user_agent: str = "envoy",
        features: Iterable[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Start a stream."""
        self.session = Session(variant, limits=limits)
        self.session.identify(user_agent, features)
        self.take: Callable[[Request], object] = self.session.receive
        self.now = 0.0
        self._snapshot: Snapshot | None = None
        self._sequence = 0

    def publish(self, *messages: Content) -> list[Any]:
        """Publish a snapshot of these messages and nothing else."""
        return self.publish_snapshot(self.build(*messages))

    def build(self, *messages: Content) -> Snapshot:
        """Build the snapshot that follows the last one that was built, without publishing it."""
        self._snapshot = snapshot_of(*messages, previous=self._snapshot)
        return self._snapshot

    def publish_snapshot(self, snapshot: Snapshot, sequence: int | None = None) -> list[Any]:
        """Publish a snapshot, with the number that follows the last one, or with another."""
        self._snapshot = snapshot
        self._sequence = self._sequence + 1 if sequence is None else sequence
        self.session.publish(snapshot, self._sequence)
        return self.flush()

    def flush(self) -> list[Any]:
        """Take whatever the session has to say."""
        responses = []
        while (response := self.session.next_response(self.now)) is not None:
            raw = encode(self.session.variant, response, IDENTIFIER)
            message_type = DiscoveryResponse if self.session.variant is Variant.SOTW else DeltaDiscoveryResponse
            responses.append(message_type.FromString(raw))
        return responses

    def receive(self, message: Message) -> None:
        """Hand a request to the session without asking for responses."""
        request, _ = decode(self.session.variant, message.SerializeToString())
        self.take(request)

    def sotw(self, type_url: str, names: Iterable[str] = (), *, nonce: str = "", version: str = "") -> list[Any]:
        """Send a ``DiscoveryRequest``."""
        self.receive(
            DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce, version_info=version)
        )
        return self.flush()

    def delta(
        self,
        type_url: str,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        *,
        nonce: str = "",
        initial: Mapping[str, str] | None = None,
    ) -> list[Any]:
        """Send a ``DeltaDiscoveryRequest``."""
        self.receive(
            DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                response_nonce=nonce,
                initial_resource_versions=initial or {},
            )
        )
        return self.flush()

    def ack(self, response: Any, names: Iterable[str] = ()) -> list[Any]:
        """Acknowledge a response; on SotW ``names`` is the subscription."""
        if self.session.variant is Variant.SOTW:
            return self.sotw(response.type_url, names, nonce=response.nonce, version=response.version_info)
        return self.delta(response.type_url, nonce=response.nonce)

    def nack(self, response: Any, message: str, names: Iterable[str] = ()) -> list[Any]:
        """Reject a response; on SotW ``names`` is the subscription."""
        sotw = self.session.variant is Variant.SOTW
        request = (
            DiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce, resource_names=names)
            if sotw
            else DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        )
        request.error_detail.code = 3
        request.error_detail.message = message
        self.receive(request)
        return self.flush()


def names_in(response: Any) -> list[str]:
    """Return the names of a response's resources, in its order."""
    if isinstance(response, DeltaDiscoveryResponse):
        return [resource.name for resource in response.resources]
    return [name_of(body) for body in response.resources]


def name_of(body: Any) -> str:
    """Return the name of a packed cluster, load assignment, listener or route configuration."""
    if body.Is(ClusterLoadAssignment.DESCRIPTOR):
        return str(ClusterLoadAssignment.FromString(body.value).cluster_name)
    for message_type in (Cluster, Listener, RouteConfiguration):
        if body.Is(message_type.DESCRIPTOR):
            return str(message_type.FromString(body.value).name)
    raise ValueError(f"{body.type_url} has no known name field")


async def eventually(check: Callable[[], bool], patience: float = 20.0) -> None:
    """Wait until ``check`` holds.

    Raises:
        TimeoutError: it did not within ``patience`` seconds.
    """
    async with asyncio.timeout(patience):
        while not check():  # noqa: ASYNC110 - whatever is polled here has no event to wait for
            await asyncio.sleep(0.005)
