"""Load reports of the last minutes, by cluster, locality and endpoint address, and by the node that reported. No I/O.

A sample is what one report said of one endpoint. All samples lie in one queue, so that they leave it as they came, and in one
per cluster, where they are looked for.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

WINDOW_S = 600.0
MAX_SAMPLES = 100_000  # some 25 MB; the oldest leave first, and are counted


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Place:
    """Whose load it is, and who says so.

    Attributes:
        cluster: name of the cluster.
        priority: of the locality.
        locality: region, zone and sub-zone.
        address: ``HOST:PORT``; empty for a locality whose endpoints were not told apart.
        node: id of the node that reported.
    """

    cluster: str
    priority: int
    locality: tuple[str, str, str]
    address: str
    node: str


@dataclasses.dataclass(slots=True)
class EndpointLoad:
    """Requests to one endpoint, as one node reported them.

    Attributes:
        issued: requests begun.
        succeeded: requests that ended well.
        failed: requests that ended in an error.
        reports: reports that named the endpoint.
    """

    issued: int = 0
    succeeded: int = 0
    failed: int = 0
    reports: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    place: Place
    began: float
    ended: float
    issued: int
    succeeded: int
    failed: int


class LoadWindow:
    """The samples of the last `WINDOW_S` seconds.

    Attributes:
        dropped: samples that had to leave before their time, since there were too many.
    """

    def __init__(self, now: Callable[[], float], max_samples: int = MAX_SAMPLES) -> None:
        """Prepare.

        Args:
            now: seconds of a clock that never goes back.
            max_samples: how many are kept at most.
        """
        self.dropped = 0
        self._now = now
        self._max = max_samples
        self._order: collections.deque[str] = collections.deque()
        self._clusters: dict[str, collections.deque[_Sample]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def add(self, node: str, stats: Any) -> None:
        """Take the ``ClusterStats`` of one report."""
        now = self._now()
        self._expire(now)
        began = now - stats.load_report_interval.ToNanoseconds() / 1e9
        for place, load in _loads(node, stats):
            if len(self._order) >= self._max:
                self._drop_oldest()
                self.dropped += 1
            sample = _Sample(
                place, began, now, load.total_issued_requests, load.total_successful_requests, load.total_error_requests
            )
            self._clusters.setdefault(place.cluster, collections.deque()).append(sample)
            self._order.append(place.cluster)

    def sums(self, wanted: Callable[[str], bool], seconds: float = WINDOW_S) -> dict[Place, EndpointLoad]:
        """Add up the reports of clusters whose name is ``wanted``, as far as they are of the last ``seconds`` and of nothing before."""
        now = self._now()
        self._expire(now)
        sums: dict[Place, EndpointLoad] = {}
        for name, samples in self._clusters.items():
            if not wanted(name):
                continue
            for sample in samples:
                if sample.began >= now - seconds:
                    load = sums.setdefault(sample.place, EndpointLoad())
                    load.issued += sample.issued
                    load.succeeded += sample.succeeded
                    load.failed += sample.failed
                    load.reports += 1
        return dict(sorted(sums.items()))

    def _expire(self, now: float) -> None:
        while self._order and self._clusters[self._order[0]][0].ended < now - WINDOW_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        name = self._order.popleft()
        samples = self._clusters[name]
        samples.popleft()
        if not samples:
            del self._clusters[name]


def host_of(cluster: str) -> str:
    """The service's host in the name of an outbound cluster (``outbound|PORT|SUBSET|HOST``); empty for any other."""
    parts = cluster.split("|")
    return parts[3] if len(parts) == 4 and parts[0] == "outbound" else ""


def _loads(node: str, stats: Any) -> Iterator[tuple[Place, Any]]:
    """What a report says of each endpoint, or of a locality where it does not tell endpoints apart."""
    for locality in stats.upstream_locality_stats:
        where = (locality.locality.region, locality.locality.zone, locality.locality.sub_zone)
        if not locality.upstream_endpoint_stats:
            yield Place(stats.cluster_name, locality.priority, where, "", node), locality
        for endpoint in locality.upstream_endpoint_stats:
            yield Place(stats.cluster_name, locality.priority, where, _text(endpoint.address), node), endpoint


def _text(address: Any) -> str:
    socket = address.socket_address
    host = f"[{socket.address}]" if ":" in socket.address else socket.address
    return f"{host}:{socket.port_value}" if host else str(address.pipe.path)
