"""All clusters by name. A cluster costs only its configuration until something is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from isthmus_proxy.cluster.balancer import RandomSource
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.locality import Locality
from isthmus_proxy.cluster.model import Assignment, ClusterConfig
from isthmus_proxy.cluster.slow_start import Now
from isthmus_proxy.cluster.stats import cluster_stats
from isthmus_proxy.cluster.zone_aware import LocalZone
from isthmus_proxy.observe.stats_scope import StatsScope

RemovalCallback = Callable[[Cluster, list[Endpoint]], None]
ConfigCallback = Callable[[str, ClusterConfig | None], None]


class ClusterManager:
    """Adds, changes and removes clusters; every change is seen by the next request and by none in flight.

    ``scope`` makes the stats scope of one cluster, given its name; ``random`` returns numbers in [0, 1); ``now`` returns monotonic seconds.
    """

    __slots__ = (
        "_assignments",
        "_clusters",
        "_configs",
        "_now",
        "_on_built",
        "_on_config",
        "_on_failed",
        "_on_removed",
        "_random",
        "_scope",
        "_zone",
        "_zone_cluster",
    )

    def __init__(self, scope: Callable[[str], StatsScope], random: RandomSource, now: Now) -> None:
        self._scope = scope
        self._random = random
        self._now = now
        self._configs: dict[str, ClusterConfig] = {}
        self._assignments: dict[str, Assignment] = {}
        self._clusters: dict[str, Cluster] = {}
        self._on_built: list[Callable[[Cluster], None]] = []
        self._on_removed: list[RemovalCallback] = []
        self._on_failed: list[RemovalCallback] = []
        self._on_config: list[ConfigCallback] = []
        self._zone: LocalZone | None = None
        self._zone_cluster = ""

    def route_by_zone(self, local_cluster: str, locality: Locality) -> None:
        """Let clusters that come from now on prefer ``locality``, that of this proxy, which is one of ``local_cluster``'s endpoints."""
        self._zone_cluster = local_cluster
        self._zone = LocalZone(locality, lambda: self.get(local_cluster))

    def get(self, name: str) -> Cluster | None:
        """Return the cluster, building it on first use; None when no cluster has that name (503, flag NC)."""
        cluster = self._clusters.get(name)
        if cluster is None and name in self._configs:
            cluster = self._build(name)
        return cluster

    def in_use(self, name: str) -> Cluster | None:
        """Return the cluster if something used it already, else None; never builds."""
        return self._clusters.get(name)

    def _build(self, name: str) -> Cluster:
        config = self._configs[name]
        stats = cluster_stats(self._scope(config.alt_stat_name or name))
        zone = self._zone if name != self._zone_cluster else None
        cluster = self._clusters[name] = Cluster(config, stats, self._random, self._now, zone)
        for callback in self._on_built:
            callback(cluster)
        assignment = self._assignments.get(name)
        if assignment is not None:
            cluster.update_assignment(assignment)
        return cluster

    def add_or_update(self, config: ClusterConfig) -> bool:
        """Add a cluster or replace its configuration. Return False when it is the same as before."""
        name = config.name
        before = self._configs.get(name)
        if before is not None and before.content == config.content and before == config:
            return False
        self._configs[name] = config
        cluster = self._clusters.get(name)
        if cluster is not None:
            cluster.update_config(config)
        if config.discovery == "STATIC":
            self.update_assignment(name, config.assignment or Assignment(name))
        for callback in self._on_config:
            callback(name, config)
        return True

    def update_assignment(self, name: str, assignment: Assignment) -> bool:
        """Replace the endpoints of a cluster. Return False when it is unknown or has these endpoints already."""
        if name not in self._configs or self._assignments.get(name) == assignment:
            return False
        self._assignments[name] = assignment
        cluster = self._clusters.get(name)
        if cluster is not None:
            before = cluster.endpoints.keys()
            self._announce(cluster, cluster.update_assignment(assignment))
            if cluster.config.close_connections_on_host_set_change and cluster.endpoints.keys() != before:
                for callback in self._on_failed:
                    callback(cluster, list(cluster.endpoints.values()))
        return True

    def remove(self, name: str) -> bool:
        """Forget a cluster: requests in flight finish, new ones find no cluster. Return whether it was there."""
        if self._configs.pop(name, None) is None:
            return False
        self._assignments.pop(name, None)
        cluster = self._clusters.pop(name, None)
        if cluster is not None:
            self._announce(cluster, cluster.update_assignment(Assignment(name), removed=True))
            cluster.stats.scope.close()
        for callback in self._on_config:
            callback(name, None)
        return True

    def now(self) -> float:
        """Seconds of the clusters' clock."""
        return self._now()

    def drop(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Let an endpoint go that discovery names no more, now that it fails its health checks."""
        self._announce(cluster, cluster.drop(endpoint))

    def clean_up(self, cluster: Cluster) -> None:
        """Let endpoints of an ORIGINAL_DST cluster go that were not used for an interval."""
        self._announce(cluster, cluster.clean_up())

    def failed_health(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Tell that ``endpoint`` failed its health checks, or was ejected."""
        for callback in self._on_failed:
            callback(cluster, [endpoint])

    def on_health_failure(self, callback: RemovalCallback) -> None:
        """Call ``callback(cluster, endpoints)`` when connections to endpoints are to be used no more, so that pools close idle ones.

        That is when endpoints turn unhealthy, and with every change of a cluster of ``close_connections_on_host_set_change``.
        """
        self._on_failed.append(callback)

    def _announce(self, cluster: Cluster, gone: list[Endpoint]) -> None:
        if gone:
            for callback in self._on_removed:
                callback(cluster, gone)

    def on_endpoints_removed(self, callback: RemovalCallback) -> None:
        """Call ``callback(cluster, endpoints)`` after endpoints left a cluster, so that pools close idle connections."""
        self._on_removed.append(callback)

    def on_built(self, callback: Callable[[Cluster], None]) -> None:
        """Call ``callback(cluster)`` when a cluster is built, before it gets its endpoints."""
        self._on_built.append(callback)

    def on_config_changed(self, callback: ConfigCallback) -> None:
        """Call ``callback(name, config)`` after a cluster was added or changed, with None after its removal."""
        self._on_config.append(callback)

    def has_assignment(self, name: str) -> bool:
        """Tell whether the endpoints of ``name`` have been given once (warming waits for this)."""
        return name in self._assignments

    def balancing(self, name: str) -> tuple[int, float] | None:
        """Overprovisioning in per cent and panic threshold of a cluster, used or not; None for one that does not exist."""
        config = self._configs.get(name)
        if config is None:
            return None
        assignment = self._assignments.get(name, Assignment(name))
        return assignment.overprovisioning_factor, config.healthy_panic_threshold

    def configs(self) -> Iterator[ClusterConfig]:
        """All cluster configurations, in the order in which they came."""
        return iter(list(self._configs.values()))

    def names(self) -> list[str]:
        """Names of all clusters."""
        return list(self._configs)

    def active(self) -> Iterator[Cluster]:
        """Clusters that were used at least once."""
        return iter(list(self._clusters.values()))

    def hosts(self, name: str) -> list[Endpoint]:
        """Endpoints of a cluster for display; those of one that was never used are made for the occasion."""
        cluster = self._clusters.get(name)
        if cluster is not None:
            return list(cluster.endpoints.values())
        assignment = self._assignments.get(name, Assignment(name))
        return [Endpoint(config, locality) for locality in assignment.localities for config in locality.endpoints]

    def __len__(self) -> int:
        return len(self._configs)
