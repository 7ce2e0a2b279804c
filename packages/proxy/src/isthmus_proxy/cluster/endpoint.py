"""One upstream host: its address, and what outlives every update that still names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from isthmus_proxy.cluster.health.flags import DEGRADED, EXCLUDED, FROM_EDS, UNHEALTHY, names, of_eds
from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints

if TYPE_CHECKING:
    from isthmus_proxy.cluster.outlier.monitor import OutlierMonitor


class Dependent(Protocol):
    """What does not outlive the health of its endpoint (close_connections_on_host_health_failure)."""

    def close(self) -> None:
        """Close at once."""


class Endpoint:
    """Mutable state of one address of one cluster; the same object as long as updates name the same address.

    Counters are plain numbers (Envoy's host stats): ``/clusters`` shows them. ``pool``, ``high_pool`` (of requests
    of high priority) and ``named_pools`` (by priority and TLS server name) belong to the connection pools.
    ``flags`` are those of ``health.flags``; whoever changes them tells the
    cluster (``Cluster.health_changed``). ``monitor`` is told how requests end, if the cluster has outlier detection.
    ``revision`` is the cluster's as of the last change of what balancers read in ``config`` or of the place. ``healthy_since``, in
    seconds of the cluster's clock, is when the endpoint came or passed its health check again; slow start counts from there.
    ``dependents`` are closed when the endpoint fails its health checks; None where nobody asks for that.
    ``removed`` turns true once and stays so: a pool then closes what is idle and reuses nothing.
    """

    __slots__ = (
        "address",
        "config",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "dependents",
        "flags",
        "health",
        "healthy_since",
        "high_pool",
        "locality",
        "monitor",
        "name",
        "named_pools",
        "pool",
        "priority",
        "removed",
        "revision",
        "rq_active",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "weight",
    )

    def __init__(self, config: EndpointConfig, locality: LocalityEndpoints) -> None:
        self.address = (config.host, config.port)
        self.name = f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"
        self.pool: object | None = None
        self.high_pool: object | None = None
        self.named_pools: dict[tuple[int, str], object] | None = None
        self.flags = 0
        self.monitor: OutlierMonitor | None = None
        self.dependents: set[Dependent] | None = None
        self.removed = False
        self.cx_active = 0
        self.cx_total = 0
        self.cx_connect_fail = 0
        self.rq_active = 0
        self.rq_total = 0
        self.rq_success = 0
        self.rq_error = 0
        self.rq_timeout = 0
        self.revision = 0
        self.healthy_since = float("-inf")
        self.update(config, locality)

    def update(self, config: EndpointConfig, locality: LocalityEndpoints) -> None:
        """Take over weight, health, metadata and place from an assignment that names this address again."""
        self.config = config
        self.weight = config.weight
        self.health = config.health
        self.flags = self.flags & ~FROM_EDS | of_eds(config.health)
        self.locality = (locality.region, locality.zone, locality.sub_zone)
        self.priority = locality.priority

    @property
    def coarse_health(self) -> Literal["healthy", "degraded", "unhealthy"]:
        """What load balancing makes of ``flags``."""
        flags = self.flags
        return "unhealthy" if flags & UNHEALTHY else "degraded" if flags & DEGRADED else "healthy"

    @property
    def canary(self) -> bool:
        """Whether the endpoint's metadata calls it a canary."""
        return ("canary", ("bool", True)) in self.config.metadata

    def hash_key(self, *, use_hostname: bool = False) -> bytes:
        """What ring hash and maglev hash: the metadata ``hash_key``, or else the host name, if that is used, or the address."""
        for name, value in self.config.metadata:
            if name == "hash_key" and isinstance(value, str) and value:
                return value.encode()
        return (self.config.hostname if use_hostname else self.name).encode()

    @property
    def excluded(self) -> bool:
        """Whether availability is measured without this endpoint."""
        return self.flags & EXCLUDED != 0

    @property
    def active_requests(self) -> int:
        """Requests in flight to this endpoint."""
        return self.rq_active

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {names(self.flags)} weight={self.weight} active={self.rq_active}>"
