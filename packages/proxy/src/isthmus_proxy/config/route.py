"""Compiles config.route.v3.RouteConfiguration, from a file or from xDS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.header_edits import compile_request_edits, compile_response_edits
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.retry_policy import compile_retry_policy
from isthmus_proxy.config.route_action import compile_action
from isthmus_proxy.config.route_match import compile_match
from isthmus_proxy.config.values import content_hash, flag, number, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import ForwardAction, Route, RouteConfiguration, VirtualHost


def compile_route_configuration(proto: Any, path: str = "", *, inline: bool = False) -> RouteConfiguration:
    """Check and compile a route configuration, ``inline`` in a listener or of RDS. Raises ConfigError below ``path``."""
    check(proto, path)
    max_body = number(proto, "max_direct_response_body_size_bytes", 4096, path)
    hosts = tuple(
        _virtual_host(host, f"{join(path, 'virtual_hosts')}[{i}]", max_body)
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
        ignore_path_parameters=proto.ignore_path_parameters_in_path_matching,
        validate_clusters=flag(proto, "validate_clusters", default=inline),
    )


def clusters_named(configuration: RouteConfiguration, path: str) -> Iterator[tuple[str, str]]:
    """Yield (field path, cluster name) of every cluster that a route forwards to."""
    for i, host in enumerate(configuration.virtual_hosts):
        for j, route in enumerate(host.routes):
            if isinstance(route.action, ForwardAction):
                for cluster in route.action.clusters:
                    yield f"{join(path, 'virtual_hosts')}[{i}].routes[{j}].route", cluster.cluster


def _virtual_host(host: Any, path: str, max_body: int) -> VirtualHost:
    inherited = None
    if host.HasField("retry_policy"):
        inherited = compile_retry_policy(host.retry_policy, join(path, "retry_policy"))
    routes = []
    for index, route in enumerate(host.routes):
        place = f"{join(path, 'routes')}[{index}]"
        routes.append(
            Route(
                match=compile_match(route.match, join(place, "match")),
                action=compile_action(route, place, inherited, max_body),
                name=route.name,
                request_headers=compile_request_edits(route, place),
                response_headers=compile_response_edits(route, place),
            )
        )
    return VirtualHost(
        name=required(host, "name", path),
        domains=_domains(host, path),
        routes=tuple(routes),
        request_headers=compile_request_edits(host, path),
        response_headers=compile_response_edits(host, path),
        include_request_attempt_count=host.include_request_attempt_count,
        include_attempt_count_in_response=host.include_attempt_count_in_response,
    )


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
