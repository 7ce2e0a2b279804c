"""Compiles config.route.v3.RouteConfiguration, from a file or from xDS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.filter_overrides import compile_overrides
from isthmus_proxy.config.header_edits import compile_request_edits, compile_response_edits
from isthmus_proxy.config.mirror_policy import compile_mirrors
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.retry_policy import compile_retry_policy
from isthmus_proxy.config.route_action import Inherited, buffer_limit, compile_action, rate_limits
from isthmus_proxy.config.route_match import compile_headers, compile_match
from isthmus_proxy.config.tracing import compile_route_tracing
from isthmus_proxy.config.values import content_hash, enum_name, flag, number, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import (
    ForwardAction,
    Route,
    RouteConfiguration,
    VirtualCluster,
    VirtualHost,
)


def compile_route_configuration(proto: Any, path: str = "", *, inline: bool = False) -> RouteConfiguration:
    """Check and compile a route configuration, ``inline`` in a listener or of RDS. Raises ConfigError below ``path``."""
    check(proto, path)
    inherited = Inherited(
        max_body=number(proto, "max_direct_response_body_size_bytes", 4096, path), mirrors=compile_mirrors(proto, path)
    )
    hosts = tuple(
        _virtual_host(host, f"{join(path, 'virtual_hosts')}[{i}]", inherited)
        for i, host in enumerate(proto.virtual_hosts)
    )
    _refuse_duplicates(hosts, join(path, "virtual_hosts"))
    return RouteConfiguration(
        name=proto.name,
        virtual_hosts=hosts,
        content=content_hash(proto),
        request_headers=compile_request_edits(proto, path),
        response_headers=compile_response_edits(proto, path),
        most_specific_header_mutations_wins=proto.most_specific_header_mutations_wins,
        ignore_port_in_host_matching=proto.ignore_port_in_host_matching,
        internal_only_headers=frozenset(name.lower().encode() for name in proto.internal_only_headers),
        ignore_path_parameters=proto.ignore_path_parameters_in_path_matching,
        validate_clusters=flag(proto, "validate_clusters", default=inline),
        filters=compile_overrides(proto, path),
    )


def clusters_named(configuration: RouteConfiguration, path: str) -> Iterator[tuple[str, str]]:
    """Yield (field path, cluster name) of every cluster that a route forwards to."""
    for i, host in enumerate(configuration.virtual_hosts):
        for j, route in enumerate(host.routes):
            if isinstance(route.action, ForwardAction):
                place = f"{join(path, 'virtual_hosts')}[{i}].routes[{j}].route"
                named = [weight.cluster for weight in route.action.clusters]
                named += [mirror.cluster for mirror in route.action.mirrors]
                yield from [(place, cluster) for cluster in named if cluster]


def _virtual_host(host: Any, path: str, inherited: Inherited) -> VirtualHost:
    if host.HasField("retry_policy"):
        policy = compile_retry_policy(host.retry_policy, join(path, "retry_policy"))
        inherited = replace(inherited, retry_policy=policy)
    inherited = replace(
        inherited,
        hedge_on_per_try_timeout=host.hedge_policy.hedge_on_per_try_timeout,
        mirrors=compile_mirrors(host, path) or inherited.mirrors,
        buffer_limit=buffer_limit(host, path, None),
    )
    return VirtualHost(
        name=required(host, "name", path),
        domains=_domains(host, path),
        routes=tuple(_route(route, f"{join(path, 'routes')}[{i}]", inherited) for i, route in enumerate(host.routes)),
        request_headers=compile_request_edits(host, path),
        response_headers=compile_response_edits(host, path),
        include_request_attempt_count=host.include_request_attempt_count,
        include_attempt_count_in_response=host.include_attempt_count_in_response,
        include_is_timeout_retry_header=host.include_is_timeout_retry_header,
        require_tls=enum_name(host, "require_tls"),  # type: ignore[arg-type]
        virtual_clusters=_virtual_clusters(host, join(path, "virtual_clusters")),
        filters=compile_overrides(host, path),
        rate_limits=rate_limits(host, path),
    )


def _virtual_clusters(host: Any, path: str) -> tuple[VirtualCluster, ...]:
    found = []
    for index, cluster in enumerate(host.virtual_clusters):
        place = f"{path}[{index}]"
        if not cluster.headers:
            raise ConfigError(join(place, "headers"), "", "needs at least one header")
        found.append(VirtualCluster(required(cluster, "name", place), compile_headers(cluster, "headers", place)))
    return tuple(found)


def _route(route: Any, path: str, inherited: Inherited) -> Route:
    return Route(
        match=compile_match(route.match, join(path, "match")),
        action=compile_action(route, path, inherited),
        name=route.name,
        stat_prefix=route.stat_prefix,
        request_headers=compile_request_edits(route, path),
        response_headers=compile_response_edits(route, path),
        metadata=_metadata(route) if route.HasField("metadata") else {},
        filters=compile_overrides(route, path),
        tracing=compile_route_tracing(route, path),
        operation=route.decorator.operation,
    )


def _metadata(route: Any) -> dict[str, object]:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - few routes have metadata

    return {name: MessageToDict(struct) for name, struct in route.metadata.filter_metadata.items()}


def _domains(host: Any, path: str) -> tuple[bytes, ...]:
    if not host.domains:
        raise ConfigError(join(path, "domains"), "", 'needs at least one domain; "*" takes every host')
    for index, domain in enumerate(host.domains):
        if not domain or "*" in domain[1:-1] or (domain.startswith("*") and domain.endswith("*") and len(domain) > 1):
            reason = "must be a name, or have one * at its beginning or end"
            raise ConfigError(f"{join(path, 'domains')}[{index}]", shown(domain), reason)
    return tuple(domain.lower().encode() for domain in host.domains)


def _refuse_duplicates(hosts: tuple[VirtualHost, ...], path: str) -> None:
    domains: dict[bytes, str] = {}
    names: set[str] = set()
    for index, host in enumerate(hosts):
        if host.name in names:
            raise ConfigError(f"{path}[{index}].name", shown(host.name), "two virtual hosts have this name")
        names.add(host.name)
        for domain in host.domains:
            if domains.setdefault(domain, host.name) != host.name or host.domains.count(domain) > 1:
                reason = f"this domain belongs to virtual host {domains[domain]} already"
                raise ConfigError(f"{path}[{index}].domains", shown(domain.decode()), reason)
