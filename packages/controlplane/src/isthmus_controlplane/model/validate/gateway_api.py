"""Rules of HTTPRoute and GRPCRoute of the Gateway API, as its specification has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.gateway_api.matches import REGULAR_EXPRESSION
from isthmus_controlplane.model.gateway_api.references import (
    BACKENDS,
    GROUP,
    PARENTS,
    backend_kind,
    parent_kind,
)
from isthmus_controlplane.model.validate.gateway_api_filters import check_filters
from isthmus_controlplane.model.validate.text import (
    check_duration,
    check_header_name,
    check_header_value,
    check_host,
    check_label_name,
    check_port,
    check_regex,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
MAX_WEIGHT = 1_000_000
MAX_RULES = 16
MAX_MATCHES = 64


def validate_http_route(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with an HTTPRoute."""
    yield from _common(spec)
    for number, rule in enumerate(spec.rules):
        path = f"spec.rules[{number}]"
        for position, match in enumerate(rule.matches):
            yield from _http_match(match, f"{path}.matches[{position}]")
        yield from check_filters(rule, f"{path}.filters", http=True)
        yield from _timeouts(rule.timeouts, f"{path}.timeouts")


def validate_grpc_route(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a GRPCRoute."""
    yield from _common(spec)
    for number, rule in enumerate(spec.rules):
        path = f"spec.rules[{number}]"
        for position, match in enumerate(rule.matches):
            yield from _grpc_match(match, f"{path}.matches[{position}]")
        yield from check_filters(rule, f"{path}.filters", http=False)


def _common(spec: Any) -> Iterator[FieldProblem]:
    if not spec.parent_refs:
        yield FieldProblem("spec.parentRefs", "is empty: give the Gateway or the Service that these routes are for")
    for number, parent in enumerate(spec.parent_refs):
        yield from _parent(parent, f"spec.parentRefs[{number}]")
    for number, host in enumerate(spec.hostnames):
        yield from check_host(host, f"spec.hostnames[{number}]")
    if not 0 < len(spec.rules) <= MAX_RULES:
        yield FieldProblem("spec.rules", f"has {len(spec.rules)} rules: give 1 to {MAX_RULES}")
    for number, rule in enumerate(spec.rules):
        path = f"spec.rules[{number}]"
        if len(rule.matches) > MAX_MATCHES:
            yield FieldProblem(
                f"{path}.matches", f"has {len(rule.matches)} matches: at most {MAX_MATCHES} are possible"
            )
        for position, reference in enumerate(rule.backend_refs):
            yield from _backend(reference, f"{path}.backendRefs[{position}]")
        for position, each in enumerate(rule.filters):
            if each.HasField("request_mirror"):
                yield from _backend(
                    each.request_mirror.backend_ref, f"{path}.filters[{position}].requestMirror.backendRef"
                )


def _parent(parent: Any, path: str) -> Iterator[FieldProblem]:
    if parent_kind(parent) is None:
        given = (parent.group if parent.HasField("group") else GROUP, parent.kind or "Gateway")
        known = ", ".join(f"{kind} of {group!r}" for group, kind in PARENTS)
        yield FieldProblem(f"{path}.kind", f"{given[1]} of {given[0]!r} is not supported: use one of {known}")
    if parent.section_name:
        yield from check_label_name(parent.section_name, f"{path}.sectionName")
        if parent_kind(parent) != "Listener":
            message = f"is supported for Gateways of {GROUP!r} only: name the port by port"
            yield FieldProblem(f"{path}.sectionName", message)
    yield from check_label_name(parent.name, f"{path}.name")
    if parent.namespace:
        yield from check_label_name(parent.namespace, f"{path}.namespace")
    if parent.HasField("port"):
        yield from check_port(parent.port, f"{path}.port")


def _backend(reference: Any, path: str) -> Iterator[FieldProblem]:
    kind = backend_kind(reference)
    if kind not in BACKENDS:
        known = ", ".join(f"{kind} of {group!r}" for group, kind in BACKENDS)
        yield FieldProblem(f"{path}.kind", f"{kind[1]} of {kind[0]!r} is not supported: use one of {known}")
    elif kind[1] == "Hostname":
        yield from check_host(reference.name, f"{path}.name", wildcard=False)
    else:
        yield from check_label_name(reference.name, f"{path}.name")
    if reference.HasField("port"):
        yield from check_port(reference.port, f"{path}.port")
    elif kind[1] == "Service":
        yield FieldProblem(f"{path}.port", "is missing: give the port of the Service")
    if "weight" in reference.DESCRIPTOR.fields_by_name and not 0 <= reference.weight <= MAX_WEIGHT:
        yield FieldProblem(f"{path}.weight", f"{reference.weight} is not a weight: use 0 to {MAX_WEIGHT}")


def _http_match(match: Any, path: str) -> Iterator[FieldProblem]:
    kind = match.path.type or "PathPrefix"
    value = match.path.value or "/"
    if kind not in {"Exact", "PathPrefix", REGULAR_EXPRESSION}:
        yield FieldProblem(f"{path}.path.type", f"{shown(kind)} is not one of Exact, PathPrefix, {REGULAR_EXPRESSION}")
    elif kind == REGULAR_EXPRESSION:
        yield from check_regex(value, f"{path}.path.value")
    elif (
        not value.startswith("/")
        or "//" in value
        or any(part in {".", ".."} for part in value.split("/"))
        or "#" in value
    ):
        yield FieldProblem(
            f"{path}.path.value", f"{shown(value)} is not a path: begin with '/', without '//', '/./', '/../', '#'"
        )
    else:
        yield from check_header_value(value, f"{path}.path.value")
    yield from _values(match.headers, f"{path}.headers")
    yield from _values(match.query_params, f"{path}.queryParams")
    if match.method and match.method not in METHODS:
        yield FieldProblem(f"{path}.method", f"{shown(match.method)} is not one of {', '.join(METHODS)}")


def _grpc_match(match: Any, path: str) -> Iterator[FieldProblem]:
    method = match.method
    if method.type not in {"", "Exact", REGULAR_EXPRESSION}:
        yield FieldProblem(f"{path}.method.type", f"{shown(method.type)} is not one of Exact, {REGULAR_EXPRESSION}")
    if match.HasField("method") and not method.service and not method.method:
        yield FieldProblem(f"{path}.method", "is empty: give service, method or both")
    for name in ("service", "method"):
        value = getattr(method, name)
        if value and method.type == REGULAR_EXPRESSION:
            yield from check_regex(value, f"{path}.method.{name}")
        elif not all(char.isascii() and (char.isalnum() or char in "_.") for char in value):
            yield FieldProblem(f"{path}.method.{name}", f"{shown(value)} is not the name of a {name}")
    yield from _values(match.headers, f"{path}.headers")


def _values(matches: Any, path: str) -> Iterator[FieldProblem]:
    for number, each in enumerate(matches):
        below = f"{path}[{number}]"
        if each.type not in {"", "Exact", REGULAR_EXPRESSION}:
            yield FieldProblem(f"{below}.type", f"{shown(each.type)} is not one of Exact, {REGULAR_EXPRESSION}")
        elif each.type == REGULAR_EXPRESSION:
            yield from check_regex(each.value, f"{below}.value")
        elif not each.value:
            yield FieldProblem(f"{below}.value", "is empty: give the value")
        else:
            yield from check_header_value(each.value, f"{below}.value")
        yield from check_header_name(each.name, f"{below}.name")


def _timeouts(timeouts: Any, path: str) -> Iterator[FieldProblem]:
    for name, below in (("request", "request"), ("backend_request", "backendRequest")):
        if timeouts.HasField(name):
            yield from check_duration(getattr(timeouts, name), f"{path}.{below}", zero=True)
    whole, one = timeouts.request.ToNanoseconds(), timeouts.backend_request.ToNanoseconds()
    if 0 < whole < one:
        yield FieldProblem(f"{path}.backendRequest", "is longer than request, within which it lies: shorten it")
