"""Which connection a request gets: the decisions of a pool, without any I/O.

Three cases. An idle connection: the one used last, whose peer is the least likely to have given up. None idle, but a limit
leaves room: the request waits and a connection is opened for it. No room for a connection: the request waits for one to
come free. A request is refused only when too many wait or run already (circuit breakers of the cluster, which all its
pools share). A pool without any connection may always open one.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

Connection = TypeVar("Connection")
Request = TypeVar("Request")


class Verdict(Enum):
    """What becomes of a request for which no connection is idle."""

    WAIT = auto()
    WAIT_AND_CONNECT = auto()
    PENDING_OVERFLOW = auto()
    REQUEST_OVERFLOW = auto()


class Limits(Protocol):
    """The thresholds that bind (ClusterConfig's Thresholds)."""

    @property
    def max_connections(self) -> int:
        """Connections of the cluster."""

    @property
    def max_pending_requests(self) -> int:
        """Requests of the cluster that wait for a connection."""

    @property
    def max_requests(self) -> int:
        """Requests of the cluster in flight."""


class Load(Protocol):
    """What the cluster's pools of one priority hold together (its circuit breaker)."""

    active_connections: int
    active_requests: int
    pending: int


class PoolState(Generic[Connection, Request]):
    """``idle`` connections, most recently used last; ``pending`` requests in order; ``connecting`` and ``total`` counts."""

    __slots__ = ("connecting", "idle", "pending", "total")

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.pending: deque[Request] = deque()
        self.connecting = 0
        self.total = 0

    def ask(self, load: Load, limits: Limits, *, host_has_room: bool = True) -> Verdict:
        """What to do with a request now that nothing is idle."""
        if load.active_requests >= limits.max_requests:
            return Verdict.REQUEST_OVERFLOW
        if load.pending >= limits.max_pending_requests:
            return Verdict.PENDING_OVERFLOW
        return Verdict.WAIT_AND_CONNECT if self.may_connect(load, limits, host_has_room=host_has_room) else Verdict.WAIT

    def may_connect(self, load: Load, limits: Limits, *, host_has_room: bool = True) -> bool:
        """Whether the limits of the cluster and of the endpoint (``host_has_room``) leave room for one more connection."""
        return (host_has_room and load.active_connections < limits.max_connections) or self.total == 0

    def wants_connection(self) -> bool:
        """Whether more requests wait than connections are being opened."""
        return len(self.pending) > self.connecting
