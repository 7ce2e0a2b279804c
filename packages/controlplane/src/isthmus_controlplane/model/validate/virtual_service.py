"""Rules of VirtualService."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.gateway import ANY_HOST, MESH_GATEWAY, covers
from isthmus_controlplane.model.validate.destination import check_destination, check_weights
from isthmus_controlplane.model.validate.http_action import check_action
from isthmus_controlplane.model.validate.text import (
    check_export_to,
    check_header_name,
    check_host,
    check_label_name,
    check_port,
    check_string_match,
)


def validate_virtual_service(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a VirtualService."""
    if not spec.hosts:
        yield from _delegate(spec)
    in_mesh = not spec.gateways or MESH_GATEWAY in spec.gateways
    for index, host in enumerate(spec.hosts):
        if in_mesh or host != ANY_HOST:
            yield from check_host(host, f"spec.hosts[{index}]", wildcard=not in_mesh)
        if host in spec.hosts[:index]:
            yield FieldProblem(f"spec.hosts[{index}]", f"{shown(host)} stands there twice: remove one")
    yield from _gateways(spec, "spec")
    if not spec.http and not spec.tcp and not spec.tls:
        yield FieldProblem("spec.http", "is empty, and spec.tcp and spec.tls too: give at least one route")
    for index, route in enumerate(spec.http):
        path = f"spec.http[{index}]"
        for position, match in enumerate(route.match):
            yield from _match(match, f"{path}.match[{position}]")
        yield from check_action(route, path)
    for index, route in enumerate(spec.tcp):
        yield from _tcp_route(route, f"spec.tcp[{index}]")
    for index, route in enumerate(spec.tls):
        yield from _tls_route(route, spec.hosts, f"spec.tls[{index}]")
    yield from _unreachable(spec, "http", "request")
    yield from _unreachable(spec, "tcp", "connection")
    yield from check_export_to(spec.export_to)


def _delegate(spec: Any) -> Iterator[FieldProblem]:
    """Without hosts an object only continues others, which say where its routes hold."""
    for name in ("gateways", "tls", "tcp"):
        if getattr(spec, name):
            message = "is set, but spec.hosts is empty: such an object is delegated to, and has only http; give hosts or remove this"
            yield FieldProblem(f"spec.{name}", message)
    for index, route in enumerate(spec.http):
        if route.HasField("delegate"):
            message = "stands in an object without hosts: what is delegated to cannot delegate; give hosts or write the routes here"
            yield FieldProblem(f"spec.http[{index}].delegate", message)


def _gateways(spec: Any, path: str) -> Iterator[FieldProblem]:
    for index, gateway in enumerate(spec.gateways):
        namespace, slash, name = gateway.rpartition("/")
        if slash:
            yield from check_label_name(namespace, f"{path}.gateways[{index}]")
        yield from check_label_name(name, f"{path}.gateways[{index}]")
    if not spec.hosts:
        return  # those of whatever delegates to it
    known = list(spec.gateways) or [MESH_GATEWAY]
    for kind in ("http", "tls", "tcp"):
        for number, route in enumerate(getattr(spec, kind)):
            for position, match in enumerate(route.match):
                for index, gateway in enumerate(match.gateways):
                    if not any(_may_be_same(gateway, each) for each in known):
                        below = f"{path}.{kind}[{number}].match[{position}].gateways[{index}]"
                        message = (
                            f"{shown(gateway)} is not one of this object's gateways ({', '.join(known)}): add it there"
                        )
                        yield FieldProblem(below, message)


def _may_be_same(first: str, second: str) -> bool:
    """Whether two spellings may stand for one gateway: a bare name is of the object's own namespace."""
    alike = first.rpartition("/")[2] == second.rpartition("/")[2]
    return first == second or (alike and ("/" in first) != ("/" in second))


def _match(match: Any, path: str) -> Iterator[FieldProblem]:
    for name in ("uri", "method", "authority"):
        if match.HasField(name):
            yield from check_string_match(getattr(match, name), f"{path}.{name}")
    for name, field in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for header, condition in sorted(field.items()):
            below = f"{path}.{name}.{header}"
            yield from check_header_name(header, below)
            if condition.WhichOneof("match_type") is not None:
                yield from check_string_match(condition, below)
    for name, condition in sorted(match.query_params.items()):
        if condition.WhichOneof("match_type") is not None:
            yield from check_string_match(condition, f"{path}.queryParams.{name}")
    if match.port:
        yield from check_port(match.port, f"{path}.port")
    if match.ignore_uri_case and match.uri.WhichOneof("match_type") == "regex":
        yield FieldProblem(f"{path}.ignoreUriCase", "has no effect on a regex: write (?i) into the pattern instead")


def _tls_route(route: Any, hosts: Any, path: str) -> Iterator[FieldProblem]:
    if not route.match:
        yield FieldProblem(f"{path}.match", "is empty: give the server names (sniHosts) that this route takes")
    for index, match in enumerate(route.match):
        below = f"{path}.match[{index}]"
        if not match.sni_hosts:
            yield FieldProblem(f"{below}.sniHosts", "is empty: give at least one server name")
        for position, name in enumerate(match.sni_hosts):
            if not any(covers(host.lower(), name.lower()) for host in hosts):
                message = f"{shown(name)} is not one of this object's hosts, nor covered by one: add it there"
                yield FieldProblem(f"{below}.sniHosts[{position}]", message)
        if match.port:
            yield from check_port(match.port, f"{below}.port")
    yield from _targets(route, path)


def _targets(route: Any, path: str) -> Iterator[FieldProblem]:
    if not route.route:
        yield FieldProblem(f"{path}.route", "is empty: give at least one destination")
    yield from check_weights(route.route, f"{path}.route")
    for index, target in enumerate(route.route):
        yield from check_destination(target.destination, f"{path}.route[{index}].destination")


def _tcp_route(route: Any, path: str) -> Iterator[FieldProblem]:
    for index, match in enumerate(route.match):
        if match.port:
            yield from check_port(match.port, f"{path}.match[{index}].port")
    yield from _targets(route, path)


def _unreachable(spec: Any, kind: str, what: str) -> Iterator[FieldProblem]:
    """Nothing after a route that takes everything can ever match; what a delegate takes is not known here."""
    routes = getattr(spec, kind)
    for index, route in enumerate(routes[:-1]):
        if kind == "http" and route.HasField("delegate"):
            continue
        if _takes_everything(route, frozenset(spec.gateways) or frozenset({MESH_GATEWAY})):
            message = (
                f"can never be reached: spec.{kind}[{index}] before it takes every {what}; move that one to the end"
            )
            yield FieldProblem(f"spec.{kind}[{index + 1}]", message)
            return


def _takes_everything(route: Any, gateways: frozenset[str]) -> bool:
    """Whether a route matches every request, or connection, to its hosts, whoever asks at whichever gateway."""
    return not route.match or any(
        is_unconditional(match, among={"gateways"} if gateways <= set(match.gateways) else ()) for match in route.match
    )


OF_CLIENT = frozenset({"gateways", "port", "source_labels", "source_namespace"})


def is_unconditional(match: Any, *, among: Collection[str] = OF_CLIENT) -> bool:
    """Whether a match takes everything; the conditions named ``among`` are known to hold."""
    conditions = {field.name for field, _ in match.ListFields()} - {"name", "ignore_uri_case", *among}
    if "uri" in conditions and (match.uri.WhichOneof("match_type") is None or match.uri.prefix == "/"):
        conditions.remove("uri")
    return not conditions
