"""Gateways of the Gateway API as those of Istio: each listener becomes one, so that routes may name it alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3 import gateway_pb2 as istio
from isthmus_controlplane.model.gateway import ANY_HOST, ListenerGateway
from isthmus_controlplane.model.gateway_api.attach import RouteStatus
from isthmus_controlplane.stores.base import ConfigObject, content_version

# The label by which a proxy says whose it is, as in Istio; it has to be in the Gateway's namespace too.
NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
# The one label that every namespace has in Kubernetes; of others nothing is known here.
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
CONTROLLERS = ("isthmus.io/gateway-controller", "istio.io/gateway-controller")
CLASSES = ("isthmus", "istio")


def gateway_status(gateway: ConfigObject, classes: Iterable[ConfigObject]) -> RouteStatus:
    """Say whether the class of a Gateway is carried out here.

    Args:
        gateway: of the Gateway API.
        classes: GatewayClasses; one of them stands over the built-in ones of its name.
    """
    spec: Any = gateway.spec
    name = spec.gateway_class_name
    controllers = [each.spec.controller_name for each in classes if each.key.name == name]  # type: ignore[attr-defined]
    if any(controller in CONTROLLERS for controller in controllers) or (not controllers and name in CLASSES):
        return RouteStatus(resolved=None)
    if controllers:
        message = f"{name!r} is carried out by {controllers[0]!r}: name a class of {CONTROLLERS[0]!r}"
    else:
        message = f"there is no GatewayClass {name!r}: add it, or name one of {', '.join(CLASSES)}"
    return RouteStatus(("InvalidParameters", f"spec.gatewayClassName: {message}"), None)


def listeners_of(gateway: ConfigObject) -> Iterator[ListenerGateway]:
    """Yield each listener as a Gateway of Istio with one server."""
    spec: Any = gateway.spec
    bind = spec.addresses[0].value if spec.addresses else ""
    for position, listener in enumerate(spec.listeners):
        made = istio.Gateway(selector={NAME_LABEL: gateway.key.name}, servers=[_server(listener, bind)])
        yield ListenerGateway(
            gateway.key, made, gateway.labels, gateway.annotations, gateway.create_time,
            content_version(gateway.key, made, {}, {}), gateway.origin, listener.name, position,
        )  # fmt: skip


def _server(listener: Any, bind: str) -> Any:
    host = listener.hostname.lower() or ANY_HOST
    server = istio.Server(
        bind=bind,
        port=istio.Port(number=listener.port, protocol=listener.protocol, name=listener.name),
        hosts=[f"{namespace}/{host}" for namespace in _namespaces(listener.allowed_routes.namespaces)],
    )
    if listener.protocol == "HTTPS":
        server.tls.mode = istio.ServerTLSSettings.SIMPLE
        server.tls.credential_name = listener.tls.certificate_refs[0].name
    return server


def _namespaces(allowed: Any) -> list[str]:
    """Whose routes are let in, as Istio writes it before a host."""
    match getattr(allowed, "from"):
        case "All":
            return ["*"]
        case "Selector":
            return list(selected_namespaces(allowed.selector))
        case "None":
            return []
        case _:
            return ["."]


def selected_namespaces(selector: Any) -> tuple[str, ...]:
    """Return the namespaces that a selector names; all of its conditions hold."""
    wanted = [{value} for value in selector.match_labels.values()]
    wanted += [set(each.values) for each in selector.match_expressions]
    return tuple(sorted(set.intersection(*wanted))) if wanted else ("*",)
