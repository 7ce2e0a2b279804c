"""For tests of discovery: the whole of it with a clock of its own and small compilers, and what a control plane would send."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.service.discovery.v3 import discovery_pb2 as discovery

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.config.scoped_routes import compile_scope
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.discovered import ExtensionHandles
from isthmus_proxy.http.filters.stream_filter import FilterContext, FilterFactory
from isthmus_proxy.listener.model import (
    DiscoveredFilterConfig,
    Extension,
    FilterChain,
    HttpConnectionManagerConfig,
    HttpFilterConfig,
    ListenerConfig,
    RdsReference,
    ScopedRoutesConfig,
    SocketAddress,
)
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.route.model import RouteConfiguration as Routes
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.xds import cluster_discovery, listener_discovery
from isthmus_proxy.xds.apply import Discovery, Sources
from isthmus_proxy.xds.extension_discovery import ExtensionDiscovery
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT_NAMES
from isthmus_proxy.xds.session import Session, Variant
from isthmus_proxy.xds.source import ApiSource, ManagementServer


def own_source(text: str) -> ApiSource | None:
    """``own:c`` is a stream of one type from cluster c; anything else the aggregated one."""
    server = text.removeprefix("own:")
    return ApiSource((ManagementServer(server),)) if server != text else None


def compile_cluster(proto: Any) -> ClusterConfig:
    """A small compiler: alt_stat_name is the content, and ``bad`` is refused. After ``own:`` it names a server of endpoints."""
    if proto.alt_stat_name == "bad":
        raise ConfigError("alt_stat_name", "bad", "is refused")
    kind = "STATIC" if proto.alt_stat_name == "static" else "EDS"
    source = own_source(proto.alt_stat_name)
    service = proto.eds_cluster_config.service_name
    return ClusterConfig(proto.name, kind, content=proto.alt_stat_name, eds_service_name=service, eds_source=source)  # type: ignore[arg-type]


def compile_assignment(proto: Any) -> Assignment:
    """Every port of ``policy.overprovisioning_factor`` is one endpoint."""
    port = proto.policy.overprovisioning_factor.value
    return Assignment(proto.cluster_name, (LocalityEndpoints((EndpointConfig("127.0.0.1", port),)),))


@dataclass(frozen=True, slots=True)
class Stamp:
    """A filter that is never made."""

    value: str

    def make(self, context: FilterContext) -> FilterFactory:
        """See FilterConfig."""
        raise NotImplementedError


def compile_extension(proto: Any) -> Extension:
    """The type URL is the kind, and its bytes the content; ``bad`` is refused."""
    if proto.typed_config.value == b"bad":
        raise ConfigError("typed_config.value", "bad", "is refused")
    return Extension(proto.typed_config.type_url, Stamp(proto.typed_config.value.decode()))


def compile_listener(proto: Any) -> ListenerConfig:
    """stat_prefix names the route configuration, and after ``@own:`` a server of its own; after ``+`` a filter over xDS.

    ``scoped`` is none: scopes decide.
    """
    names, _, server = proto.stat_prefix.partition("@")
    name, *extensions = names.split("+")
    source = own_source(server)
    filters = tuple(
        HttpFilterConfig(each, DiscoveredFilterConfig(each, frozenset({"stamp"}), source=source)) for each in extensions
    )
    route: RdsReference | ScopedRoutesConfig = RdsReference(name, source=source)
    if name == "scoped":
        route = ScopedRoutesConfig("tenants", (), RdsReference("", source=source))
    manager = HttpConnectionManagerConfig("in", route, http_filters=filters)
    chains = (FilterChain("", manager),)
    return ListenerConfig(proto.name, SocketAddress("127.0.0.1", 1), chains, proto.stat_prefix)


def compile_route(proto: Any) -> Routes:
    """Nothing but the name."""
    return Routes(proto.name, (), content=proto.name)


class FakeListeners:
    """Remembers what is open; ``taken`` holds names whose address cannot be had."""

    def __init__(self) -> None:
        self.open: dict[str, ListenerConfig] = {}
        self.taken: set[str] = set()

    def reserve(self, config: ListenerConfig) -> object:
        """See listener_discovery.Listeners."""
        if config.name in self.taken:
            raise ConfigError("address", "127.0.0.1:1", "cannot listen here: Address already in use")
        return None

    def add_or_update(self, config: ListenerConfig) -> object:
        """See listener_discovery.Listeners."""
        if config.name in self.taken:
            raise ConfigError("address", "127.0.0.1:1", "cannot listen here: Address already in use")
        self.open[config.name] = config
        return config.address

    def remove(self, name: str) -> object:
        """See listener_discovery.Listeners."""
        return self.open.pop(name, None)


class Proxy:
    """The client side with a clock of its own, and the sending half of a control plane."""

    def __init__(self, variant: Variant = "sotw", *, lds: bool = True, sources: Sources | None = None) -> None:
        self.now = 0.0
        self.stats = StatsStore()
        self.clusters = ClusterManager(
            lambda name: self.stats.scope(f"cluster.{name}"), random.Random(1).random, lambda: 0.0
        )
        self.routes = RouteHandles()
        self.listeners = FakeListeners()
        self.session = Session(Node(id="sidecar"), variant)
        self.discovery = Discovery(
            self.session,
            sources or Sources(clusters=True, listeners=lds, servers=frozenset({"one", "two"})),
            self.stats,
            lambda: self.now,
            lambda: 1_000.0 + self.now,
        )
        self.cds = cluster_discovery.ClusterDiscovery(
            self.clusters,
            cluster_discovery.Compilers(compile_cluster, compile_assignment),
            self.discovery.subscribe_endpoints,
            lambda: self.now,
            self.discovery.check_source,
        )
        self.extensions = ExtensionHandles()
        self.ecds = ExtensionDiscovery(
            lambda: self.extensions,
            compile_extension,
            self.discovery.subscribe_extensions,
            self.discovery.check_source,
            self.discovery.count_extension,
        )
        self.lds = listener_discovery.ListenerDiscovery(
            self.listeners,
            self.routes,
            listener_discovery.Compilers(compile_listener, compile_route, compile_scope),
            self.discovery.subscribe_routes,
            lambda: self.now,
            self.discovery.check_source,
            self.discovery.subscribe_scopes,
            self.ecds,
        )
        self.variant = variant
        self.nonce = 0
        self._up: list[Session] = []

    def start(self, clusters: tuple[ClusterConfig, ...] = (), listeners: tuple[ListenerConfig, ...] = ()) -> list[str]:
        """Begin, with a stream; the first requests."""
        self.discovery.start(self.cds, self.lds, clusters, listeners)
        self.discovery.connected()
        return self.said()

    def said(self, session: Session | None = None) -> list[str]:
        """The requests since the last look, short: type, names, version/nonce, error."""
        return [self.short(request) for request in self.discovery.take_requests(session)]

    def own(self, type_url: str, server: str) -> Session:
        """The session of a type with a stream of its own; its stream is up from the first look."""
        session = self.discovery.sessions.own[type_url, ApiSource((ManagementServer(server),))]
        if session not in self._up:
            self._up.append(session)
            self.discovery.connected(session)
        return session

    def short(self, request: Any) -> str:
        """One request in a line."""
        words = [SHORT_NAMES[request.type_url]]
        if isinstance(request, discovery.DiscoveryRequest):
            words += [",".join(request.resource_names) or "*", f"v{request.version_info}", f"n{request.response_nonce}"]
        else:
            words += [f"+{name}" for name in request.resource_names_subscribe]
            words += [f"-{name}" for name in request.resource_names_unsubscribe]
            words += [f"{name}={version}" for name, version in sorted(request.initial_resource_versions.items())]
            words += [f"n{request.response_nonce}"]
        if request.HasField("error_detail"):
            words.append(f"NACK {request.error_detail.message}")
        return " ".join(words)

    def send(
        self,
        type_url: str,
        version: str,
        *messages: Any,
        removed: tuple[str, ...] = (),
        session: Session | None = None,
    ) -> list[str]:
        """One response; what the proxy says to it, on the same stream."""
        self.nonce += 1
        response: Any
        if (session.variant if session is not None else self.variant) == "sotw":
            response = discovery.DiscoveryResponse(type_url=type_url, version_info=version, nonce=str(self.nonce))
            for message in messages:
                response.resources.add().Pack(message)
        else:
            response = discovery.DeltaDiscoveryResponse(type_url=type_url, nonce=str(self.nonce))
            response.removed_resources.extend(removed)
            for message in messages:
                name = message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name
                response.resources.add(name=name, version=version).resource.Pack(message)
        self.discovery.receive(response, session)
        return self.said(session)

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; what the proxy says then."""
        self.now += seconds
        self.discovery.expire()
        return self.said()

    def ports(self, name: str) -> list[int]:
        """The ports of the endpoints of a cluster."""
        return [host.address[1] for host in self.clusters.hosts(name)]


