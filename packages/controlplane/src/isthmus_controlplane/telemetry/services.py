"""The gRPC side of load reports and access logs."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.duration_pb2 import Duration

from isthmus_controlplane.telemetry.loads import Loads

LRS = "envoy.service.load_stats.v3.LoadReportingService"
ALS = "envoy.service.accesslog.v3.AccessLogService"
SEND_ALL = "envoy.lrs.supports_send_all_clusters"
DEFAULT_INTERVAL_S = 10.0
MAX_LOG_NAMES = 100  # clients choose them; more share one

ClustersOf = Callable[[Any], Iterable[str]]


class Telemetry:
    """Collects what clients report.

    Attributes:
        loads: sums of the load reports.
        log_entries: access log entries by (name of the log, ``http`` or ``tcp``).
        interval: seconds between the load reports that clients are asked for.
    """

    def __init__(self, interval: float = DEFAULT_INTERVAL_S) -> None:
        self.interval = interval
        self.loads = Loads()
        self.log_entries: collections.Counter[tuple[str, str]] = collections.Counter()

    def handlers(self, clusters_of: ClustersOf) -> dict[str, dict[str, Any]]:
        """Return the methods by service.

        Args:
            clusters_of: names the clusters of a node, for clients that cannot be asked for all.
        """

        async def load_stats(_requests: object, context: Any) -> None:
            await self._load_stats(context, clusters_of)

        async def access_logs(_requests: object, context: Any) -> bytes:
            return await self._access_logs(context)

        behaviours: Any = (load_stats, access_logs)
        return {
            LRS: {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(behaviours[0])},
            ALS: {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(behaviours[1])},
        }

    async def _load_stats(self, context: Any, clusters_of: ClustersOf) -> None:
        """Ask for reports in the first answer, then add up what comes."""
        raw = await context.read()
        if not isinstance(raw, bytes):
            return
        request = LoadStatsRequest.FromString(raw)
        wanted = LoadStatsResponse(report_endpoint_granularity=True)
        wanted.load_reporting_interval.CopyFrom(_duration(self.interval))
        node = request.node.id
        if SEND_ALL in request.node.client_features:
            wanted.send_all_clusters = True
        else:
            wanted.clusters.extend(clusters_of(request.node))
        self.loads.reporters += 1
        try:
            self.loads.take(request.cluster_stats, node)
            await context.write(wanted.SerializeToString())
            while isinstance(raw := await context.read(), bytes):
                self.loads.take(LoadStatsRequest.FromString(raw).cluster_stats, node)
        finally:
            self.loads.reporters -= 1

    async def _access_logs(self, context: Any) -> bytes:
        """Count entries; the name of the log stands in the first message of a stream only."""
        name = ""
        while isinstance(raw := await context.read(), bytes):
            message = StreamAccessLogsMessage.FromString(raw)
            name = message.identifier.log_name or name
            self._count(name, "http", len(message.http_logs.log_entry))
            self._count(name, "tcp", len(message.tcp_logs.log_entry))
        return bytes(StreamAccessLogsResponse().SerializeToString())

    def _count(self, name: str, kind: str, entries: int) -> None:
        if entries:
            known = (name, kind) in self.log_entries or len(self.log_entries) < MAX_LOG_NAMES
            self.log_entries[(name if known else "other", kind)] += entries


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
