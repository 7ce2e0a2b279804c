"""What the parts of the bridge say to each other about services: keys, claims of registries, and merged services."""

from __future__ import annotations

import dataclasses
import enum
import operator

ORDINARY_WEIGHT = 100
"""The weight of an instance about which nobody said anything; other weights are relative to it."""

Labels = tuple[tuple[str, str], ...]
"""Labels as sorted (key, value) pairs: hashable, and the same whatever the order in which they were read."""


class Presence(enum.StrEnum):
    """What a registry says about one endpoint."""

    UP = "up"
    """Registered, and takes traffic."""
    UNHEALTHY = "unhealthy"
    """Registered, but the registry counts it as lost; another registry's ``UP`` outweighs this."""
    OFFLINE = "offline"
    """Taken out of service on purpose; outweighs every other claim."""
    DOUBTED = "doubted"
    """Was up; what its registry says now is not believed (it is away, or lost too much at once). Counts as up as long as
    no other registry calls it unhealthy."""


class Side(enum.StrEnum):
    """Which of an instance's two addresses an endpoint is."""

    NATIVE = "native"
    """Where the application itself listens, as its SDK registered it."""
    MESH = "mesh"
    """Where its sidecar takes requests for it."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class WarmUp:
    """An instance that takes its full weight only some time after its start (times in ms, start since the Unix epoch).

    ``first_percent`` is the share of its weight that it has at once.
    """

    start_ms: int
    duration_ms: int
    first_percent: int = 10


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """Identity of a service in the mesh: Istio namespace and host name (lower case)."""

    namespace: str
    host: str

    @property
    def name(self) -> str:
        """The resource name in MCP: ``namespace/host``."""
        return f"{self.namespace}/{self.host}"


@dataclasses.dataclass(frozen=True, slots=True)
class ServicePort:
    """The port at which clients address a service, whatever ports its instances listen on.

    ``protocol`` is one of Istio's (upper case). ``stated`` is false for a port that an adapter made up because its
    registry knows none; such a port adopts the number and name that another registry states for the same service.
    """

    name: str
    number: int
    protocol: str
    stated: bool = True


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class EndpointKey:
    """Identity of an endpoint: the same socket claimed by two registries is one endpoint."""

    network: str
    address: str
    port: int
    protocol: str


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointClaim:
    """What one registry says about one listening socket of a service.

    ``service_port`` names a port of the same claim. ``weight`` is relative to ``ORDINARY_WEIGHT``; None means that the
    registry says nothing about it. ``raw_id`` is where the registry holds the entry (a node's path, a place in a file).
    ``instance`` names the instance that the endpoint is an address of, where its registry knows; endpoints of both sides
    with one name are one instance (see ``dualmode/instances.py`` for the others).
    """

    service_port: str
    address: str
    port: int
    raw_id: str = ""
    network: str = ""
    presence: Presence = Presence.UP
    weight: int | None = None
    labels: Labels = ()
    locality: str = ""
    service_account: str = ""
    warm_up: WarmUp | None = None
    side: Side = Side.NATIVE
    instance: str = ""
    path: tuple[str, ...] = ()
    """The bridge clusters that have handed the entry on from another registry, the first one first."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceClaim:
    """Everything that one origin in one registry says about one service.

    ``raw_names`` are the names under which the registry knows the service; ``created_ms`` is when it was first
    registered, in milliseconds since the Unix epoch, where the registry knows it. ``raw_labels`` are those labels
    (``key=value``, raw) of which Istio's alphabet has cost something, each after what became of it.
    """

    key: ServiceKey
    ports: tuple[ServicePort, ...] = ()
    endpoints: tuple[EndpointClaim, ...] = ()
    addresses: tuple[str, ...] = ()
    raw_names: tuple[str, ...] = ()
    created_ms: int | None = None
    raw_labels: Labels = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SourcedClaim:
    """A claim with who makes it: the registry's name and the origin in it."""

    source: str
    origin: str
    claim: ServiceClaim


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Workload:
    """One published instance: an address with the port it listens on for each service port (name, number)."""

    address: str
    ports: tuple[tuple[str, int], ...]
    network: str = ""
    labels: Labels = ()
    locality: str = ""
    weight: int = 0
    service_account: str = ""


workload_order = operator.attrgetter("address", "ports", "network", "labels", "locality", "weight", "service_account")
"""The order of workloads as a sort key: the dataclass's own, at a fraction of the cost."""


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """Two claims that cannot both be published, and what was done about it."""

    path: str
    value: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class MergedService:
    """One service as the mesh shall see it: the fold of all claims, sorted, with what had to be left out."""

    key: ServiceKey
    ports: tuple[ServicePort, ...]
    workloads: tuple[Workload, ...]
    addresses: tuple[str, ...] = ()
    raw_names: tuple[str, ...] = ()
    created_ms: int = 0
    conflicts: tuple[Conflict, ...] = ()
    raw_labels: Labels = ()
    sources: tuple[str, ...] = ()
    """The registries that claim the service, sorted."""
