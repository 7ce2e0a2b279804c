"""Patches of EnvoyFilters on what was generated for a scope, each after the one before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_api.istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from isthmus_controlplane.model.patch_value import patch_value
from isthmus_controlplane.model.policies import Policies
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey
from isthmus_controlplane.translate.collector import Collector
from isthmus_controlplane.translate.listeners import HTTP_CONNECTION_MANAGER
from isthmus_controlplane.translate.merge import merge
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.patch_lists import Op, patch_list
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

_LISTENERS = frozenset({
    EnvoyFilter.LISTENER, EnvoyFilter.FILTER_CHAIN, EnvoyFilter.NETWORK_FILTER, EnvoyFilter.HTTP_FILTER,
})  # fmt: skip
_ROUTES = frozenset({EnvoyFilter.ROUTE_CONFIGURATION, EnvoyFilter.VIRTUAL_HOST, EnvoyFilter.HTTP_ROUTE})
_ACTIONS = {
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.ROUTE: "route",
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.REDIRECT: "redirect",
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.DIRECT_RESPONSE: "direct_response",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Patch:
    """One patch with the value read; None for REMOVE."""

    spec: Any
    value: Any
    owner: ObjectKey

    @property
    def operation(self) -> int:
        return int(self.spec.patch.operation)


class EnvoyFilters:
    """The patches that hold for one scope, in the order in which they apply."""

    def __init__(self, policies: Policies, scope: Scope) -> None:
        self._gateway = scope.kind == "gateway"
        holding = policies.holding("EnvoyFilter", scope.namespace, dict(scope.labels)) if scope.kind != "grpc" else []
        holding.sort(key=_priority)  # of equals the order stays
        self._patches = [patch for obj in holding for patch in _patches(obj)]

    def __bool__(self) -> bool:
        return bool(self._patches)

    def apply(self, out: Collector) -> None:
        """Patch everything but clusters of services, which `cluster` patches when they are made."""
        for patch in self._patches:
            kind = patch.spec.apply_to
            if kind in _LISTENERS:
                self._each(out, LISTENER_TYPE, patch, self._listener)
            elif kind in _ROUTES:
                self._each(out, ROUTE_TYPE, patch, self._route_configuration)
            if patch.operation == Op.ADD and kind in {EnvoyFilter.LISTENER, EnvoyFilter.CLUSTER}:
                type_url = LISTENER_TYPE if kind == EnvoyFilter.LISTENER else CLUSTER_TYPE
                if self._is_for_this_kind(patch) and not out.has(type_url, patch.value.name):
                    out.add(type_url, patch.value.name, patch.value, (patch.owner,))

    def _is_for_this_kind(self, patch: _Patch) -> bool:
        context = patch.spec.match.context
        return bool(context == EnvoyFilter.ANY or (context == EnvoyFilter.GATEWAY) == self._gateway)

    def _each(self, out: Collector, type_url: str, patch: _Patch, change: Any) -> None:
        for name, message in out.messages(type_url).items():
            copy = type(message)()
            copy.CopyFrom(message)
            changed = change(patch, copy)
            if changed is None:
                out.remove(type_url, name)
            elif changed:
                out.replace(type_url, name, copy, patch.owner)

    def _fits(self, patch: _Patch, *, inbound: bool) -> bool:
        context = patch.spec.match.context
        if self._gateway:
            return context in {EnvoyFilter.ANY, EnvoyFilter.GATEWAY}
        return context in {EnvoyFilter.ANY, EnvoyFilter.SIDECAR_INBOUND if inbound else EnvoyFilter.SIDECAR_OUTBOUND}

    # ---- clusters ----

    def cluster(self, cluster: Any) -> tuple[Any, tuple[ObjectKey, ...]]:
        """Return a cluster as the patches want it (None: not at all), and whose they are; the given one is not changed."""
        owners: list[ObjectKey] = []
        for patch in self._patches:
            if patch.spec.apply_to != EnvoyFilter.CLUSTER or patch.operation == Op.ADD:
                continue
            if self._fits(patch, inbound=cluster.name.startswith("inbound|")) and _is_cluster(patch, cluster.name):
                owners.append(patch.owner)
                if patch.operation == Op.REMOVE:
                    return None, tuple(owners)
                copy = type(cluster)()
                copy.CopyFrom(cluster)
                merge(copy, patch.value)
                cluster = copy
        return cluster, tuple(owners)

    # ---- listeners ----

    def _listener(self, patch: _Patch, listener: Any) -> bool | None:
        """Change a listener; says whether it changed, None where it is to go."""
        match = patch.spec.match.listener
        if not self._fits(patch, inbound=listener.traffic_direction == TrafficDirection.INBOUND):
            return False
        if match.name not in {"", listener.name}:
            return False
        by_port = match.port_number in {0, listener.address.socket_address.port_value}
        if patch.spec.apply_to == EnvoyFilter.LISTENER:
            if patch.operation == Op.REMOVE:
                return None if by_port else False
            if patch.operation == Op.MERGE and by_port:
                merge(listener, patch.value)
            return bool(patch.operation == Op.MERGE and by_port)
        if patch.spec.apply_to == EnvoyFilter.FILTER_CHAIN:
            if patch.operation == Op.ADD and not by_port:
                return False
            return patch_list(
                listener.filter_chains, patch.operation, patch.value, lambda chain: _is_chain(match, chain, by_port)
            )
        changed = [_chain(patch, chain) for chain in listener.filter_chains if _is_chain(match, chain, by_port)]
        return any(changed)

    # ---- routes ----

    def _route_configuration(self, patch: _Patch, routes: Any) -> bool:
        match = patch.spec.match.route_configuration
        if not self._fits(patch, inbound=False) or match.name not in {"", routes.name}:
            return False
        if match.port_number not in {0, *_port_of(routes.name)}:
            return False
        if patch.spec.apply_to == EnvoyFilter.ROUTE_CONFIGURATION:
            merge(routes, patch.value)
            return True
        if patch.spec.apply_to == EnvoyFilter.VIRTUAL_HOST:
            return patch_list(
                routes.virtual_hosts, patch.operation, patch.value, lambda host: _is_host(match.vhost, host)
            )
        changed = [
            patch_list(host.routes, patch.operation, patch.value, lambda route: _is_route(match.vhost.route, route))
            for host in routes.virtual_hosts
            if _is_host(match.vhost, host)
        ]
        return any(changed)


def _priority(obj: ConfigObject) -> int:
    spec: Any = obj.spec
    return int(spec.priority)


def _patches(obj: ConfigObject) -> Iterator[_Patch]:
    spec: Any = obj.spec
    for patch in spec.config_patches:
        removes = patch.patch.operation == Op.REMOVE
        yield _Patch(patch, None if removes else patch_value(patch.apply_to, patch.patch.value), obj.key)


def _is_cluster(patch: _Patch, name: str) -> bool:
    """Clusters of services are named ``outbound|PORT|SUBSET|HOST``, those of ports ``inbound|PORT||``."""
    match = patch.spec.match.cluster
    if match.name not in {"", name}:
        return False
    parts = name.split("|")
    if len(parts) != 4:
        return not (match.service or match.port_number or match.subset)
    _, port, subset, host = parts
    return match.service in {"", host} and match.subset in {"", subset} and str(match.port_number) in {"0", port}


def _is_chain(match: Any, chain: Any, by_port: bool) -> bool:
    """Whether a chain is meant; where redirected connections share a listener, its port counts as the listener's."""
    wanted, has = match.filter_chain, chain.filter_chain_match
    if not by_port and match.port_number != has.destination_port.value:
        return False
    protocols = {part.strip() for part in wanted.application_protocols.split(",") if part.strip()}
    return (
        wanted.name in {"", chain.name}
        and (not wanted.sni or wanted.sni in has.server_names)
        and wanted.transport_protocol in {"", has.transport_protocol}
        and protocols <= set(has.application_protocols)
        and wanted.destination_port in {0, has.destination_port.value}
    )


