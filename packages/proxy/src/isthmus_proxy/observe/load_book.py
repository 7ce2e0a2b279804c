"""What a load reporting service is told: counts of clusters since the last report (``config.endpoint.v3.ClusterStats``). No I/O.

The data path does nothing for it: endpoints count their requests anyway, and a report takes the differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats, UpstreamLocalityStats

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.endpoint import Endpoint

MAX_LEFT = 1000
"""Endpoints of one cluster that left it and are still to be reported; the latest are kept."""

Counts = tuple[int, int, int]
"""Requests that ended well, in an error, and that were begun, since the endpoint is there."""

_NONE: Counts = (0, 0, 0)


class LoadBook:
    """Knows which clusters are reported, and what of them was reported already.

    ``left_out`` counts endpoints whose last requests are not reported, since too many left at once.
    """

    def __init__(self, clusters: ClusterManager) -> None:
        self._clusters = clusters
        self._tracked: dict[str, _Tracked] = {}
        self._all = False
        self._latest = 0.0
        self.left_out = 0
        clusters.on_endpoints_removed(self._endpoints_left)

    def track(self, names: Iterable[str] | None, now: float) -> None:
        """Report these clusters, None for all, from ``now`` on; of those that are reported already nothing is lost."""
        self._all = names is None
        self._latest = now
        wanted = self._in_use() if names is None else dict.fromkeys(names)
        self._tracked = {name: self._tracked.get(name) or self._begin(name, now) for name in wanted}

    def report(self, now: float, *, by_endpoint: bool) -> list[Any]:
        """The loads since the last report, one ClusterStats a cluster; ``by_endpoint`` adds those of each address."""
        if self._all:
            # One that was built since the last report has told nothing yet.
            self._tracked = {name: self._tracked.get(name) or _Tracked(self._latest) for name in self._in_use()}
        self._latest = now
        known = set(self._clusters.names())
        tracked = [(name, each) for name, each in self._tracked.items() if name in known]
        return [each.report(name, self._clusters.in_use(name), now, by_endpoint) for name, each in tracked]

    def _in_use(self) -> list[str]:
        # A proxy may know thousands of clusters that it never uses. They have no load.
        return [cluster.name for cluster in self._clusters.active()]

    def _begin(self, name: str, now: float) -> _Tracked:
        tracked = _Tracked(now)
        cluster = self._clusters.in_use(name)
        if cluster is not None:
            tracked.latch(cluster)
        return tracked

    def _endpoints_left(self, cluster: Cluster, gone: list[Endpoint]) -> None:
        tracked = self._tracked.get(cluster.name)
        if tracked is not None:
            tracked.left += gone
            surplus = max(len(tracked.left) - MAX_LEFT, 0)
            del tracked.left[:surplus]
            self.left_out += surplus


class _Tracked:
    """One reported cluster: since when, and the counts that were reported. ``left``: endpoints with something left to tell."""

    __slots__ = ("_cluster", "_dropped", "_reported", "_since", "left")

    def __init__(self, now: float) -> None:
        self._since = now
        self._cluster: Cluster | None = None
        self._dropped = 0
        self._reported: dict[Endpoint, Counts] = {}
        self.left: list[Endpoint] = []

    def latch(self, cluster: Cluster) -> None:
        """What ``cluster`` has counted up to now is past."""
        self._cluster = cluster
        self._dropped = _dropped(cluster)
        self._reported = {each: _counts(each) for each in cluster.endpoints.values()}

    def report(self, name: str, cluster: Cluster | None, now: float, by_endpoint: bool) -> Any:
        """The counts since the last report, which become reported ones; ``cluster`` is None if it was never used."""
        stats: Any = ClusterStats(cluster_name=name)
        if cluster is not None:
            stats.cluster_service_name = cluster.config.eds_service_name
            self._fill(stats, cluster, by_endpoint)
        stats.load_report_interval.FromNanoseconds(max(int((now - self._since) * 1e9), 0))
        self._since = now
        return stats

    def _fill(self, stats: Any, cluster: Cluster, by_endpoint: bool) -> None:
        if cluster is not self._cluster:
            if self._cluster is not None:  # removed and added again
                self._dropped, self._reported, self.left = 0, {}, []
            self._cluster = cluster
        dropped = _dropped(cluster)
        stats.total_dropped_requests = dropped - self._dropped
        self._dropped = dropped
        endpoints = [*cluster.endpoints.values(), *self.left]
        places: dict[tuple[int, tuple[str, str, str]], Any] = {}
        for endpoint, change in self._changes(endpoints):
            place = places.get((endpoint.priority, endpoint.locality))
            if place is None:
                place = _place(stats, endpoint)
                places[endpoint.priority, endpoint.locality] = place
            _add(place, change, endpoint.rq_active)
            if by_endpoint:
                _add_endpoint(place, endpoint, change)
        self.left = [each for each in self.left if each.rq_active]

    def _changes(self, endpoints: list[Endpoint]) -> Iterator[tuple[Endpoint, Counts]]:
        """Endpoints with requests since the last report, or in progress."""
        before, self._reported = self._reported, {}
        for endpoint in endpoints:
            counts = _counts(endpoint)
            if counts == _NONE and not endpoint.rq_active:
                continue
            success, error, issued = before.get(endpoint, _NONE)
            self._reported[endpoint] = counts
            change = counts[0] - success, counts[1] - error, counts[2] - issued
            if change != _NONE or endpoint.rq_active:
                yield endpoint, change


def _counts(endpoint: Endpoint) -> Counts:
    return endpoint.rq_success, endpoint.rq_error, endpoint.rq_total


def _dropped(cluster: Cluster) -> int:
    """Requests that a circuit breaker did not let through."""
    stats = cluster.stats
    return stats.upstream_rq_pending_overflow.value + stats.upstream_rq_active_overflow.value


def _place(stats: Any, endpoint: Endpoint) -> UpstreamLocalityStats:
    place: Any = stats.upstream_locality_stats.add()
    place.priority = endpoint.priority
    place.locality.region, place.locality.zone, place.locality.sub_zone = endpoint.locality
    return place


def _add(place: Any, change: Counts, active: int) -> None:
    success, error, issued = change
    place.total_successful_requests += success
    place.total_error_requests += error
    place.total_issued_requests += issued
    place.total_requests_in_progress += active


def _add_endpoint(place: Any, endpoint: Endpoint, change: Counts) -> None:
    stats = place.upstream_endpoint_stats.add()
    address = stats.address.socket_address
    address.address, address.port_value = endpoint.address
    _add(stats, change, endpoint.rq_active)
