"""Access logs to a log service over gRPC, held against a live Envoy: the same requests make the same entries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.json_format import MessageToDict

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_ports
from test_tracing import cluster

REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/echo?x=1", {"referer": "http://r/", "x-tag": "1", "x-forwarded-for": "1.2.3.4"}),
    ("POST", "/status/404", {}),
    ("GET", "/none", {}),
    ("GET", "/down", {}),
    ("GET", "/moved/echo", {}),
]


class LogService:
    """Keeps every message that it gets."""

    def __init__(self) -> None:
        self.messages: list[StreamAccessLogsMessage] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        method = grpc.stream_unary_rpc_method_handler(
            self._stream, StreamAccessLogsMessage.FromString, StreamAccessLogsResponse.SerializeToString
        )
        service = "envoy.service.accesslog.v3.AccessLogService"
        handler = grpc.method_handlers_generic_handler(service, {"StreamAccessLogs": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _stream(self, messages: Iterator[StreamAccessLogsMessage], _context: object) -> StreamAccessLogsResponse:
        try:
            for message in messages:
                with self._lock:
                    self.messages.append(message)
        except grpc.RpcError:
            pass
        return StreamAccessLogsResponse()

    def entries(self) -> list[Any]:
        with self._lock:
            return [entry for message in self.messages for entry in message.http_logs.log_entry]

    def stop(self) -> None:
        self._server.stop(None)


def bootstrap(port: int, origin: int, service: int) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    log = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "shop",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "service"}},
            "buffer_flush_interval": "0.2s",
        },
        "additional_request_headers_to_log": ["X-Tag", "x-none"],
        "additional_response_headers_to_log": ["server"],
    }
    routes = [
        {"match": {"prefix": "/none"}, "direct_response": {"status": 418, "body": {"inline_string": "teapot"}}},
        {"match": {"prefix": "/down"}, "route": {"cluster": "down"}, "name": "down-route"},
        {"match": {"prefix": "/moved/"}, "route": {"cluster": "origin", "prefix_rewrite": "/"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "origin"}},
    ]
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}],
        "access_log": [{"name": "log", "typed_config": log}],
    }
    down = cluster("down", 1)
    del down["load_assignment"]["endpoints"]
    return {
        "node": {"id": "me", "cluster": "us"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [cluster("origin", origin), down, cluster("service", service, http2=True)],
        },
    }


VARYING = {
    "start_time",
    "duration",
    "stream_id",
    "request_id",
    # Ports of clients, and what is measured at places where this proxy does not measure.
    "downstream_wire_bytes_sent",
    "downstream_wire_bytes_received",
    "upstream_wire_bytes_sent",
    "upstream_wire_bytes_received",
    "upstream_header_bytes_sent",
    "upstream_header_bytes_received",
    "downstream_header_bytes_sent",
    "downstream_header_bytes_received",
    "request_headers_bytes",
    "response_headers_bytes",
    "upstream_local_address",
    "response_body_bytes",
}


def comparable(value: Any, port: int) -> Any:
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name not in VARYING and not name.startswith("time_to_")}
        return {name: comparable(each, port) for name, each in kept.items()}
    if value == port:
        return "its port"
    return "a client's port" if isinstance(value, int) and value > 32767 else value


def play(kind: type[Proxy | Envoy], origin: Origin, directory: Path) -> tuple[list[Any], list[set[str]]]:
    service, port = LogService(), free_ports(1)
    try:
        with kind(bootstrap(port, origin.port, service.port), directory) as side:
            side.wait_ready()
            for method, path, headers in REQUESTS:
                fetch(f"127.0.0.1:{port}", path, method=method, headers={"host": "shop", "user-agent": "ua", **headers})
            eventually(lambda: len(service.entries()) == len(REQUESTS))
            assert service.messages[0].identifier.log_name == "shop"
            assert service.messages[0].identifier.node.id == "me"
            eventually(lambda: side.stat("access_logs.grpc_access_log.logs_written") == len(REQUESTS))
            assert side.stat("access_logs.grpc_access_log.logs_dropped") == 0
        found = [MessageToDict(entry, preserving_proto_field_name=True) for entry in service.entries()]
        times = [{name for name in one["common_properties"] if name.startswith("time_to_")} for one in found]
        return [comparable(one, port) for one in found], times
    finally:
        service.stop()


@pytest.mark.peer("envoy")
def test_entries_are_envoys(tmp_path: Path) -> None:
    with Origin("origin", "v1", tmp_path) as origin:
        found, times = play(Proxy, origin, tmp_path)
        expected, envoys_times = play(Envoy, origin, tmp_path)
    for request, ours, theirs in zip(REQUESTS, found, expected, strict=True):
        assert ours == theirs, (request, json.dumps(ours), json.dumps(theirs))
    # The upstream's side is not timed byte by byte here.
    for ours_timed, theirs_timed in zip(times, envoys_times, strict=True):
        assert ours_timed <= theirs_timed


def test_what_a_service_that_is_away_does_not_get_is_counted(tmp_path: Path) -> None:
    service = LogService()
    gone = service.port
    service.stop()
    port = free_ports(1)
    with Origin("origin", "v1", tmp_path) as origin, Proxy(bootstrap(port, origin.port, gone), tmp_path) as proxy:
        proxy.wait_ready()
        assert fetch(f"127.0.0.1:{port}", "/echo").status == 200
        eventually(lambda: proxy.stat("access_logs.grpc_access_log.logs_dropped") == 1)
