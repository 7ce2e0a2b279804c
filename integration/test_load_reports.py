"""Load reports (LRS), held against a live Envoy: the same requests make the same reports."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.duration_pb2 import Duration

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import ControlPlane, Proxy
from harness.origin import Origin
from harness.ports import free_ports
from test_tracing import cluster

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
REQUESTS = [
    *["/two/echo"] * 4,
    *["/one/echo"] * 3,
    *["/one/status/503"] * 2,
    "/one/status/404",
    *["/full/echo"] * 2,
    *["/refused/"] * 2,
    "/empty/",
]


class LoadService:
    """Asks for these clusters, or for all, and keeps every message that it gets."""

    def __init__(self, *clusters: str) -> None:
        self._messages: list[Any] = []
        self._lock = threading.Lock()
        self._answer = LoadStatsResponse(report_endpoint_granularity=True, send_all_clusters=not clusters)
        self._answer.clusters.extend(clusters)
        self._answer.load_reporting_interval.CopyFrom(Duration(nanos=200_000_000))
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        method = grpc.stream_stream_rpc_method_handler(
            self._stream, LoadStatsRequest.FromString, LoadStatsResponse.SerializeToString
        )
        handler = grpc.method_handlers_generic_handler(SERVICE, {"StreamLoadStats": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _stream(self, messages: Iterator[Any], _context: object) -> Iterator[LoadStatsResponse]:
        asked = False
        try:
            for message in messages:
                with self._lock:
                    self._messages.append(message)
                if not asked:
                    asked = True
                    yield self._answer
        except grpc.RpcError:
            pass

    def messages(self) -> list[Any]:
        with self._lock:
            return list(self._messages)

    def sums(self) -> Counter[tuple[Any, ...]]:
        """Every number of the reports, by where it stands, added up."""
        sums: Counter[tuple[Any, ...]] = Counter()
        for stats in (stats for message in self.messages() for stats in message.cluster_stats):
            sums[stats.cluster_name, "dropped"] += stats.total_dropped_requests
            for place in stats.upstream_locality_stats:
                where = (stats.cluster_name, place.priority, place.locality.region, place.locality.zone)
                _add(sums, where, place)
                for endpoint in place.upstream_endpoint_stats:
                    address = endpoint.address.socket_address
                    _add(sums, (*where, address.address, address.port_value), endpoint)
        return sums

    def stop(self) -> None:
        self._server.stop(None)


def _add(sums: Counter[tuple[Any, ...]], where: tuple[Any, ...], stats: Any) -> None:
    sums[*where, "success"] += stats.total_successful_requests
    sums[*where, "error"] += stats.total_error_requests
    sums[*where, "issued"] += stats.total_issued_requests


def bootstrap(port: int, origins: tuple[Origin, Origin], service: int, node: str = "me") -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    names = ("two", "one", "full", "refused", "empty")
    routes = [{"match": {"prefix": f"/{name}/"}, "route": {"cluster": name, "prefix_rewrite": "/"}} for name in names]
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}],
    }
    first, second = (origin.port for origin in origins)
    two = cluster("two", first)
    two["load_assignment"]["endpoints"] = [
        {"locality": {"region": "r", "zone": zone}, **endpoints(port)} for zone, port in (("a", first), ("b", second))
    ]
    full = {**cluster("full", first), "circuit_breakers": {"thresholds": [{"max_requests": 0}]}}
    empty = cluster("empty", 1)
    del empty["load_assignment"]["endpoints"]
    clusters = [two, cluster("one", second), full, cluster("refused", 1), empty, cluster("unused", first)]
    server = {"envoy_grpc": {"cluster_name": "service"}}
    return {
        "node": {"id": node, "cluster": "us"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "cluster_manager": {
            "load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [server]}
        },
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [*clusters, cluster("service", service, http2=True)],
        },
    }


def endpoints(port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"lb_endpoints": [{"endpoint": {"address": address}}]}


def play(side: Proxy | Envoy, port: int, service: LoadService) -> dict[tuple[Any, ...], int]:
    """All requests, once reports have begun; then what they add up to, without the zeros and the service's own stream."""
    side.wait_ready()
    eventually(lambda: len(service.messages()) > 1, what="a report")
    answered = [fetch(f"127.0.0.1:{port}", path).status for path in REQUESTS]
    assert answered == [200] * 7 + [503, 503, 404] + [503] * 5
    done = len(service.messages())
    # A request counts when its answer has passed, which may be after the client has it: the next report but one has all.
    eventually(lambda: len(service.messages()) > done + 2, what="the reports after the last request")
    return {where: number for where, number in service.sums().items() if number and where[0] != "service"}


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Origin, Origin]]:
    directory = tmp_path_factory.mktemp("origins")
    with Origin("a", "v1", directory) as first, Origin("b", "v1", directory) as second:
        yield first, second


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("named", [("two", "one", "full", "unknown", "unused"), ()], ids=["named", "all"])
def test_reports_are_envoys(named: tuple[str, ...], origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    first = free_ports(2)
    services = LoadService(*named), LoadService(*named)
    try:
        ours = bootstrap(first, origins, services[0].port)
        theirs = bootstrap(first + 1, origins, services[1].port)
        with Proxy(ours, tmp_path) as proxy, Envoy(theirs, tmp_path) as envoy:
            found, expected = play(proxy, first, services[0]), play(envoy, first + 1, services[1])
            assert found == expected
            assert found["full", "dropped"] == 2
            assert ("refused", 0, "", "", "error") in found or named
            for name in ("errors", "retries", "requests"):
                assert proxy.stat(f"load_reporter.{name}") == envoy.stat(f"load_reporter.{name}"), name
        for service in services:
            hello, *reports = service.messages()
            assert (hello.node.id, list(hello.node.client_features)) == ("me", ["envoy.lrs.supports_send_all_clusters"])
            assert not hello.cluster_stats
            names = {stats.cluster_name for report in reports for stats in report.cluster_stats}
            assert names & {*named} == {*named} - {"unknown"}
            assert all(s.load_report_interval.ToNanoseconds() > 0 for report in reports for s in report.cluster_stats)
    finally:
        for service in services:
            service.stop()


def rows(control_plane: ControlPlane, cluster_name: str) -> dict[str, dict[tuple[str, str], tuple[int, int, int]]]:
    """What the control plane shows of a cluster: node -> (zone, address) -> issued, succeeded, failed."""
    found: dict[str, dict[tuple[str, str], tuple[int, int, int]]] = {}
    for row in control_plane.admin(f"/debug/loads?cluster={cluster_name}").json()["endpoints"]:
        numbers = (row["issued"], row["succeeded"], row["failed"])
        found.setdefault(row["node"], {})[row["locality"][1], row["address"]] = numbers
    return found


@pytest.mark.peer("envoy")
def test_the_control_plane_shows_both_alike(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    first = free_ports(2)
    addresses = [f"127.0.0.1:{origin.port}" for origin in origins]
    with ControlPlane("memory:", tmp_path, options=["--load-report-interval-s", "0.3"]) as control_plane:
        service = int(control_plane.grpc_address.rpartition(":")[2])
        ours = bootstrap(first, origins, service, "ours")
        theirs = bootstrap(first + 1, origins, service, "theirs")
        with Proxy(ours, tmp_path) as proxy, Envoy(theirs, tmp_path) as envoy:
            proxy.wait_ready()
            envoy.wait_ready()
            eventually(lambda: control_plane.admin("/debug/loads").json()["reporters"] == 2, what="both streams")
            # Counting begins with the control plane's answer: the first report of both is behind it.
            eventually(lambda: proxy.stat("load_reporter.responses") > 1, what="our report")
            eventually(lambda: envoy.stat("load_reporter.responses") > 1, what="Envoy's report")
            for port in (first, first + 1):
                assert [fetch(f"127.0.0.1:{port}", path).status for path in REQUESTS][:4] == [200] * 4
            one = {("", addresses[1]): (6, 4, 2)}
            two = {("a", addresses[0]): (2, 2, 0), ("b", addresses[1]): (2, 2, 0)}
            for name, expected in (("one", one), ("two", two), ("refused", {("", "127.0.0.1:1"): (0, 0, 2)})):
                eventually(
                    lambda name=name, expected=expected: (  # type: ignore[misc]
                        rows(control_plane, name) == {"ours": expected, "theirs": expected}
                    ),
                    what=f"the same numbers of {name}",
                )
            assert control_plane.admin("/debug/loads").json()["clusters"]["full"]["dropped"] == 4
