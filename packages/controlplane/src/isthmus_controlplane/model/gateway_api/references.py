"""Whom HTTPRoute and GRPCRoute name: who answers, and what they are attached to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import Destination
from isthmus_controlplane.model.model import find_service, full_host
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import ConfigObject

GROUP = "gateway.networking.k8s.io"
ISTIO_GROUP = "networking.istio.io"
ParentKind = Literal["Gateway", "Listener", "Service", "ServiceEntry"]
# What may stand as the group and the kind of a parent, and of a backend.
PARENTS: Mapping[tuple[str, str], ParentKind] = {
    (GROUP, "Gateway"): "Listener",
    (ISTIO_GROUP, "Gateway"): "Gateway",
    ("", "Service"): "Service",
    (ISTIO_GROUP, "ServiceEntry"): "ServiceEntry",
}
BACKENDS = (("", "Service"), (ISTIO_GROUP, "Hostname"))


class Refused(NamedTuple):
    """A reference that leads nowhere, or that is not let in: its path, the specification's reason, and what to do."""

    path: str
    reason: str
    message: str


def parent_kind(parent: Any) -> ParentKind | None:
    """Return what a parent is; None for what is not supported."""
    return PARENTS.get((parent.group if parent.HasField("group") else GROUP, parent.kind or "Gateway"))


def backend_kind(reference: Any) -> tuple[str, str]:
    """Return group and kind of a backend with their defaults."""
    return reference.group, reference.kind or "Service"


@dataclasses.dataclass(frozen=True, slots=True)
class Backends:
    """The backends of one route; ``grants``: the ReferenceGrants, by which it may name those of other namespaces."""

    route: ConfigObject
    services: Mapping[str, Service]
    grants: Sequence[ConfigObject] = ()

    def resolve(self, reference: Any) -> Any:
        """Return the ``Destination``; one without host where the reference leads nowhere."""
        if self.wrong(reference) is not None:
            return Destination()
        destination = Destination(host=self._host(reference))
        if reference.HasField("port"):
            destination.port.number = reference.port
        return destination

    def _host(self, reference: Any) -> str:
        if backend_kind(reference)[1] == "Hostname":
            return str(reference.name).lower()
        return full_host(self.services, reference.name, self._namespace(reference))

    def _namespace(self, reference: Any) -> str:
        return str(reference.namespace) or self.route.key.namespace

    def _granted(self, reference: Any) -> bool:
        route = self.route.key
        for grant in self.grants:
            spec: Any = grant.spec
            if (
                grant.key.namespace == reference.namespace
                and any((each.kind, each.namespace) == (route.kind, route.namespace) for each in getattr(spec, "from"))
                and any(each.name in {"", reference.name} for each in spec.to)
            ):
                return True
        return False

    def wrong(self, reference: Any) -> tuple[str, str] | None:
        """Return reason and message of a reference that leads nowhere."""
        kind = backend_kind(reference)[1]
        namespace = self._namespace(reference)
        if kind == "Service" and namespace != self.route.key.namespace and not self._granted(reference):
            return (
                "RefNotPermitted",
                f"{namespace!r} is another namespace: add a ReferenceGrant there, or name a Hostname",
            )
        service = find_service(self.services, reference.name, namespace)
        if service is None:
            return "BackendNotFound", f"no ServiceEntry has the host {reference.name!r}: add one or correct the name"
        ports = service.ports_of(http=True)
        if reference.HasField("port") and reference.port not in {port.number for port in ports}:
            known = ", ".join(str(port.number) for port in ports) or "none"
            return "BackendNotFound", f"{reference.port} is not an HTTP port of {service.host!r}: it has {known}"
        if not reference.HasField("port") and len(ports) != 1:
            return "BackendNotFound", f"{service.host!r} has {len(ports)} HTTP ports: say which one in port"
        return None

    def unresolved(self) -> Iterator[Refused]:
        """Yield the references that lead nowhere."""
        for path, reference in _references(self.route.spec):
            wrong = self.wrong(reference)
            if wrong is not None:
                yield Refused(path, *wrong)


def _references(spec: Any) -> Iterator[tuple[str, Any]]:
    for number, rule in enumerate(spec.rules):
        for position, reference in enumerate(rule.backend_refs):
            yield f"spec.rules[{number}].backendRefs[{position}]", reference
        for position, each in enumerate(rule.filters):
            if each.HasField("request_mirror"):
                path = f"spec.rules[{number}].filters[{position}].requestMirror.backendRef"
                yield path, each.request_mirror.backend_ref
