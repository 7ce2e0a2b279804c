"""One upstream host: its address, and what outlives every update that still names it."""

from __future__ import annotations

from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints


class Endpoint:
    """Mutable state of one address of one cluster; the same object as long as updates name the same address.

    Counters are plain numbers (Envoy's host stats): ``/clusters`` shows them. ``pool`` belongs to the connection pool.
    ``removed`` turns true once and stays so: a pool then closes what is idle and reuses nothing.
    """

    __slots__ = (
        "address",
        "config",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "health",
        "locality",
        "name",
        "pool",
        "priority",
        "removed",
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
        self.removed = False
        self.cx_active = 0
        self.cx_total = 0
        self.cx_connect_fail = 0
        self.rq_active = 0
        self.rq_total = 0
        self.rq_success = 0
        self.rq_error = 0
        self.rq_timeout = 0
        self.update(config, locality)

    def update(self, config: EndpointConfig, locality: LocalityEndpoints) -> None:
        """Take over weight, health, metadata and place from an assignment that names this address again."""
        self.config = config
        self.weight = config.weight
        self.health = config.health
        self.locality = (locality.region, locality.zone, locality.sub_zone)
        self.priority = locality.priority

    @property
    def active_requests(self) -> int:
        """Requests in flight to this endpoint."""
        return self.rq_active

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.health} weight={self.weight} active={self.rq_active}>"