def cluster(name: str, content: str = "1") -> Any:
    """A cluster for ``compile_cluster``."""
    return Cluster(name=name, alt_stat_name=content)


def endpoints(name: str, port: int) -> Any:
    """An assignment for ``compile_assignment``."""
    assignment = ClusterLoadAssignment(cluster_name=name)
    assignment.policy.overprovisioning_factor.value = port
    return assignment


def listener(name: str, route: str) -> Any:
    """A listener for ``compile_listener``."""
    return Listener(name=name, stat_prefix=route)


def routes(name: str) -> Any:
    """A route configuration for ``compile_route``."""
    return RouteConfiguration(name=name)


def scope(name: str, key: str, route: str) -> Any:
    """A scope for ``compile_scope``."""
    made = ScopedRouteConfiguration(name=name, route_configuration_name=route)
    made.key.fragments.add(string_key=key)
    return made


def extension(name: str, content: str, kind: str = "stamp") -> Any:
    """A filter's configuration for ``compile_extension``."""
    made = TypedExtensionConfig(name=name)
    made.typed_config.type_url, made.typed_config.value = kind, content.encode()
    return made


def live(variant: Variant = "sotw") -> Proxy:
    """A proxy that serves clusters A and B and listener L with routes R."""
    proxy = Proxy(variant)
    proxy.start()
    proxy.send(CLUSTER, "1", cluster("A"), cluster("B"))
    proxy.send(ENDPOINT, "1", endpoints("A", 1), endpoints("B", 2))
    proxy.send(LISTENER, "1", listener("L", "R"))
    proxy.send(ROUTE, "1", routes("R"))
    assert proxy.discovery.initialized
    return proxy
