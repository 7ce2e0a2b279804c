"""What a sidecar takes for its application: a filter chain and a cluster per port, behind the workload's policies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from isthmus_api.istio.networking.v1alpha3.sidecar_pb2 import CaptureMode
from isthmus_controlplane.model.endpoint_address import endpoint_address
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.scope import ANY_ADDRESS, LOOPBACK, Scope
from isthmus_controlplane.model.service import Port
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem
from isthmus_controlplane.translate.clusters import passthrough_cluster
from isthmus_controlplane.translate.connection_pool import set_connection_pool
from isthmus_controlplane.translate.http_filters import http_filters
from isthmus_controlplane.translate.listeners import HTTP_CONNECTION_MANAGER, tcp_proxy
from isthmus_controlplane.translate.matches import match_everything
from isthmus_controlplane.translate.message import packed, socket_address
from isthmus_controlplane.translate.mutual_tls import (
    BYTE_PROTOCOLS,
    HTTP_PROTOCOLS,
    ISTIO_PROTOCOLS,
    PeerModes,
    mutual_tls,
)
from isthmus_controlplane.translate.names import (
    BLACK_HOLE_CLUSTER,
    INBOUND_PASSTHROUGH_CLUSTER,
    VIRTUAL_INBOUND,
    VIRTUAL_INBOUND_PORT,
    inbound_name,
    listener_name,
)
from isthmus_controlplane.translate.security_filters import SecurityFilters, security_filters
from isthmus_controlplane.translate.tls_listeners import inspect_tls
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE

Resource = tuple[str, str, Any, tuple[ObjectKey, ...]]
_CERTIFICATE_METADATA = "TLS_SERVER_CERT_CHAIN, TLS_SERVER_KEY and TLS_SERVER_ROOT_CERT, or TLS_SECRET"


@dataclasses.dataclass(frozen=True, slots=True)
class InboundListener:
    """One port that is taken.

    Attributes:
        port: number to which clients connect, name and protocol; ``target`` is where the application listens.
        owners: the objects that say so.
        address: where the application listens.
        bind: address of a listener of its own; empty for one that redirected connections reach.
        connection_pool: ``ConnectionPoolSettings`` towards the application, None for the defaults.
    """

    port: Port
    owners: tuple[ObjectKey, ...]
    address: str = LOOPBACK
    bind: str = ""
    connection_pool: Any = None


class Inbound:
    """The inbound side of one scope."""

    def __init__(self, model: Model, scope: Scope, sidecar: ConfigObject | None) -> None:
        self.problems: list[Problem] = []
        self._scope = scope
        labels = dict(scope.labels)
        self._security = security_filters(model, scope.namespace, labels)
        self._modes = PeerModes(model.by_label.holding("PeerAuthentication", scope.namespace, labels))
        ingress = sidecar is not None and bool(sidecar.spec.ingress)  # type: ignore[attr-defined]
        self._listeners = _from_sidecar(sidecar, scope) if sidecar is not None and ingress else _from_services(scope)
        self._pool: Any = None
        if sidecar is not None and sidecar.spec.HasField("inbound_connection_pool"):
            self._pool = sidecar.spec.inbound_connection_pool  # type: ignore[attr-defined]

    def resources(self) -> Iterator[Resource]:
        """Yield (type URL, name, message, origins) of everything inbound; nothing where no inbound traffic comes."""
        if not self._listeners and not self._scope.inbound:
            return
        yield from self._clusters()
        yield from self._listener_resources()

    def _clusters(self) -> Iterator[Resource]:
        for listener in self._listeners:
            name = inbound_name(listener.port.number)
            pool = listener.connection_pool if listener.connection_pool is not None else self._pool
            yield CLUSTER_TYPE, name, application_cluster(name, listener, pool), listener.owners
        for cluster, policy in self._security.clusters if self._listeners else ():
            yield CLUSTER_TYPE, cluster.name, cluster, (policy.key,)

    def _listener_resources(self) -> Iterator[Resource]:
        redirected = [listener for listener in self._listeners if not listener.bind]
        for listener in self._listeners:
            if listener.bind:
                name = listener_name(listener.bind, listener.port.number)
                yield LISTENER_TYPE, name, self._bound(name, listener), self._origins([listener])
        if self._scope.interception != "NONE":
            yield CLUSTER_TYPE, INBOUND_PASSTHROUGH_CLUSTER, passthrough_cluster(INBOUND_PASSTHROUGH_CLUSTER), ()
            chains = [chain for listener in redirected for chain in self._chains(listener, by_port=True)]
            yield LISTENER_TYPE, VIRTUAL_INBOUND, self._virtual_inbound(chains), self._origins(redirected)

    def _bound(self, name: str, listener: InboundListener) -> Any:
        return Listener(
            name=name,
            address=socket_address(listener.bind, listener.port.number),
            listener_filters=self._listener_filters(redirected=False),
            filter_chains=self._chains(listener, by_port=False),
            traffic_direction=TrafficDirection.INBOUND,
        )

    def _origins(self, listeners: list[InboundListener]) -> tuple[ObjectKey, ...]:
        decided = (self._modes.decided_by.key,) if self._modes.decided_by is not None else ()
        return (*self._security.origins, *decided, *(key for listener in listeners for key in listener.owners))

    def _virtual_inbound(self, chains: list[Any]) -> Any:
        own_port = FilterChainMatch(destination_port=UInt32Value(value=VIRTUAL_INBOUND_PORT))
        listener = Listener(
            name=VIRTUAL_INBOUND,
            address=socket_address(ANY_ADDRESS, VIRTUAL_INBOUND_PORT),
            listener_filters=self._listener_filters(redirected=True),
            filter_chains=[
                FilterChain(
                    name="virtualInbound-blackhole",
                    filter_chain_match=own_port,
                    filters=[tcp_proxy([(BLACK_HOLE_CLUSTER, 1)])],
                ),
                *chains,
                *self._catch_all(),
            ],
            traffic_direction=TrafficDirection.INBOUND,
        )
        if self._scope.interception == "TPROXY":
            listener.transparent.CopyFrom(BoolValue(value=True))
        return listener

    def _catch_all(self) -> Iterator[Any]:
        """Ports that nobody has declared are passed on as bytes, behind the same policies."""
        filters = [*self._security.network, tcp_proxy([(INBOUND_PASSTHROUGH_CLUSTER, 1)])]
        yield from self._secured("virtualInbound-catchall", FilterChainMatch(), filters, filters, 0, ("istio",))

    def _listener_filters(self, *, redirected: bool) -> list[Any]:
        filters = []
        if redirected:
            filters.append(
                ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=packed(OriginalDst()))
            )
        if self._scope.server_identity is not None:
            filters.append(inspect_tls())
        return filters

    def _chains(self, listener: InboundListener, *, by_port: bool) -> Iterator[Any]:
        number = listener.port.number
        match = FilterChainMatch(destination_port=UInt32Value(value=number)) if by_port else FilterChainMatch()
        as_bytes = [*self._security.network, tcp_proxy([(inbound_name(number), 1)])]
        filters: list[Any] = as_bytes
        protocols: tuple[str, ...] = BYTE_PROTOCOLS
        if listener.port.is_http:
            filters = [http_manager(listener, self._security, secure=self._scope.server_identity is not None)]
            protocols = HTTP_PROTOCOLS
        yield from self._secured(f"{ANY_ADDRESS}_{number}", match, filters, as_bytes, number, protocols)

    def _secured(
        self, name: str, match: Any, filters: list[Any], as_bytes: list[Any], port: int, protocols: tuple[str, ...]
    ) -> Iterator[Any]:
        """Yield the chain, or those of a port that takes plain text too, as PeerAuthentication says.

        TLS that is not the mesh's is the application's: it is passed on as bytes.
        """
        mode, identity = self._modes.of(port), self._scope.server_identity
        if mode == "STRICT" and identity is None:
            self._report_no_certificate(port)
            yield FilterChain(name=name, filter_chain_match=match, filters=[tcp_proxy([(BLACK_HOLE_CLUSTER, 1)])])
            return
        if identity is not None and mode != "DISABLE":
            tls = FilterChainMatch(transport_protocol="tls")
            tls.MergeFrom(match)
            if mode == "PERMISSIVE":
                yield FilterChain(name=f"{name}-application-tls", filter_chain_match=tls, filters=as_bytes)
                tls.application_protocols.extend(ISTIO_PROTOCOLS)
            socket = mutual_tls(identity, protocols)
            yield FilterChain(name=f"{name}-tls", filter_chain_match=tls, filters=filters, transport_socket=socket)
        if mode != "STRICT":
            yield FilterChain(name=name, filter_chain_match=match, filters=filters)

    def _report_no_certificate(self, port: int) -> None:
        policy = self._modes.decided_by
        assert policy is not None  # without a policy the mode is PERMISSIVE
        what = f"port {port}" if port else "ports that no service has"
        message = (
            f"STRICT cannot be kept for {what} of nodes in namespace {self._scope.namespace!r} that name no certificate: "
            f"their connections are closed; give metadata {_CERTIFICATE_METADATA}"
        )
        self.problems.append(Problem(f"{policy.origin} ({policy.key})", "spec.mtls.mode", message))


def _from_services(scope: Scope) -> list[InboundListener]:
    """Redirected sidecars take the ports of the services that they are instances of; without redirection none is known."""
    if scope.interception == "NONE":
        return []
    return [
        InboundListener(Port(port.number, port.name, port.protocol, port.number), (port.owner,)) for port in scope.ports
    ]


def _from_sidecar(sidecar: ConfigObject, scope: Scope) -> list[InboundListener]:
    spec: Any = sidecar.spec
    found = []
    for listener in spec.ingress:
        address, target = endpoint_address(listener.default_endpoint)
        port = Port(listener.port.number, listener.port.name, listener.port.protocol.upper(), target)
        bound = scope.interception == "NONE" or listener.capture_mode == CaptureMode.NONE
        bind = (listener.bind or ANY_ADDRESS) if bound else ""
        pool = listener.connection_pool if listener.HasField("connection_pool") else None
        found.append(InboundListener(port, (sidecar.key,), address, bind, pool))
    return found


def application_cluster(name: str, listener: InboundListener, pool: Any) -> Any:
    """The cluster of one port of the application."""
    endpoint = LbEndpoint(endpoint=Endpoint(address=socket_address(listener.address, listener.port.target)))
    cluster = Cluster(
        name=name,
        type=Cluster.STATIC,
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
    )
    set_connection_pool(cluster, pool, listener.port)
    return cluster


def http_manager(listener: InboundListener, security: SecurityFilters, *, secure: bool) -> Any:
    """The connection manager of one port; paths are normalised, so that policies see what the application will see."""
    name = inbound_name(listener.port.number)
    route = Route(name="default", match=match_everything(), route=RouteAction(cluster=name, timeout=Duration()))
    host = VirtualHost(name=f"inbound|http|{listener.port.number}", domains=["*"], routes=[route])
    manager = HttpConnectionManager(
        stat_prefix=f"inbound_{ANY_ADDRESS}_{listener.port.number}",
        route_config=RouteConfiguration(name=name, virtual_hosts=[host], validate_clusters=BoolValue(value=False)),
        http_filters=[*security.http, *http_filters(())],
        normalize_path=BoolValue(value=True),
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
    )
    if secure:
        manager.forward_client_cert_details = HttpConnectionManager.APPEND_FORWARD
        manager.set_current_client_cert_details.subject.CopyFrom(BoolValue(value=True))
        manager.set_current_client_cert_details.uri = True
        manager.set_current_client_cert_details.dns = True
    return Filter(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))
