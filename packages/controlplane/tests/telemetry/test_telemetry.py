"""Load reports and access logs, over real streams and at their bounds."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats, UpstreamLocalityStats
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.message import Message

from isthmus_controlplane.admin import render
from isthmus_controlplane.telemetry import loads as module
from isthmus_controlplane.telemetry.loads import ClusterLoad, Loads
from isthmus_controlplane.telemetry.services import ALS, LRS, MAX_LOG_NAMES, SEND_ALL, Telemetry
from isthmus_controlplane.xds.server import XdsServer
from isthmus_controlplane.xds.testing import cluster, eventually, snapshot_of


def stats(name: str, *, issued: int = 0, failed: int = 0, dropped: int = 0) -> Message:
    locality = UpstreamLocalityStats(
        total_issued_requests=issued, total_error_requests=failed, total_successful_requests=issued - failed
    )
    message: Message = ClusterStats(
        cluster_name=name, total_dropped_requests=dropped, upstream_locality_stats=[locality]
    )
    return message


def test_reports_add_up_and_clusters_are_bounded() -> None:
    loads = Loads()
    loads.take([stats("a", issued=10, failed=1), stats("b", dropped=2)])
    loads.take([stats("a", issued=5)])
    assert loads.clusters() == {
        "a": ClusterLoad(issued=15, succeeded=14, failed=1, reports=2),
        "b": ClusterLoad(dropped=2, reports=1),
    }
    loads.take([stats(str(number)) for number in range(module.MAX_CLUSTERS)])
    assert (len(loads.clusters()), loads.left_out) == (module.MAX_CLUSTERS, 2)


def test_names_of_logs_are_bounded() -> None:
    telemetry = Telemetry()
    for number in range(MAX_LOG_NAMES + 5):
        telemetry._count(f"log-{number:03}", "http", 2)
    assert len(telemetry.log_entries) == MAX_LOG_NAMES + 1
    assert telemetry.log_entries["other", "http"] == 10


@pytest.mark.asyncio
async def test_clients_are_asked_for_reports_and_their_logs_are_counted() -> None:
    def publish(scope: Any) -> None:
        server.publish(scope, snapshot_of(cluster("x"), cluster("y")), "start")

    server = XdsServer("127.0.0.1:0", on_scope_needed=publish)
    channel: Any = grpc.aio.insecure_channel(await server.start())
    convert = {
        "request_serializer": LoadStatsRequest.SerializeToString,
        "response_deserializer": LoadStatsResponse.FromString,
    }
    call = channel.stream_stream(f"/{LRS}/StreamLoadStats", **convert)()
    await call.write(LoadStatsRequest(node=Node(id="n", client_features=[SEND_ALL])))
    asked = await call.read()
    assert (asked.send_all_clusters, asked.load_reporting_interval.seconds) == (True, 10)
    assert asked.report_endpoint_granularity
    await call.write(LoadStatsRequest(cluster_stats=[stats("x", issued=3)]))
    await eventually(lambda: "x" in server.telemetry.loads.clusters())
    assert server.telemetry.loads.reporters == 1
    old = channel.stream_stream(f"/{LRS}/StreamLoadStats", **convert)()
    await old.write(LoadStatsRequest(node=Node(id="old")))
    assert list((await old.read()).clusters) == []  # nobody of its scope is connected
    for stream in (call, old):
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
    assert server.telemetry.loads.reporters == 0
    logs = channel.stream_unary(
        f"/{ALS}/StreamAccessLogs",
        request_serializer=StreamAccessLogsMessage.SerializeToString,
        response_deserializer=StreamAccessLogsResponse.FromString,
    )()
    first = StreamAccessLogsMessage(http_logs={"log_entry": [HTTPAccessLogEntry()] * 3})
    first.identifier.log_name = "edge"
    await logs.write(first)
    await logs.write(StreamAccessLogsMessage(tcp_logs={"log_entry": [TCPAccessLogEntry()]}))
    await logs.done_writing()
    await logs
    shown = render.telemetry(server.telemetry)
    assert shown["access_logs"] == [
        {"name": "edge", "kind": "http", "entries": 3},
        {"name": "edge", "kind": "tcp", "entries": 1},
    ]
    assert shown["clusters"]["x"]["issued"] == 3
    [endpoint] = render.endpoint_loads(server.telemetry, "", "x", 600)
    assert (endpoint["node"], endpoint["issued"]) == ("n", 3)
    assert render.endpoint_loads(server.telemetry, "web.shop", "", 600) == []
    assert "isthmus_xds_log_entries 4" in server.metrics_text()
    await channel.close(None)
    await server.stop(0)
