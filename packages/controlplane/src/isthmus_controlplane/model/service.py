"""Services as the translation sees them: frozen values without protobuf."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.model.protocol import TLS_PROTOCOLS, is_http, is_http2
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey

Resolution = Literal["STATIC", "DNS"]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Port:
    """One port of a service: the number that clients use, its name, its protocol in upper case, and the port behind it."""

    number: int
    name: str
    protocol: str
    target: int

    @property
    def is_http(self) -> bool:
        """Whether requests on the port are routed by host and path."""
        return is_http(self.protocol)

    @property
    def is_http2(self) -> bool:
        """Whether the endpoints speak HTTP/2."""
        return is_http2(self.protocol)

    @property
    def is_tls(self) -> bool:
        """Whether connections are TLS of the application, told apart by server name."""
        return self.protocol in TLS_PROTOCOLS


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One instance of a service.

    Attributes:
        locality: ``region/zone/subzone``, any part may be missing.
        address: IP literal, or a DNS name where the service resolves by DNS.
        ports: port name to number, where it differs from the service's target port; sorted.
        weight: relative weight, at least 1.
        labels: sorted pairs; subsets select by them.
    """

    locality: str
    address: str
    ports: tuple[tuple[str, int], ...]
    weight: int
    labels: tuple[tuple[str, str], ...]

    def port(self, port: Port) -> int:
        """Return the number under which this instance serves ``port``."""
        return dict(self.ports).get(port.name, port.target)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the instance has all of these labels."""
        own = dict(self.labels)
        return all(own.get(name) == value for name, value in labels.items())


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """One host of a ServiceEntry with everything about it.

    Attributes:
        host: the host name, lower case, perhaps with a first label ``*``.
        namespace: of the ServiceEntry.
        key: the ServiceEntry.
        origins: the ServiceEntry and the WorkloadEntries whose endpoints it has; sorted.
        ports: by number.
        addresses: virtual IP addresses of the service.
        resolution: how its endpoints are found.
        endpoints: sorted, so that the order in a registry does not matter.
        export_to: namespaces that see it; empty for all.
    """

    host: str
    namespace: str
    key: ObjectKey
    origins: tuple[ObjectKey, ...]
    ports: tuple[Port, ...]
    addresses: tuple[str, ...]
    resolution: Resolution
    endpoints: tuple[Endpoint, ...]
    export_to: tuple[str, ...] = ()

    def port(self, number: int) -> Port | None:
        """Return the port of that number."""
        return next((port for port in self.ports if port.number == number), None)

    @property
    def http_ports(self) -> tuple[Port, ...]:
        """The ports that are routed by request, in order."""
        return self.ports_of(http=True)

    def ports_of(self, *, http: bool) -> tuple[Port, ...]:
        """Return the ports that are routed by request, or those by connection, in order."""
        return tuple(port for port in self.ports if port.is_http == http)


def visible(export_to: Iterable[str], owner: str, namespace: str) -> bool:
    """Whether ``exportTo`` of an object in namespace ``owner`` shows it to ``namespace``; unset shows it to all."""
    targets = {owner if target == "." else target for target in export_to}
    return not targets or "*" in targets or namespace in targets


def services_of(entry: ConfigObject, workloads: Iterable[ConfigObject]) -> tuple[Service, ...]:
    """Build one service per host of a ServiceEntry.

    Args:
        entry: the ServiceEntry.
        workloads: the WorkloadEntries of its namespace.
    """
    spec: Any = entry.spec
    chosen = [workload for workload in workloads if _selected(spec, workload)]
    endpoints = {_endpoint(each) for each in spec.endpoints} | {_endpoint(each.spec, each.labels) for each in chosen}
    common = Service(
        host="",
        namespace=entry.key.namespace,
        key=entry.key,
        origins=tuple(sorted({entry.key, *(workload.key for workload in chosen)})),
        ports=tuple(sorted(_port(port) for port in spec.ports)),
        addresses=tuple(sorted(set(spec.addresses))),
        resolution="DNS" if spec.resolution == ServiceEntry.DNS else "STATIC",
        endpoints=tuple(sorted(endpoints)),
        export_to=tuple(sorted(set(spec.export_to))),
    )
    return tuple(dataclasses.replace(common, host=host.lower()) for host in spec.hosts)


def workload_labels(spec: Any, metadata: Mapping[str, str]) -> dict[str, str]:
    """Labels of a workload: those of its spec, over those of its metadata."""
    return {**metadata, **spec.labels}


def _selected(spec: Any, workload: ConfigObject) -> bool:
    if not spec.HasField("workload_selector"):
        return False
    labels = workload_labels(workload.spec, workload.labels)
    return all(labels.get(name) == value for name, value in spec.workload_selector.labels.items())


def _port(port: Any) -> Port:
    return Port(port.number, port.name, port.protocol.upper(), port.target_port or port.number)


def _endpoint(workload: Any, metadata: Mapping[str, str] | None = None) -> Endpoint:
    return Endpoint(
        locality=workload.locality,
        address=workload.address,
        ports=tuple(sorted(workload.ports.items())),
        weight=workload.weight or 1,
        labels=tuple(sorted(workload_labels(workload, metadata or {}).items())),
    )
