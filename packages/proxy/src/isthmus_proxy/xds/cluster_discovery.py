"""Clusters and their endpoints over xDS: compiles, warms and hands over. No I/O; the clock is passed in.

A cluster whose endpoints come over EDS goes into service once they are here, or empty after its initial_fetch_timeout;
until then the version before it stays in service. Endpoints that are known already are used at once: a changed cluster
does not wait for the server to send the same endpoints again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from isthmus_proxy.cluster.model import Assignment, ClusterConfig
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.resources import Update
from isthmus_proxy.xds.source import ApiSource

NEVER = float("inf")


class Clusters(Protocol):
    """What is needed of the cluster manager."""

    def add_or_update(self, config: ClusterConfig) -> bool:
        """Put a cluster into service."""
        ...

    def update_assignment(self, name: str, assignment: Assignment) -> bool:
        """Replace the endpoints of a cluster."""
        ...

    def remove(self, name: str) -> bool:
        """Forget a cluster."""
        ...

    def has_assignment(self, name: str) -> bool:
        """Tell whether a cluster ever had endpoints."""
        ...


@dataclass(frozen=True, slots=True)
class Compilers:
    """How messages become configurations; each raises ConfigError."""

    cluster: Callable[[Message], ClusterConfig]
    assignment: Callable[[Message], Assignment]


@dataclass(frozen=True, slots=True)
class Warming:
    """A cluster that waits for its endpoints, at most until ``deadline``."""

    config: ClusterConfig
    deadline: float


class ClusterDiscovery:
    """See the module. ``subscribe`` is called with the names of all assignments that are needed, and their sources.

    ``check`` raises ConfigError for a source that cannot be used; None is the aggregated stream.
    """

    def __init__(
        self,
        clusters: Clusters,
        compilers: Compilers,
        subscribe: Callable[[Mapping[str, ApiSource | None]], None],
        clock: Callable[[], float],
        check: Callable[[ApiSource | None], None],
    ) -> None:
        self._clusters = clusters
        self._compile = compilers
        self._subscribe = subscribe
        self._clock = clock
        self._check = check
        self._static: frozenset[str] = frozenset()
        self._warming: dict[str, Warming] = {}
        self._users: dict[str, set[str]] = {}  # clusters by the name of their assignment
        self._assignment_of: dict[str, str] = {}  # the reverse
        self._outdated: set[str] = set()  # clusters that the update in hand will change or remove
        self._sources: dict[str, ApiSource | None] = {}  # by the name of the assignment
        self._assignments: dict[str, Assignment] = {}

    def start(self, static: Iterable[ClusterConfig]) -> None:
        """Know the clusters of the bootstrap: updates may not touch them, and some may need endpoints."""
        configs = list(static)
        self._static = frozenset(config.name for config in configs)
        for config in configs:
            if config.discovery == "EDS":
                self._add(config)
        self._subscribe(self._sources)

    def apply_clusters(self, update: Update) -> dict[str, str]:
        """CDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        self._outdated = {resource.name for resource in update.resources}.union(update.removed)
        for resource in update.resources:
            self._outdated.discard(resource.name)
            try:
                if resource.name in self._static:
                    reason = "the bootstrap file has a cluster of this name"
                    raise ConfigError("name", resource.name, reason)  # noqa: TRY301
                self._add(self._compile.cluster(resource.message))
            except ConfigError as error:
                refused[resource.name] = str(error)
        for name in update.removed:
            self._remove(name)
        self._subscribe(self._sources)
        return refused

    def apply_assignments(self, update: Update) -> dict[str, str]:
        """EDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for resource in update.resources:
            try:
                assignment = self._compile.assignment(resource.message)
            except ConfigError as error:
                refused[resource.name] = str(error)
                continue
            self._assignments[resource.name] = assignment
            for name in sorted(self._users.get(resource.name, ())):
                self._use(name, assignment)
        for missing in update.removed:
            # The server says that there is none: no use in waiting for it. Endpoints in service stay, as in Envoy.
            self._assignments.pop(missing, None)
            for name in self._users.get(missing, set()) & self._warming.keys():
                self._go_live_empty(name)
        return refused

    def expire(self, now: float) -> list[str]:
        """Put into service, empty, what has waited too long; gives the names of these clusters."""
        due = [name for name, warming in self._warming.items() if warming.deadline <= now]
        for name in due:
            self._go_live_empty(name)
        return due

    def next_deadline(self) -> float:
        """When ``expire`` is due."""
        return min((warming.deadline for warming in self._warming.values()), default=NEVER)

    def has(self, name: str) -> bool:
        """Whether there is a cluster ``name`` whose endpoints come over EDS."""
        return name in self._assignment_of

    @property
    def warming(self) -> dict[str, Warming]:
        """Clusters that wait, by name."""
        return self._warming

    def assignments(self) -> Iterator[tuple[str, Assignment]]:
        """All assignments in use, by their resource name."""
        return iter(list(self._assignments.items()))

    def _add(self, config: ClusterConfig) -> None:
        name = config.name
        if config.discovery != "EDS":
            self._forget_assignment(name)
            self._warming.pop(name, None)
            self._clusters.add_or_update(config)
            return
        wanted = config.eds_service_name or name
        self._check_source(config, wanted)
        if self._assignment_of.get(name) != wanted:
            self._forget_assignment(name)
            self._assignment_of[name] = wanted
            self._users.setdefault(wanted, set()).add(name)
        if self._sources.setdefault(wanted, config.eds_source) != config.eds_source:
            self._sources[wanted] = config.eds_source
            self._assignments.pop(wanted, None)
        timeout = config.eds_initial_fetch_timeout
        self._warming[name] = Warming(config, self._clock() + timeout if timeout > 0 else NEVER)
        assignment = self._assignments.get(wanted)
        if assignment is not None:
            self._use(name, assignment)

    def _check_source(self, config: ClusterConfig, wanted: str) -> None:
        """Raise ConfigError for a source that cannot be used, or is not that of others who want the same assignment."""
        self._check(config.eds_source)
        others = self._users.get(wanted, set()) - {config.name} - self._outdated
        if others and self._sources[wanted] != config.eds_source:
            reason = f"cluster {min(others)} takes the same endpoints from another source"
            raise ConfigError("eds_cluster_config.eds_config", wanted, reason)

    def _use(self, name: str, assignment: Assignment) -> None:
        warming = self._warming.pop(name, None)
        if warming is not None:
            self._clusters.add_or_update(warming.config)
        self._clusters.update_assignment(name, assignment)

    def _go_live_empty(self, name: str) -> None:
        self._clusters.add_or_update(self._warming.pop(name).config)
        if not self._clusters.has_assignment(name):
            self._clusters.update_assignment(name, Assignment(name))

    def _remove(self, name: str) -> None:
        self._warming.pop(name, None)
        self._forget_assignment(name)
        if name not in self._static:
            self._clusters.remove(name)

    def _forget_assignment(self, name: str) -> None:
        wanted = self._assignment_of.pop(name, None)
        if wanted is None:
            return
        users = self._users[wanted]
        users.discard(name)
        if not users:
            del self._users[wanted]
            del self._sources[wanted]
            self._assignments.pop(wanted, None)
