"""What Gateways and VirtualServices say of one another: which are bound, and which hosts they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.stores.base import ConfigObject

MESH_GATEWAY = "mesh"
GATEWAY_API_GATEWAY = "Gateway.gateway.networking.k8s.io"  # the kind, apart from Istio's
HTTP_PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
TLS_PROTOCOLS = ("HTTPS", "TLS")
SERVER_PROTOCOLS = (*HTTP_PROTOCOLS, *TLS_PROTOCOLS, "TCP", "MONGO")
ANY_HOST = "*"


def gateways_of(obj: ConfigObject) -> tuple[str, ...]:
    """Return the gateways to which a VirtualService is bound, ``NAMESPACE/NAME`` or ``mesh``; unset is the mesh."""
    spec: Any = obj.spec
    return full_names(spec.gateways, obj.key.namespace) or (MESH_GATEWAY,)


def full_names(gateways: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Write gateways with the namespace that a bare name means."""
    return tuple(name if name == MESH_GATEWAY or "/" in name else f"{namespace}/{name}" for name in gateways)


@dataclasses.dataclass(frozen=True, slots=True)
class ListenerGateway(ConfigObject):
    """One listener of a Gateway of the Gateway API as the Gateway of Istio that does the same.

    Attributes:
        listener: its name.
        position: among the listeners.
    """

    listener: str
    position: int


def name_of(gateway: ConfigObject) -> str:
    """Return ``NAMESPACE/NAME``; for a listener of the Gateway API a name that VirtualServices cannot write."""
    suffix = f"~{gateway.listener}" if isinstance(gateway, ListenerGateway) else ""
    return f"{gateway.key.namespace}/{gateway.key.name}{suffix}"


def is_in_mesh(obj: ConfigObject) -> bool:
    """Whether a VirtualService governs clients in the mesh."""
    return MESH_GATEWAY in gateways_of(obj)


def index_bindings(routes: Iterable[ConfigObject]) -> Mapping[str, tuple[ConfigObject, ...]]:
    """Index VirtualServices by gateway, each in the order given."""
    index: dict[str, list[ConfigObject]] = {}
    for obj in routes:
        for gateway in dict.fromkeys(gateways_of(obj)):
            if gateway != MESH_GATEWAY:
                index.setdefault(gateway, []).append(obj)
    return {gateway: tuple(bound) for gateway, bound in index.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """One server of a Gateway.

    Attributes:
        gateway: the Gateway.
        spec: the ``istio.networking.v1alpha3.Server``.
    """

    gateway: ConfigObject
    spec: Any

    @property
    def protocol(self) -> str:
        """Protocol of its port, in upper case."""
        return str(self.spec.port.protocol).upper()

    def names(self) -> tuple[str, ...]:
        """Return the hosts without their namespaces, each once."""
        return tuple(dict.fromkeys(host.rpartition("/")[2].lower() for host in self.spec.hosts))

    def hosts_of(self, route: ConfigObject) -> tuple[str, ...]:
        """Return the hosts that the server and a VirtualService share: of two that overlap the narrower one."""
        spec: Any = route.spec
        shared = (
            common
            for text in self.spec.hosts
            if self._admits(text, route)
            for host in spec.hosts
            if (common := narrower(text.rpartition("/")[2].lower(), host.lower())) is not None
        )
        return tuple(dict.fromkeys(shared))

    def admits(self, route: ConfigObject) -> bool:
        """Whether routes of that namespace may be bound to any host of the server."""
        return any(self._admits(text, route) for text in self.spec.hosts)

    def _admits(self, text: str, route: ConfigObject) -> bool:
        """Whether VirtualServices of a namespace may be bound to a host of the server."""
        namespace, slash, _ = text.rpartition("/")
        if not slash or namespace == "*":
            return True
        return route.key.namespace == (self.gateway.key.namespace if namespace == "." else namespace)


def servers_of(gateways: Iterable[ConfigObject]) -> Iterator[Server]:
    """Yield the servers of Gateways."""
    for gateway in gateways:
        spec: Any = gateway.spec
        for server in spec.servers:
            yield Server(gateway, server)


def narrower(first: str, second: str) -> str | None:
    """Return the host that lies in both, either of which may be ``*`` or begin with ``*.``; None where none does."""
    if covers(first, second):
        return second
    return first if covers(second, first) else None


def covers(wide: str, host: str) -> bool:
    """Whether every host that ``host`` stands for is one that ``wide`` stands for."""
    return wide in {ANY_HOST, host} or (wide.startswith("*.") and host.endswith(wide[1:]))
