"""Which ports a node takes traffic on: those of the services that it is an instance of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_controlplane.model.service import Endpoint, Service
from isthmus_controlplane.stores.base import ObjectKey


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class InboundPort:
    """One port of a workload.

    Attributes:
        number: on which the application listens.
        host: the service that leads there.
        name: of the service's port.
        protocol: of the service's port, in upper case.
        owner: the ServiceEntry.
    """

    number: int
    host: str
    name: str
    protocol: str
    owner: ObjectKey


class InstanceIndex:
    """Finds the services that have an instance at an address; follows changes at the cost of what changed."""

    def __init__(self) -> None:
        self._services: Mapping[str, Service] = {}
        self._at: dict[str, dict[str, Service]] = {}

    def follow(self, services: Mapping[str, Service]) -> None:
        """Take the services as they are now; those that are the same objects cost nothing."""
        before, self._services = self._services, services
        if services is before:
            return
        for host in before.keys() - services.keys():
            self._remove(before[host])
        for host, service in services.items():
            old = before.get(host)
            if old is service:
                continue
            if old is not None:
                self._remove(old)
            for endpoint in service.endpoints:
                self._at.setdefault(endpoint.address, {})[host] = service

    def _remove(self, service: Service) -> None:
        for endpoint in service.endpoints:
            hosts = self._at.get(endpoint.address)
            if hosts is not None:
                hosts.pop(service.host, None)
                if not hosts:
                    del self._at[endpoint.address]

    def ports(self, addresses: Iterable[str]) -> tuple[InboundPort, ...]:
        """Return the ports of the workload at these addresses, by number; where two services lead to one, the first host."""
        found = sorted(
            port
            for address in set(addresses)
            for service in self._at.get(address, {}).values()
            for endpoint in service.endpoints
            if endpoint.address == address
            for port in _ports(service, endpoint)
        )
        return tuple({port.number: port for port in reversed(found)}.values())[::-1]


def _ports(service: Service, endpoint: Endpoint) -> Iterable[InboundPort]:
    return (
        InboundPort(endpoint.port(port), service.host, port.name, port.protocol, service.key) for port in service.ports
    )
