"""Counting upstream responses, and failures that stand for one, for cluster and endpoint."""

from __future__ import annotations

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.observe.stats import Counter

_CLASSES = tuple(f"upstream_rq_{digit}xx" for digit in (5, 1, 2, 3, 4, 5))


def charge(cluster: Cluster, endpoint: Endpoint | None, status: int) -> None:
    """Count ``status``. What is beyond 599 counts as a server error."""
    stats = cluster.stats
    stats.upstream_rq_completed.value += 1
    by_class: Counter = getattr(stats, _CLASSES[status // 100 if status < 600 else 0])
    by_class.value += 1
    stats.code(status).value += 1
    if endpoint is None:
        return
    if status >= 500:
        endpoint.rq_error += 1
    else:
        endpoint.rq_success += 1
