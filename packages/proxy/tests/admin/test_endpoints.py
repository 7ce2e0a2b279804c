from __future__ import annotations

import json
import logging
import random
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate

from isthmus_proxy.admin import clusters as clusters_endpoint
from isthmus_proxy.admin import config_dump, orders, stats_endpoint
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.lifecycle import DrainOrder, Lifecycle, ServerState
from isthmus_proxy.admin.redact import redacted
from isthmus_proxy.admin.response import AdminRequest, Endpoint
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.listener.listener_manager import ListenerRow
from isthmus_proxy.listener.model import SocketAddress
from isthmus_proxy.observe.stats import StatsStore


def ask(endpoints: tuple[Endpoint, ...], target: str, method: str = "GET") -> tuple[int, str]:
    response = Dispatcher(endpoints).respond(AdminRequest.from_target(method.encode(), target.encode()))
    return response.status, "".join(response.body)


def order_endpoints(lifecycle: Lifecycle) -> tuple[Endpoint, ...]:
    rows = [
        ListenerRow("l1", SocketAddress("127.0.0.1", 80), (), False, 0),
        ListenerRow("l2", SocketAddress("::1", 81), (), False, 2),
    ]
    facts = orders.ServerFacts("isthmus-proxy/0", {"concurrency": 1}, {"id": "me"}, lambda: 61.9)
    return orders.endpoints(lifecycle, facts, lambda: rows, lambda: None)


def test_ready_follows_the_state() -> None:
    lifecycle = Lifecycle()
    ready = [False, False]
    lifecycle.clusters_ready, lifecycle.listeners_ready = lambda: ready[0], lambda: ready[1]
    endpoints = order_endpoints(lifecycle)
    assert ask(endpoints, "/ready") == (503, "PRE_INITIALIZING\n")
    ready[0] = lifecycle.started = True
    assert ask(endpoints, "/ready") == (503, "INITIALIZING\n")
    ready[1] = True
    assert ask(endpoints, "/ready") == (200, "LIVE\n")
    lifecycle.draining = True
    assert ask(endpoints, "/ready") == (503, "DRAINING\n")


def test_failing_health_checks_is_an_order_that_can_be_taken_back() -> None:
    lifecycle = Lifecycle()
    lifecycle.started = True
    told: list[bool] = []
    lifecycle.on_health = told.append
    endpoints = order_endpoints(lifecycle)
    assert ask(endpoints, "/healthcheck/fail") == (405, "Method GET not allowed, POST required.")
    assert ask(endpoints, "/healthcheck/fail", "POST") == (200, "OK\n")
    states = [lifecycle.state]
    assert ask(endpoints, "/healthcheck/ok", "POST") == (200, "OK\n")
    states.append(lifecycle.state)
    assert states == [ServerState.DRAINING, ServerState.LIVE]
    assert told == [True, False]


def test_orders_reach_their_callbacks() -> None:
    lifecycle = Lifecycle()
    given: list[str] = []
    endpoints = order_endpoints(lifecycle)
    # Set after the endpoints were made, as the composition root does.
    lifecycle.on_drain = lambda order: given.append(str(order))
    lifecycle.on_quit = lambda: given.append("quit")
    for query in ("", "?graceful", "?skip_exit", "?inboundonly&graceful"):
        assert ask(endpoints, f"/drain_listeners{query}", "POST") == (200, "OK\n")
    ask(endpoints, "/quitquitquit", "POST")
    orders = (
        DrainOrder(),
        DrainOrder(graceful=True),
        DrainOrder(keep_listening=True),
        DrainOrder(graceful=True, inbound_only=True),
    )
    assert given == [*map(str, orders), "quit"]


def test_listeners_in_text_and_json() -> None:
    endpoints = order_endpoints(Lifecycle())
    assert ask(endpoints, "/listeners") == (200, "l1::127.0.0.1:80\nl2::[::1]:81\n")
    shown = json.loads(ask(endpoints, "/listeners?format=json")[1])
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 80}}
    assert shown["listener_statuses"][0] == {"name": "l1", "local_address": address}


