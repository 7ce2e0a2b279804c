"""Rules of Gateway, GatewayClass and ReferenceGrant of the Gateway API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.gateway_api.gateways import NAMESPACE_LABEL
from isthmus_controlplane.model.gateway_api.references import GROUP
from isthmus_controlplane.model.validate.text import check_host, check_label_name, check_port, is_ip_address

PROTOCOLS = ("HTTP", "HTTPS")
MAX_LISTENERS = 64
_FROM = ("", "Same", "All", "Selector", "None")


def validate_kubernetes_gateway(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a Gateway."""
    yield from check_label_name(spec.gateway_class_name, "spec.gatewayClassName")
    if not 0 < len(spec.listeners) <= MAX_LISTENERS:
        yield FieldProblem("spec.listeners", f"has {len(spec.listeners)} listeners: give 1 to {MAX_LISTENERS}")
    yield from _addresses(spec.addresses, "spec.addresses")
    names: set[str] = set()
    hosts: set[tuple[int, str]] = set()
    protocols: dict[int, str] = {}
    for number, listener in enumerate(spec.listeners):
        path = f"spec.listeners[{number}]"
        yield from _listener(listener, path)
        if listener.name in names:
            yield FieldProblem(f"{path}.name", f"{shown(listener.name)} names another listener: names must differ")
        names.add(listener.name)
        first = protocols.setdefault(listener.port, listener.protocol)
        if first != listener.protocol:
            message = f"port {listener.port} is {first} in a listener before this one: use another port"
            yield FieldProblem(f"{path}.protocol", message)
        place = (listener.port, listener.hostname.lower())
        if place in hosts:
            message = f"{shown(listener.hostname)} has another listener at port {listener.port}: they must differ"
            yield FieldProblem(f"{path}.hostname", message)
        hosts.add(place)


def _addresses(addresses: Any, path: str) -> Iterator[FieldProblem]:
    if len(addresses) > 1:
        yield FieldProblem(path, f"has {len(addresses)} addresses: give one, or none to listen at all")
    for number, address in enumerate(addresses):
        if address.type not in {"", "IPAddress"}:
            yield FieldProblem(f"{path}[{number}].type", f"{shown(address.type)} is not supported: use IPAddress")
        elif not is_ip_address(address.value):
            yield FieldProblem(f"{path}[{number}].value", f"{shown(address.value)} is not an IP address")


def _listener(listener: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_label_name(listener.name, f"{path}.name")
    yield from check_port(listener.port, f"{path}.port")
    if listener.hostname:
        yield from check_host(listener.hostname, f"{path}.hostname")
    if listener.protocol not in PROTOCOLS:
        message = f"{shown(listener.protocol)} is not supported: use HTTP or HTTPS, or the Gateway of Istio"
        yield FieldProblem(f"{path}.protocol", message)
    elif listener.protocol == "HTTPS":
        yield from _tls(listener.tls, f"{path}.tls")
    elif listener.HasField("tls"):
        yield FieldProblem(f"{path}.tls", "has no effect on HTTP: use protocol HTTPS")
    yield from _allowed(listener.allowed_routes.namespaces, f"{path}.allowedRoutes.namespaces")


def _tls(tls: Any, path: str) -> Iterator[FieldProblem]:
    if tls.mode not in {"", "Terminate"}:
        yield FieldProblem(f"{path}.mode", f"{shown(tls.mode)} is not supported for HTTPS: use Terminate")
    if len(tls.certificate_refs) != 1:
        message = f"has {len(tls.certificate_refs)} references: give the one secret that holds certificate and key"
        yield FieldProblem(f"{path}.certificateRefs", message)
    for number, reference in enumerate(tls.certificate_refs):
        below = f"{path}.certificateRefs[{number}]"
        if (reference.group, reference.kind or "Secret") != ("", "Secret"):
            message = f"{shown(reference.kind)} of {shown(reference.group)} is not supported: name a Secret"
            yield FieldProblem(f"{below}.kind", message)
        yield from check_label_name(reference.name, f"{below}.name")


def _allowed(allowed: Any, path: str) -> Iterator[FieldProblem]:
    origin = getattr(allowed, "from")
    if origin not in _FROM:
        yield FieldProblem(f"{path}.from", f"{shown(origin)} is not one of {', '.join(_FROM[1:])}")
    if (origin == "Selector") != allowed.HasField("selector"):
        yield FieldProblem(f"{path}.selector", "and from: Selector go together: give both or none")
    known = f"is not known of namespaces: select by {NAMESPACE_LABEL}"
    for label in sorted(allowed.selector.match_labels):
        if label != NAMESPACE_LABEL:
            yield FieldProblem(f"{path}.selector.matchLabels.{label}", known)
    for number, each in enumerate(allowed.selector.match_expressions):
        below = f"{path}.selector.matchExpressions[{number}]"
        if each.key != NAMESPACE_LABEL:
            yield FieldProblem(f"{below}.key", f"{shown(each.key)} {known}")
        if each.operator != "In" or not each.values:
            yield FieldProblem(f"{below}.operator", f"{shown(each.operator)} is not supported: use In with values")


def validate_gateway_class(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a GatewayClass."""
    if "/" not in spec.controller_name:
        yield FieldProblem("spec.controllerName", f"{shown(spec.controller_name)} is not of the form DOMAIN/PATH")


def validate_reference_grant(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a ReferenceGrant; what it may let in that nobody asks for has no effect."""
    for name in ("from", "to"):
        if not getattr(spec, name):
            yield FieldProblem(f"spec.{name}", "is empty: a grant says who may name what")
    for number, each in enumerate(getattr(spec, "from")):
        path = f"spec.from[{number}]"
        if (each.group, each.kind) not in {(GROUP, "HTTPRoute"), (GROUP, "GRPCRoute")}:
            message = (
                f"{shown(each.kind)} of {shown(each.group)} is not supported: use HTTPRoute or GRPCRoute of {GROUP!r}"
            )
            yield FieldProblem(f"{path}.kind", message)
        yield from check_label_name(each.namespace, f"{path}.namespace")
    for number, target in enumerate(spec.to):
        if (target.group, target.kind) != ("", "Service"):
            message = f"{shown(target.kind)} of {shown(target.group)} is not supported: use Service of ''"
            yield FieldProblem(f"spec.to[{number}].kind", message)
