"""Load reports of clients: added up per cluster since the start, and by endpoint over the last minutes. No I/O."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from isthmus_controlplane.telemetry.load_window import LoadWindow

MAX_CLUSTERS = 10_000  # clients name them; more are counted and left out


@dataclasses.dataclass(slots=True)
class ClusterLoad:
    """What clients reported of one cluster since the start (``UpstreamLocalityStats``, ``ClusterStats``).

    Attributes:
        issued: requests begun.
        succeeded: requests that ended well.
        failed: requests that ended in an error.
        dropped: requests that were dropped on purpose.
        reports: reports that named the cluster.
    """

    issued: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = 0
    reports: int = 0


class Loads:
    """Sums by cluster.

    Attributes:
        reporters: streams open now.
        left_out: cluster reports that found no room.
        window: the reports of the last minutes, by endpoint.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.reporters = 0
        self.left_out = 0
        self.window = LoadWindow(now)
        self._clusters: dict[str, ClusterLoad] = {}

    def take(self, cluster_stats: Any, node: str = "") -> None:
        """Add the ``cluster_stats`` of one ``LoadStatsRequest`` of ``node``."""
        for stats in cluster_stats:
            load = self._clusters.get(stats.cluster_name)
            if load is None:
                if len(self._clusters) >= MAX_CLUSTERS:
                    self.left_out += 1
                    continue
                load = self._clusters[stats.cluster_name] = ClusterLoad()
            load.reports += 1
            load.dropped += stats.total_dropped_requests
            for locality in stats.upstream_locality_stats:
                load.issued += locality.total_issued_requests
                load.succeeded += locality.total_successful_requests
                load.failed += locality.total_error_requests
            self.window.add(node, stats)

    def clusters(self) -> dict[str, ClusterLoad]:
        """Return the sums by cluster, sorted."""
        return dict(sorted(self._clusters.items()))