def test_server_info() -> None:
    shown = json.loads(ask(order_endpoints(Lifecycle()), "/server_info")[1])
    assert (shown["version"], shown["state"], shown["uptime_all_epochs"]) == ("isthmus-proxy/0", "INITIALIZING", "61s")


def test_log_levels_change_at_once_and_bad_ones_change_nothing() -> None:
    name = "isthmus_proxy.test_levels"
    logger = logging.getLogger(name)
    endpoints = order_endpoints(Lifecycle())
    status, body = ask(endpoints, f"/logging?{name}=error", "POST")
    assert (status, f"  {name}: error\n" in body, logger.level) == (200, True, logging.ERROR)
    status, body = ask(endpoints, f"/logging?paths={name}:debug,nobody:info", "POST")
    assert (status, body.startswith("error: unknown logger name"), logger.level) == (400, True, logging.ERROR)
    status, body = ask(endpoints, "/logging?level=nope", "POST")
    assert (status, body.startswith("error: unknown logger level")) == (400, True)
    logger.setLevel(logging.NOTSET)


def test_stats_endpoint_filters_and_formats() -> None:
    store = StatsStore()
    scope = store.scope("cluster.web")
    gauge = scope.gauge("refreshed")

    def refresh() -> None:
        gauge.value += 1

    scope.counter("upstream_rq_total")
    endpoints = stats_endpoint.endpoints(store, refresh)
    assert ask(endpoints, "/stats") == (200, "cluster.web.refreshed: 1\ncluster.web.upstream_rq_total: 0\n")
    assert ask(endpoints, "/stats?usedonly") == (200, "cluster.web.refreshed: 2\n")
    assert ask(endpoints, "/stats?filter=rq_t") == (200, "cluster.web.upstream_rq_total: 0\n")
    assert json.loads(ask(endpoints, "/stats?format=json&filter=refreshed")[1]) == {
        "stats": [{"name": "cluster.web.refreshed", "value": 4}]
    }
    family = '# TYPE envoy_cluster_refreshed gauge\nenvoy_cluster_refreshed{envoy_cluster_name="web"} '
    assert ask(endpoints, "/stats/prometheus?filter=refreshed") == (200, family + "5\n")
    assert ask(endpoints, "/stats?format=prometheus&filter=refreshed") == (200, family + "6\n")
    assert ask(endpoints, "/stats?format=nope") == (400, "usage: /stats?format=(json|prometheus|text)\n\n")
    assert ask(endpoints, "/stats?filter=*(")[0] == 400


def web_clusters() -> ClusterManager:
    store = StatsStore()
    clusters = ClusterManager(lambda name: store.scope(f"cluster.{name}"), random.Random(1).random, lambda: 0.0)
    hosts = (
        EndpointConfig("127.0.0.1", 80, weight=3, hostname="one"),
        EndpointConfig("::1", 81, health="UNHEALTHY"),
    )
    clusters.add_or_update(ClusterConfig("web", "EDS", eds_service_name="web-eds"))
    clusters.update_assignment("web", Assignment("web", (LocalityEndpoints(hosts, region="r", zone="z"),)))
    clusters.add_or_update(ClusterConfig("file", "STATIC"))
    return clusters


def test_clusters_as_text() -> None:
    status, body = ask(clusters_endpoint.endpoints(web_clusters(), {"file"}.__contains__), "/clusters")
    lines = body.splitlines()
    assert status == 200
    assert lines[:2] == ["web::observability_name::web", "web::default_priority::max_connections::1024"]
    for line in (
        "web::added_via_api::true",
        "file::added_via_api::false",
        "web::127.0.0.1:80::rq_total::0",
        "web::127.0.0.1:80::hostname::one",
        "web::127.0.0.1:80::weight::3",
        "web::127.0.0.1:80::health_flags::healthy",
        "web::[::1]:81::health_flags::/failed_eds_health",
        "web::127.0.0.1:80::region::r",
        "web::127.0.0.1:80::success_rate::-1",
    ):
        assert line in lines