def _chain(patch: _Patch, chain: Any) -> bool:
    wanted = patch.spec.match.listener.filter_chain.filter
    if patch.spec.apply_to == EnvoyFilter.NETWORK_FILTER:
        return patch_list(
            chain.filters, patch.operation, patch.value, lambda each: wanted.name in {"", each.name}, keep_last=True
        )
    changed = False
    for each in chain.filters:
        if each.name == HTTP_CONNECTION_MANAGER and wanted.name in {"", each.name}:
            manager = HttpConnectionManager.FromString(each.typed_config.value)
            if _http_filters(patch, manager.http_filters, wanted.sub_filter.name):
                each.typed_config.CopyFrom(packed(manager))
                changed = True
    return changed


def _http_filters(patch: _Patch, filters: Any, name: str) -> bool:
    return patch_list(filters, patch.operation, patch.value, lambda each: name in {"", each.name}, keep_last=True)


def _port_of(name: str) -> Iterable[int]:
    """Read the port out of the name of a route configuration: ``8080``, ``http.80``, ``https.443.NAME.GATEWAY.NAMESPACE``."""
    part = name.split(".")[1] if name.startswith(("http.", "https.")) else name
    return (int(part),) if part.isdecimal() else ()


def _is_host(match: Any, host: Any) -> bool:
    return match.name in {"", host.name} and (not match.domain_name or match.domain_name in host.domains)


def _is_route(match: Any, route: Any) -> bool:
    action = _ACTIONS.get(match.action)
    return match.name in {"", route.name} and (action is None or route.WhichOneof("action") == action)
