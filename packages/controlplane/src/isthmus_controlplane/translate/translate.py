"""The translation of a model for one scope: clusters and endpoints, then what routes to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_controlplane.model.claims import listener_addresses
from isthmus_controlplane.model.composed import keys_of
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.references import references_of
from isthmus_controlplane.model.rule_aspects import compared_labels, considers_locality, uses_mutual_tls, uses_tls
from isthmus_controlplane.model.scope import LOOPBACK, Scope
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem
from isthmus_controlplane.translate.access_logs import AccessLogs
from isthmus_controlplane.translate.clusters import black_hole_cluster, passthrough_cluster, service_clusters
from isthmus_controlplane.translate.collector import Collector
from isthmus_controlplane.translate.destinations import RouteContext
from isthmus_controlplane.translate.envoy_filters import EnvoyFilters
from isthmus_controlplane.translate.gateways import Gateways
from isthmus_controlplane.translate.http_filters import filters_of
from isthmus_controlplane.translate.inbound import Inbound
from isthmus_controlplane.translate.listeners import api_listener, http_listener, tcp_listener, virtual_outbound
from isthmus_controlplane.translate.locality import NOWHERE, Client
from isthmus_controlplane.translate.memo import Clusters, Memo
from isthmus_controlplane.translate.names import (
    BLACK_HOLE_CLUSTER,
    HTTP_PROXY,
    PASSTHROUGH_CLUSTER,
    VIRTUAL_OUTBOUND,
    cluster_name,
    listener_name,
    with_port,
)
from isthmus_controlplane.translate.patch import Patch
from isthmus_controlplane.translate.policies import translate_policies
from isthmus_controlplane.translate.source import source_of
from isthmus_controlplane.translate.tcp_routes import Shares, tcp_shares
from isthmus_controlplane.translate.tls_listeners import tls_listener
from isthmus_controlplane.translate.tracing import Tracing
from isthmus_controlplane.translate.traffic_policy import traffic_policy, uses_consistent_hash
from isthmus_controlplane.translate.translation import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    Translation,
)
from isthmus_controlplane.translate.view import EgressListener, View
from isthmus_controlplane.translate.virtual_hosts import (
    catch_all,
    port_domains,
    proxy_domains,
    virtual_host,
)

Domains = Callable[[Service, Port, str], list[str]]


def translate(model: Model, scope: Scope, memo: Memo | None = None) -> Translation:
    """Translate everything that ``scope`` may see. Pure: equal models give equal bytes, with or without a memo.

    Args:
        model: the configuration.
        scope: for whom.
        memo: results of earlier translations; messages made from equal inputs are the same objects.
    """
    if scope.kind == "api":
        return translate_policies(model)
    return _Translator(model, scope, memo if memo is not None else Memo(), View(model, scope)).run()


def translate_instances(
    model: Model, scope: Scope, memo: Memo, previous: Translation, hosts: Iterable[str]
) -> Translation:
    """Translate again what the instances of some services are part of, and take everything else from ``previous``.

    Equals `translate`, byte for byte, where ``model`` differs from that of ``previous`` in nothing but the endpoints of
    services ``hosts`` (a property test says so).
    """
    patch = Patch(previous)
    if scope.kind == "api":  # policies do not depend on instances
        return patch.finish()
    translator = _Translator(model, scope, memo, View(model, scope, previous.imported))
    for host in sorted(hosts):
        service = model.services[host]
        if translator.view.sees(service):
            for resource in translator.service_resources(service):
                patch.put(*resource)
    return patch.finish()


class _Translator:
    """One translation."""

    def __init__(self, model: Model, scope: Scope, memo: Memo, view: View) -> None:
        self.model = model
        self.memo = memo
        self.scope = scope
        self.view = view
        self.out = Collector()
        self.pass_through = view.pass_through
        self.patches = EnvoyFilters(model.by_label, scope)

    def run(self) -> Translation:
        """Build all resources."""
        self.services = [service for service in self.model.services.values() if self.view.sees(service)]
        self._clusters()
        self.context = RouteContext(self.model, self.scope, self.out.names(CLUSTER_TYPE), self._hashing())
        match self.scope:
            case Scope(kind="grpc"):
                self._proxyless()
            case Scope(kind="sidecar", http_proxy_port=int(port)):
                self._http_proxy(port)
            case Scope(kind="sidecar"):
                self._listeners_per_port()
            case _:  # a gateway takes no requests until a Gateway object says so
                self._gateways()
        if self.scope.kind == "sidecar":
            self._inbound()
        AccessLogs(self.model.by_label, self.scope).add(self.out)
        Tracing(self.model, self.scope).add(self.out)
        if self.patches:
            self.patches.apply(self.out)
        return self.out.finish(self.view.imported)

    def _gateways(self) -> None:
        gateways = Gateways(self.context)
        for resource in gateways.resources():
            self.out.add(*resource)
        for problem in gateways.problems:
            self.out.report(problem)

    def _inbound(self) -> None:
        inbound = Inbound(self.model, self.scope, self.view.sidecar)
        for type_url, name, message, keys in inbound.resources():
            if self.out.has(type_url, name):
                text = f"the listener {name} is taken by outbound traffic of nodes in {self.scope.namespace!r}: use another port"
                self.out.report(Problem(str(self.view.sidecar and self.view.sidecar.key), "spec.ingress", text))
            else:
                self._add_patched(type_url, name, message, keys)
        for problem in inbound.problems:
            self.out.report(problem)

    def _clusters(self) -> None:
        self._add_patched(CLUSTER_TYPE, BLACK_HOLE_CLUSTER, black_hole_cluster(), ())
        if self.pass_through:
            self._add_patched(CLUSTER_TYPE, PASSTHROUGH_CLUSTER, passthrough_cluster(), ())
        for service in self.services:
            for resource in self.service_resources(service):
                self.out.add(*resource)
        self._report_without_identity()

    def _report_without_identity(self) -> None:
        """Say which hosts are not called, for want of a certificate."""
        proxyless = self.scope.kind == "grpc"
        if self.scope.client_identity is not None and not proxyless:
            return
        needs = uses_tls if proxyless else uses_mutual_tls
        rules = (self.model.rule(service.host, self.scope.namespace) for service in self.services)
        for rule in {each.key: each for each in rules if each is not None and needs(each)}.values():
            who = f"nodes in namespace {self.scope.namespace!r} that name no certificate"
            remedy = "give metadata TLS_CLIENT_CERT_CHAIN, TLS_CLIENT_KEY and TLS_CLIENT_ROOT_CERT, or TLS_SECRET"
            if proxyless:
                who, remedy = "gRPC's proxyless clients", "let them call through a sidecar"
            message = f"TLS to {rule.spec.host!r} cannot be kept for {who}: their requests fail; {remedy}"  # type: ignore[attr-defined]
            self.out.report(Problem(f"{rule.origin} ({rule.key})", "spec.trafficPolicy.tls.mode", message))

    def service_resources(self, service: Service) -> Iterator[tuple[str, str, Any, tuple[ObjectKey, ...]]]:
        """Yield (type URL, name, message, origins) of everything that the instances of a service may be part of.

        Nothing else may depend on them, or `translate_instances` would miss it.
        """
        rule = self.model.rule(service.host, self.scope.namespace)
        keys = (*service.origins, rule.key) if rule is not None else service.origins
        for made, assignment in self._service_clusters(service, rule):
            cluster, patched_by = self.patches.cluster(made) if self.patches else (made, ())
            if cluster is not None:
                yield CLUSTER_TYPE, cluster.name, cluster, (*keys, *patched_by)
                if assignment is not None:
                    yield ENDPOINT_TYPE, cluster.name, assignment, keys

    def _service_clusters(self, service: Service, rule: ConfigObject | None) -> Clusters:
        kind, client = self.scope.kind, NOWHERE
        if rule is not None and considers_locality(rule):
            compared = compared_labels(rule)
            labels = tuple(pair for pair in self.scope.labels if pair[0] in compared)
            client = Client(self.scope.locality, self.model.mesh.locality_failover, labels=labels)
        if rule is not None and uses_mutual_tls(rule):
            client = dataclasses.replace(client, identity=self.scope.client_identity)
        if rule is not None and uses_tls(rule):
            client = dataclasses.replace(client, authorities=self.model.mesh.ca_certificates)
        return self.memo.clusters(
            kind, service, rule, client, lambda: tuple(service_clusters(service, rule, kind, client))
        )

    def _hashing(self) -> dict[str, ConfigObject]:
        """The DestinationRules that routes depend on; gRPC clients do not hash."""
        if self.scope.kind == "grpc":
            return {}
        rules = ((host, self.model.rule(host, self.scope.namespace)) for host in self.model.rules)
        return {host: rule for host, rule in rules if rule is not None and uses_consistent_hash(rule.spec)}

    def _http_ports(self) -> list[tuple[Service, Port]]:
        return [(service, port) for service in self.services for port in service.http_ports]

    def _listeners_per_port(self) -> None:
        """Istio's usual sidecar: a listener per HTTP port for all hosts, one per TCP port and address."""
        for egress in self.view.listeners:
            members = self.view.on(egress, self.services)
            self._http_listeners(egress, members)
            self._tls_listeners(egress, members)
            for service, port in members:
                if not port.is_http and not port.is_tls:
                    for address in self._tcp_addresses(egress, service, port):
                        self._tcp_listener(egress, service, port, address)
        if self.scope.interception != "NONE":
            listener = virtual_outbound(self.scope, pass_through=self.pass_through)
            self.out.add(LISTENER_TYPE, VIRTUAL_OUTBOUND, listener, ())

    def _http_listeners(self, egress: EgressListener, members: Iterable[tuple[Service, Port]]) -> None:
        by_number: dict[int, list[tuple[Service, Port]]] = {}
        if egress.port is not None and egress.port.is_http:
            by_number[egress.port.number] = []  # it stands in the Sidecar, so it listens even without any service
        for service, port in members:
            if port.is_http:
                by_number.setdefault(port.number, []).append((service, port))
        for number, found in sorted(by_number.items()):
            name = listener_name(egress.bind, number)
            filters, keys = self._filters(found)
            listener = http_listener(name, egress.bind, number, str(number), filters, redirected=egress.redirected)
            owners = (*(service.key for service, _ in found), *keys, *egress.origins)
            self.out.add(LISTENER_TYPE, name, listener, owners)
            self._route_configuration(str(number), found, port_domains)

    def _add_patched(self, type_url: str, name: str, message: Any, keys: tuple[ObjectKey, ...]) -> None:
        """Add what is not a service's; clusters of services are patched where they are made."""
        patched_by: tuple[ObjectKey, ...] = ()
        if type_url == CLUSTER_TYPE and self.patches:
            message, patched_by = self.patches.cluster(message)
        if message is not None:
            self.out.add(type_url, name, message, (*keys, *patched_by))

    def _tls_listeners(self, egress: EgressListener, members: Iterable[tuple[Service, Port]]) -> None:
        at: dict[tuple[str, int], list[tuple[Service, Port]]] = {}
        for service, port in members:
            for address in self._tcp_addresses(egress, service, port) if port.is_tls else ():
                at.setdefault((address, port.number), []).append((service, port))
        for (address, number), found in sorted(at.items()):
            name = listener_name(address, number)
            if self.out.has(LISTENER_TYPE, name):
                for service, port in found:
                    self._report_taken(service, port, address)
                continue
            listener, keys = tls_listener(
                name, address, found, self.context, redirected=egress.redirected, pass_through=self.pass_through
            )
            self.out.add(LISTENER_TYPE, name, listener, (*keys, *egress.origins))

    def _report_taken(self, service: Service, port: Port, address: str) -> None:
        message = (
            f"port {port.number} of {service.host!r} is not served to nodes without traffic redirection: "
            f"another service has {address}:{port.number} there; use another port"
        )
        self.out.report(Problem(str(service.key), "spec.ports", message))

    def _tcp_addresses(self, egress: EgressListener, service: Service, port: Port) -> tuple[str, ...]:
        by_destination = egress.redirected and egress.bind == self.scope.bind
        return listener_addresses(service, port) if by_destination else (egress.bind,)

    def _tcp_listener(self, egress: EgressListener, service: Service, port: Port, address: str) -> None:
        name = listener_name(address, port.number)
        if self.out.has(LISTENER_TYPE, name):
            self._report_taken(service, port, address)
            return
        governing = self.model.route(service.host, self.scope.namespace)
        routed: Shares = ()
        if governing is not None:
            routed = tcp_shares(governing, source_of(self.scope, governing, port.number), self.context)
        shares = routed or ((cluster_name(port.number, "", service.host), 1),)
        rule = self.model.rule(service.host, self.scope.namespace)
        policy = traffic_policy(rule.spec if rule is not None else None, None, port.number)
        listener = tcp_listener(name, address, port.number, shares, policy, redirected=egress.redirected)
        used = (rule, governing if routed else None)
        keys = (service.key, *(obj.key for obj in used if obj is not None), *egress.origins)
        self.out.add(LISTENER_TYPE, name, listener, keys)

    def _http_proxy(self, port: int) -> None:
        """Istio's explicit proxy: one listener for all HTTP hosts and ports, told apart by the Host header."""
        found = {each: None for egress in self.view.listeners for each in self.view.on(egress, self.services)}
        members = [(service, each) for service, each in found if each.is_http]
        filters, keys = self._filters(members)
        address = self.scope.bind or LOOPBACK
        listener = http_listener(HTTP_PROXY, address, port, HTTP_PROXY, filters, redirected=False)
        self.out.add(LISTENER_TYPE, HTTP_PROXY, listener, keys)
        self._route_configuration(HTTP_PROXY, members, proxy_domains)

    def _filters(self, members: Iterable[tuple[Service, Port]]) -> tuple[frozenset[str], tuple[ObjectKey, ...]]:
        """Name the HTTP filters that routes to these services need, and the VirtualServices that need them."""
        governing = (self.model.route(service.host, self.scope.namespace) for service, _ in members)
        needs = {keys_of(obj): filters_of(obj.spec, self.scope.kind) for obj in governing if obj is not None}
        return frozenset().union(*needs.values()), tuple(
            key for keys, filters in needs.items() if filters for key in keys
        )

    def _route_configuration(self, name: str, members: Iterable[tuple[Service, Port]], domains: Domains) -> None:
        claimed = self._claim_domains(members, domains)
        routes = [self.model.route(service.host, self.scope.namespace) for service, _, _ in claimed]
        inputs = (
            [(service.host, port, free) for service, port, free in claimed],
            routes,
            # Destinations may be any service, so their ports and the names of all clusters count too.
            [(service.host, service.ports) for service in self.services],
            self.context.clusters,
            self.context.hashing,
            self.pass_through,
        )

        def make() -> Any:
            clusters = _by_host(self.context.clusters)
            hosts = [self._virtual_host(name, service, port, free, clusters) for service, port, free in claimed]
            hosts.append(catch_all(pass_through=self.pass_through))
            return RouteConfiguration(name=name, virtual_hosts=hosts, validate_clusters=BoolValue(value=False))

        configuration = self.memo.route_configuration((self.scope, name), inputs, make)
        keys = {key for service, _, _ in claimed for key in self._route_origins(service)}
        self.out.add(ROUTE_TYPE, name, configuration, keys)

    def _virtual_host(
        self, name: str, service: Service, port: Port, domains: list[str], clusters: Mapping[str, frozenset[str]]
    ) -> Any:
        """Build a virtual host, or take the one built before where nothing that it depends on has changed."""
        governing = self.model.route(service.host, self.scope.namespace)
        hosts = {service.host}
        if governing is not None:
            hosts.update(each.host for each in references_of(governing, self.model.services))
        # Routes name clusters of these hosts, by the ports of their services, and say what their rules hash.
        depends = [
            (
                host,
                self.model.services[host].ports if host in self.model.services else (),
                clusters.get(host),
                self.context.hashing.get(host),
            )
            for host in sorted(hosts)
        ]
        key = (self.scope, name, service.host, port.number)
        return self.memo.virtual_host(
            key, (port, domains, governing, depends), lambda: virtual_host(service, port, domains, self.context)
        )

    def _claim_domains(
        self, members: Iterable[tuple[Service, Port]], domains: Domains
    ) -> list[tuple[Service, Port, list[str]]]:
        """Give each domain to the first that has it: clients refuse a domain that stands there twice."""
        taken: set[str] = set()
        claimed: list[tuple[Service, Port, list[str]]] = []
        for service, port in members:
            free = [domain for domain in domains(service, port, self.scope.namespace) if domain not in taken]
            if free:
                taken.update(free)
                claimed.append((service, port, free))
        return claimed

    def _route_origins(self, service: Service) -> tuple[ObjectKey, ...]:
        governing = self.model.route(service.host, self.scope.namespace)
        if governing is None:
            return (service.key, *self._hashed_by(service.host))
        targets = references_of(governing, self.model.services) if self.context.hashing else ()
        return (service.key, *keys_of(governing), *(key for target in targets for key in self._hashed_by(target.host)))

    def _hashed_by(self, host: str) -> tuple[ObjectKey, ...]:
        rule = self.context.hashing.get(host)
        return (rule.key,) if rule is not None else ()

    def _proxyless(self) -> None:
        """Proxyless gRPC clients ask for ``host:port``; most write the port, so bare names are not offered."""
        for service, port in self._http_ports():
            name = with_port(service.host, port.number)
            keys = self._route_origins(service)
            filters, _ = self._filters([(service, port)])
            self.out.add(LISTENER_TYPE, name, api_listener(name, name, filters), keys)
            host = virtual_host(service, port, port_domains(service, port, self.scope.namespace), self.context)
            self.out.add(ROUTE_TYPE, name, RouteConfiguration(name=name, virtual_hosts=[host]), keys)


def _by_host(clusters: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Sort the names of clusters by the host in them."""
    found: dict[str, set[str]] = {}
    for name in clusters:
        found.setdefault(name.rpartition("|")[2], set()).add(name)
    return {host: frozenset(names) for host, names in found.items()}
