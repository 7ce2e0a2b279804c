"""Counting upstream responses, and failures that stand for one, for cluster and endpoint."""

from __future__ import annotations

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.local_reply import is_grpc
from isthmus_proxy.route.request_groups import Groups


def charge(cluster: Cluster, endpoint: Endpoint | None, status: int, groups: Groups = ()) -> None:
    """Count ``status``, whether it was answered or stands for a failure. What is beyond 599 counts as a server error."""
    stats = cluster.stats
    stats.upstream_rq_completed.value += 1
    stats.classes[status // 100 if status < 600 else 0].value += 1
    stats.code(status).value += 1
    for group in groups:
        group.charge(status)
    _count(endpoint, status)


def charge_retried(cluster: Cluster, endpoint: Endpoint | None, status: int) -> None:
    """Count a response that nobody gets to see, because the request is tried again."""
    counter = cluster.stats.scope.counter
    known = status if 100 <= status <= 599 else "unknown"
    for name in (known, f"{min(status // 100, 5)}xx", "completed"):
        counter(f"retry.upstream_rq_{name}").value += 1
    _count(endpoint, status)


def _count(endpoint: Endpoint | None, status: int) -> None:
    if endpoint is None:
        return
    if status >= 500:
        endpoint.rq_error += 1
    else:
        endpoint.rq_success += 1


def outcome(response: ParsedResponse) -> int:
    """What outlier detection takes for the status: that of the gRPC status where a gRPC response has one in its head."""
    grpc = None
    for name, value in response.headers:
        if name == b"content-type" and not is_grpc(value):
            return response.status
        if name == b"grpc-status":
            grpc = _HTTP_STATUS.get(value, 500)
    return response.status if grpc is None else grpc


_HTTP_STATUS = {
    b"0": 200, b"1": 499, b"3": 400, b"4": 504, b"5": 404, b"6": 409, b"7": 403, b"8": 429, b"9": 400, b"10": 409,
    b"11": 400, b"12": 501, b"14": 503, b"16": 401,
}  # fmt: skip
