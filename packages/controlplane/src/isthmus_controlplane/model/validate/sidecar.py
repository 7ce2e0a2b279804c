"""Rules of Sidecar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.sidecar_pb2 import CaptureMode
from isthmus_controlplane.model.endpoint_address import EndpointAddressError, endpoint_address
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.protocol import PROTOCOLS
from isthmus_controlplane.model.validate.text import check_host, check_label_name, check_port, is_ip_address
from isthmus_controlplane.model.validate.traffic_policy import check_connection_pool


def validate_sidecar(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a Sidecar."""
    for index, listener in enumerate(spec.ingress):
        yield from _ingress(listener, f"spec.ingress[{index}]")
    for index, listener in enumerate(spec.egress):
        yield from _egress(listener, f"spec.egress[{index}]")
    yield from _clashes(spec.ingress, "spec.ingress")
    yield from _clashes(spec.egress, "spec.egress")
    yield from check_connection_pool(spec.inbound_connection_pool, "spec.inboundConnectionPool")
    if spec.HasField("workload_selector") and not spec.workload_selector.labels:
        yield FieldProblem("spec.workloadSelector.labels", "is empty: give labels, or leave the selector out")


def _ingress(listener: Any, path: str) -> Iterator[FieldProblem]:
    if not listener.HasField("port"):
        yield FieldProblem(f"{path}.port", "is missing: give number, name and protocol")
    else:
        yield from _port(listener.port, f"{path}.port")
    yield from _bind(listener.bind, f"{path}.bind")
    yield from check_connection_pool(listener.connection_pool, f"{path}.connectionPool")
    try:
        endpoint_address(listener.default_endpoint)
    except EndpointAddressError as error:
        yield FieldProblem(f"{path}.defaultEndpoint", str(error))


def _egress(listener: Any, path: str) -> Iterator[FieldProblem]:
    if listener.HasField("port"):
        yield from _port(listener.port, f"{path}.port")
    else:
        for name, given in (
            ("bind", bool(listener.bind)),
            ("captureMode", listener.capture_mode != CaptureMode.DEFAULT),
        ):
            if given:
                yield FieldProblem(f"{path}.{name}", "has an effect on one port only: give port, or remove this")
    yield from _bind(listener.bind, f"{path}.bind")
    if not listener.hosts:
        yield FieldProblem(f"{path}.hosts", "is empty: give NAMESPACE/HOST, such as ./* or */reviews.shop")
    for index, host in enumerate(listener.hosts):
        yield from _namespaced_host(host, f"{path}.hosts[{index}]")


def _port(port: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_port(port.number, f"{path}.number")
    if port.protocol.upper() not in PROTOCOLS:
        message = f"{shown(port.protocol)} is not supported: choose one of {', '.join(PROTOCOLS)}"
        yield FieldProblem(f"{path}.protocol", message)


def _bind(bind: str, path: str) -> Iterator[FieldProblem]:
    if bind and not is_ip_address(bind):
        yield FieldProblem(path, f"{shown(bind)} is not an IP address: sockets in the file system are not supported")


def _namespaced_host(text: str, path: str) -> Iterator[FieldProblem]:
    namespace, slash, host = text.partition("/")
    if not slash:
        yield FieldProblem(path, f"{shown(text)} has no namespace: write NAMESPACE/HOST, with * for any of them")
        return
    if namespace not in {"*", ".", "~"}:
        yield from check_label_name(namespace, path)
    if host != "*":
        yield from check_host(host, path)


def _clashes(listeners: Any, path: str) -> Iterator[FieldProblem]:
    """A port, and the listener for the ports that no other has, stand there once."""
    seen: set[int] = set()
    for index, listener in enumerate(listeners):
        number = listener.port.number
        if number in seen:
            what = f"port {number}" if number else "the listener for all other ports"
            yield FieldProblem(f"{path}[{index}].port.number", f"{what} stands there twice: join the two")
        seen.add(number)
