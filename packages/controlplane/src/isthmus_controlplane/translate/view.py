"""What a client hears of: the services that are visible to it and, where a Sidecar governs it, listed there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from isthmus_api.istio.networking.v1alpha3.sidecar_pb2 import CaptureMode, OutboundTrafficPolicy
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.references import references_of
from isthmus_controlplane.model.scope import LOOPBACK, Scope
from isthmus_controlplane.model.service import Port, Service, visible
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey

_IMPORT_ALL = ("*/*",)


@dataclasses.dataclass(frozen=True, slots=True)
class EgressListener:
    """Hosts that can be reached, on one port or on all that no other listener has.

    Attributes:
        hosts: ``NAMESPACE/HOST``, as a Sidecar writes them.
        port: the one port; None for all others.
        bind: address of the listeners.
        redirected: whether connections reach them by redirection; else they bind.
        origins: the Sidecar, where one says so.
    """

    hosts: Sequence[str]
    port: Port | None
    bind: str
    redirected: bool
    origins: tuple[ObjectKey, ...] = ()

    def takes(self, service: Service, namespace: str) -> bool:
        """Whether a service is among the hosts, for a Sidecar of ``namespace``, and has the port."""
        if self.port is not None and service.port(self.port.number) is None:
            return False
        return any(_matches(text, service, namespace) for text in self.hosts)


def _matches(text: str, service: Service, namespace: str) -> bool:
    owner, _, host = text.partition("/")
    if owner not in {"*", service.namespace} and not (owner == "." and service.namespace == namespace):
        return False
    host = host.lower()
    return host in {"*", service.host} or (host.startswith("*.") and service.host.endswith(host[1:]))


class View:
    """What one scope sees of a model."""

    def __init__(self, model: Model, scope: Scope, imported: frozenset[str] | None = None) -> None:
        """Take the Sidecar that governs the scope.

        Args:
            model: the configuration.
            scope: for whom.
            imported: hosts of the services that it gets, where they are known from before.
        """
        self._model = model
        self._scope = scope
        self.sidecar = model.by_label.sidecar(scope.namespace, dict(scope.labels)) if scope.kind == "sidecar" else None
        self.listeners = tuple(_listeners(scope, self.sidecar))
        self.imported = imported if imported is not None else self._imported()

    @property
    def pass_through(self) -> bool:
        """Whether what nobody defined goes where it was going: that needs an original destination."""
        allowed = self._model.mesh.outbound_traffic_policy == "ALLOW_ANY"
        spec: Any = self.sidecar.spec if self.sidecar is not None else None
        if spec is not None and spec.HasField("outbound_traffic_policy"):
            allowed = spec.outbound_traffic_policy.mode == OutboundTrafficPolicy.ALLOW_ANY
        return allowed and self._scope.kind == "sidecar" and self._scope.interception != "NONE"

    def sees(self, service: Service) -> bool:
        """Whether the scope gets a service."""
        if self.imported is not None and service.host not in self.imported:
            return False
        return visible(service.export_to, service.namespace, self._scope.namespace)

    def _imported(self) -> frozenset[str] | None:
        """Name the hosts that the Sidecar lists, and those to which their routes lead; None where there is no choice."""
        if self.sidecar is None or all(listener.hosts == _IMPORT_ALL for listener in self.listeners):
            return None
        namespace = self._scope.namespace
        listed = {
            host
            for host, service in self._model.services.items()
            if any(listener.takes(service, namespace) for listener in self.listeners)
        }
        routes = {obj.key: obj for host in listed if (obj := self._model.route(host, namespace)) is not None}
        targets = (each.host for obj in routes.values() for each in references_of(obj, self._model.services))
        return frozenset({*listed, *targets})

    def on(self, listener: EgressListener, services: Sequence[Service]) -> list[tuple[Service, Port]]:
        """Return the services of a listener with the ports that it serves."""
        namespace = self._scope.namespace
        taken = {each.port.number for each in self.listeners if each.port is not None}
        return [
            (service, port)
            for service in services
            if listener.hosts == _IMPORT_ALL or listener.takes(service, namespace)
            for port in service.ports
            if (port.number not in taken if listener.port is None else _is_same(port, listener.port))
        ]


def _is_same(port: Port, wanted: Port) -> bool:
    return port.number == wanted.number and port.is_http == wanted.is_http


def _listeners(scope: Scope, sidecar: ConfigObject | None) -> Iterator[EgressListener]:
    redirected = scope.interception != "NONE"
    spec: Any = sidecar.spec if sidecar is not None else None
    if sidecar is None or not spec.egress:
        yield EgressListener(_IMPORT_ALL, None, scope.bind, redirected)
        return
    for listener in spec.egress:
        bound = listener.capture_mode == CaptureMode.NONE or not redirected
        default = LOOPBACK if bound and redirected else scope.bind
        yield EgressListener(
            tuple(listener.hosts),
            _port(listener.port) if listener.HasField("port") else None,
            listener.bind or default,
            not bound,
            (sidecar.key,),
        )


def _port(port: Any) -> Port:
    return Port(port.number, port.name, port.protocol.upper(), port.number)
