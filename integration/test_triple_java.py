"""Unmodified Dubbo 3 applications that speak Triple (calls of gRPC's form over HTTP/2) through two sidecars: routes by header and method,
weights, exceptions, timeouts, and a provider that restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.java import Consumer, Provider
from harness.ports import free_port
from test_rpc_java import address, bootstrap, cluster, to, when

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
SERVICE = "/mesh.isthmus.apps.Greeter/"


def listener(name: str, port: int, routes: list[dict[str, Any]]) -> dict[str, Any]:
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "codec_type": "HTTP2",
        "route_config": {"name": name, "virtual_hosts": hosts},
        "http_filters": [ROUTER],
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"name": name, "address": address(port), "filter_chains": [{"filters": filters}]}


def http2(name: str, port: int) -> dict[str, Any]:
    return {**cluster(name, port), "http2_protocol_options": {}}


@dataclass
class Mesh:
    consumer: Consumer
    outbound: Proxy
    inbound: Proxy
    blue: Provider


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home: Path = tmp_path_factory.mktemp("triple")
    app = {name: free_port() for name in ("blue", "green")}
    front = {name: free_port() for name in ("blue", "green")}
    out = free_port()
    gray = {"headers": [{"name": "gray", "string_match": {"exact": "yes"}}]}
    weights = {"clusters": [{"name": "blue", "weight": 90}, {"name": "green", "weight": 10}]}
    routes = [
        when(gray, to("green")),
        when({"prefix": SERVICE + "slow"}, to("blue", timeout="1s")),
        {"match": {"prefix": SERVICE}, "route": {"weighted_clusters": weights}},
    ]
    with ExitStack() as stack:
        blue = stack.enter_context(Provider("DubboApp", "blue", app["blue"], home, "tri"))
        stack.enter_context(Provider("DubboApp", "green", app["green"], home, "tri"))
        inbound_config = bootstrap(
            [listener(f"in-{name}", front[name], [to(name)]) for name in app],
            [http2(name, port) for name, port in app.items()],
        )
        inbound = stack.enter_context(Proxy(inbound_config, home, name="inbound"))
        clusters = [http2(name, port) for name, port in front.items()]
        outbound_config = bootstrap([listener("out", out, routes)], clusters)
        outbound = stack.enter_context(Proxy(outbound_config, home, name="outbound"))
        consumer = stack.enter_context(Consumer("DubboApp", home, f"127.0.0.1:{out}", "tri"))
        yield Mesh(consumer, outbound, inbound, blue)


def test_calls_arrive_and_weights_hold(mesh: Mesh) -> None:
    seen = Counter(mesh.consumer.call("greet", "hello") for _ in range(200))
    assert set(seen) == {"ok blue hello", "ok green hello"}
    assert 5 <= seen["ok green hello"] <= 45
    assert mesh.outbound.stat("cluster.blue.upstream_cx_total") == 1
    assert mesh.outbound.stat("http.out.downstream_rq_http2_total") >= 200


def test_a_header_chooses_the_route(mesh: Mesh) -> None:
    assert {mesh.consumer.call("greet", "x", gray="yes") for _ in range(20)} == {"ok green x"}


def test_a_method_chooses_the_route(mesh: Mesh) -> None:
    assert {mesh.consumer.call("slow", 1) for _ in range(20)} == {"ok blue"}


def test_exceptions_of_the_application_come_through(mesh: Mesh) -> None:
    assert mesh.consumer.call("fail", "on-purpose").startswith("error ")
    assert mesh.outbound.stat("cluster.blue.upstream_rq_200") > 0


def test_a_call_that_takes_too_long_is_told_so(mesh: Mesh) -> None:
    before = mesh.outbound.stat("cluster.blue.upstream_rq_timeout")
    assert mesh.consumer.call("slow", 3000).startswith("error ")
    assert mesh.outbound.stat("cluster.blue.upstream_rq_timeout") == before + 1
    assert mesh.consumer.call("slow", 1) == "ok blue"


def test_a_provider_that_restarts_is_found_again(mesh: Mesh) -> None:
    mesh.blue.stop()
    assert mesh.consumer.call("slow", 1).startswith("error ")
    mesh.blue.start()
    eventually(lambda: mesh.consumer.call("slow", 1) == "ok blue", what="the provider after its restart")