def test_clusters_as_json() -> None:
    clusters = web_clusters()
    assert clusters.get("web") is not None, "one that is in use reads the same"
    endpoints = clusters_endpoint.endpoints(clusters, {"file"}.__contains__)
    shown = json.loads(ask(endpoints, "/clusters?format=json")[1])
    web, file = shown["cluster_statuses"]
    assert (web["name"], web["added_via_api"], web["eds_service_name"]) == ("web", True, "web-eds")
    assert "added_via_api" not in file
    first, second = web["host_statuses"]
    assert first["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 80}}
    assert (first["weight"], first["locality"]) == (3, {"region": "r", "zone": "z"})
    assert second["health_status"] == {"eds_health_status": "UNHEALTHY"}
    assert json.loads(ask(endpoints, "/clusters?format=json&filter=^f")[1])["cluster_statuses"] == [file]
    assert ask(endpoints, "/clusters?filter=*(")[0] == 400


def dump(dynamic: dict[str, list[config_dump.DynamicResource]], target: str = "/config_dump") -> dict[str, Any]:
    bootstrap = Bootstrap()
    bootstrap.node.id = "me"
    source = config_dump.DumpSource(
        1_795_460_828.25,
        bootstrap=lambda: bootstrap,
        static_clusters=lambda: [Cluster(name="file")],
        static_listeners=list,
        static_routes=list,
        dynamic=lambda kind: dynamic.get(kind, []),
        version=lambda kind: f"{kind}-version",
    )
    configs = json.loads(ask(config_dump.endpoints(source), target)[1])["configs"]
    return {config.pop("@type").rpartition(".")[2]: config for config in configs}


def test_config_dump_has_envoys_sections_and_states() -> None:
    resources = [
        config_dump.DynamicResource("a", "1", Cluster(name="a"), 1_795_460_828.0),
        config_dump.DynamicResource("b", "1", Cluster(name="b"), 1_795_460_828.0, "warming"),
        config_dump.DynamicResource("c", "1", Cluster(name="c"), 1.0, "active", "field: no", 2.0, "2"),
        config_dump.DynamicResource("d", "", None, 0.0, "active", "field: never", 2.0, "2"),
    ]
    shown = dump({"cds": resources})
    assert list(shown) == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    assert shown["BootstrapConfigDump"]["bootstrap"] == {"node": {"id": "me"}}
    clusters = shown["ClustersConfigDump"]
    assert clusters["version_info"] == "cds-version"
    updated = "2026-11-23T19:07:08.250Z"
    assert clusters["static_clusters"] == [
        {
            "cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "file"},
            "last_updated": updated,
        }
    ]
    active = clusters["dynamic_active_clusters"]
    assert [entry.get("cluster", {}).get("name") for entry in active] == ["a", "c", None]
    assert active[1]["error_state"]["details"] == "c: field: no"
    assert (active[1]["version_info"], active[1]["error_state"]["version_info"]) == ("1", "2")
    assert active[2]["client_status"] == "NACKED"
    assert [entry["cluster"]["name"] for entry in clusters["dynamic_warming_clusters"]] == ["b"]


def test_config_dump_shows_endpoints_on_request() -> None:
    resource = config_dump.DynamicResource("a", "1", Cluster(name="a"), 1.0)
    assert "EndpointsConfigDump" not in dump({"eds": [resource]})
    shown = dump({"eds": [resource]}, "/config_dump?include_eds")
    assert len(shown["EndpointsConfigDump"]["dynamic_endpoint_configs"]) == 1


def test_secrets_are_redacted_at_any_depth() -> None:
    certificate = TlsCertificate()
    certificate.private_key.inline_string = "very secret"
    certificate.password.inline_bytes = b"hunter2"
    certificate.certificate_chain.inline_string = "public"
    shown = redacted(certificate)
    assert shown.private_key.inline_string == "[redacted]"  # type: ignore[attr-defined]
    assert shown.password.inline_bytes == b"[redacted]"  # type: ignore[attr-defined]
    assert shown.certificate_chain.inline_string == "public"  # type: ignore[attr-defined]
    assert certificate.private_key.inline_string == "very secret"
