"""Rules of VirtualService."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.destination import check_destination, check_weights
from isthmus_controlplane.model.validate.http_action import check_action
from isthmus_controlplane.model.validate.text import (
    check_export_to,
    check_header_name,
    check_host,
    check_port,
    check_string_match,
)

MESH_GATEWAY = "mesh"


def validate_virtual_service(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a VirtualService."""
    if not spec.hosts:
        yield FieldProblem("spec.hosts", "is empty: give the hosts whose requests these routes take")
    for index, host in enumerate(spec.hosts):
        yield from check_host(host, f"spec.hosts[{index}]", wildcard=False)
        if host in spec.hosts[:index]:
            yield FieldProblem(f"spec.hosts[{index}]", f"{shown(host)} stands there twice: remove one")
    yield from _gateways(spec.gateways, "spec.gateways")
    if not spec.http and not spec.tcp:
        yield FieldProblem("spec.http", "is empty, and spec.tcp too: give at least one route")
    for index, route in enumerate(spec.http):
        path = f"spec.http[{index}]"
        for position, match in enumerate(route.match):
            yield from _match(match, f"{path}.match[{position}]")
        yield from check_action(route, path)
    for index, route in enumerate(spec.tcp):
        yield from _tcp_route(route, f"spec.tcp[{index}]")
    yield from _unreachable(spec.http, "spec.http", "request")
    yield from _unreachable(spec.tcp, "spec.tcp", "connection")
    yield from check_export_to(spec.export_to)


def _gateways(gateways: Any, path: str) -> Iterator[FieldProblem]:
    for index, gateway in enumerate(gateways):
        if gateway != MESH_GATEWAY:
            message = f"{shown(gateway)} is not supported: only {MESH_GATEWAY!r} (all sidecars) is"
            yield FieldProblem(f"{path}[{index}]", message)


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
    yield from _gateways(match.gateways, f"{path}.gateways")


def _tcp_route(route: Any, path: str) -> Iterator[FieldProblem]:
    for index, match in enumerate(route.match):
        if match.port:
            yield from check_port(match.port, f"{path}.match[{index}].port")
        yield from _gateways(match.gateways, f"{path}.match[{index}].gateways")
    if not route.route:
        yield FieldProblem(f"{path}.route", "is empty: give at least one destination")
    yield from check_weights(route.route, f"{path}.route")
    for index, target in enumerate(route.route):
        yield from check_destination(target.destination, f"{path}.route[{index}].destination")


def _unreachable(routes: Any, path: str, what: str) -> Iterator[FieldProblem]:
    """Nothing after a route that takes everything can ever match."""
    for index, route in enumerate(routes[:-1]):
        if takes_everything(route):
            message = f"can never be reached: {path}[{index}] before it takes every {what}; move that one to the end"
            yield FieldProblem(f"{path}[{index + 1}]", message)
            return


def takes_everything(route: Any) -> bool:
    """Whether a route matches every request, or connection, to its hosts."""
    return not route.match or any(_is_empty(match) for match in route.match)


def _is_empty(match: Any) -> bool:
    conditions = {field.name for field, _ in match.ListFields()} - {"name", "gateways", "ignore_uri_case"}
    if "uri" in conditions and (match.uri.WhichOneof("match_type") is None or match.uri.prefix == "/"):
        conditions.remove("uri")
    return not conditions
