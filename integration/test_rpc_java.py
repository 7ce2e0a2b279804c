"""Unmodified SOFARPC (Bolt) and Dubbo applications through two sidecars each: routes, weights, retries, timeouts, one-way calls,
heartbeats, and a provider that restarts."""

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

STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
RPC_PROXY = "type.googleapis.com/isthmus.network.rpc_proxy.v1.RpcProxy"


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, *ports: int) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": address(port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def listener(name: str, port: int, codec: str, routes: list[dict[str, Any]]) -> dict[str, Any]:
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    value = {"stat_prefix": name, "codec": codec, "route_config": {"name": name, "virtual_hosts": hosts}}
    rpc = {"@type": STRUCT, "type_url": RPC_PROXY, "value": value}
    return {
        "name": name,
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "rpc", "typed_config": rpc}]}],
    }


def bootstrap(listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"admin": {"address": address(0)}, "static_resources": {"listeners": listeners, "clusters": clusters}}


def to(name: str, **route: Any) -> dict[str, Any]:
    return {"match": {"prefix": "/"}, "route": {"cluster": name, **route}}


def when(match: dict[str, Any], route: dict[str, Any]) -> dict[str, Any]:
    return {**route, "match": {**route["match"], **match}}


@dataclass
class Framework:
    """How an application names things: the main class, the codec, and the prefix of the headers that a call may carry."""

    main: str
    codec: str
    prefix: str


@dataclass
class Mesh:
    consumer: Consumer
    outbound: Proxy
    inbound: Proxy
    blue: Provider


SOFA = Framework("SofaApp", "bolt", "rpc_req_baggage.")
DUBBO = Framework("DubboApp", "dubbo", "")


def outbound_routes(prefix: str) -> list[dict[str, Any]]:
    def header(name: str) -> dict[str, Any]:
        return {"headers": [{"name": prefix + name, "string_match": {"exact": "yes"}}]}

    retry = {"retry_on": "connect-failure,reset", "num_retries": 3, "retry_back_off": {"base_interval": "0.01s"}}
    weights = {"clusters": [{"name": "blue", "weight": 90}, {"name": "green", "weight": 10}]}
    return [
        when(header("gray"), to("green")),
        when(header("again"), to("half-dead", retry_policy=retry)),
        when({"prefix": "/slow"}, to("blue", timeout="0.3s")),
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": weights}},
    ]


@pytest.fixture(scope="module", params=[SOFA, DUBBO], ids=["sofarpc", "dubbo"])
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    framework: Framework = request.param
    home: Path = tmp_path_factory.mktemp(framework.codec)
    app = {name: free_port() for name in ("blue", "green")}
    front = {name: free_port() for name in ("blue", "green")}
    out, dead = free_port(), free_port()
    with ExitStack() as stack:
        blue = stack.enter_context(Provider(framework.main, "blue", app["blue"], home))
        stack.enter_context(Provider(framework.main, "green", app["green"], home))
        inbound_listeners = [listener(f"in-{name}", front[name], framework.codec, [to(name)]) for name in app]
        inbound_config = bootstrap(inbound_listeners, [cluster(name, port) for name, port in app.items()])
        inbound = stack.enter_context(Proxy(inbound_config, home, name="inbound"))
        clusters = [cluster(name, port) for name, port in front.items()]
        clusters.append(cluster("half-dead", front["blue"], dead))
        outbound_config = bootstrap(
            [listener("out", out, framework.codec, outbound_routes(framework.prefix))], clusters
        )
        outbound = stack.enter_context(Proxy(outbound_config, home, name="outbound"))
        consumer = stack.enter_context(Consumer(framework.main, home, f"127.0.0.1:{out}"))
        yield Mesh(consumer, outbound, inbound, blue)


def test_calls_arrive_and_weights_hold(mesh: Mesh) -> None:
    seen = Counter(mesh.consumer.call("greet", "hello") for _ in range(200))
    assert set(seen) == {"ok blue hello", "ok green hello"}
    assert 5 <= seen["ok green hello"] <= 45
    assert mesh.outbound.stat("cluster.blue.upstream_cx_total") == 1


def test_a_header_chooses_the_route(mesh: Mesh) -> None:
    assert {mesh.consumer.call("greet", "x", gray="yes") for _ in range(20)} == {"ok green x"}


def test_exceptions_of_the_application_come_through(mesh: Mesh) -> None:
    assert mesh.consumer.call("fail", "on-purpose").startswith("error ")


def test_an_endpoint_that_is_not_there_is_left_for_another(mesh: Mesh) -> None:
    assert {mesh.consumer.call("greet", "x", again="yes") for _ in range(20)} == {"ok blue x"}
    assert mesh.outbound.stat("cluster.half-dead.upstream_rq_retry_success") > 0


def test_a_call_that_takes_too_long_is_told_so(mesh: Mesh) -> None:
    before = mesh.outbound.stat("rpc.out.rq_timeout") + mesh.inbound.stat("rpc.in-blue.rq_timeout")
    assert "imeout" in mesh.consumer.call("slow", 3000)
    eventually(
        lambda: mesh.outbound.stat("rpc.out.rq_timeout") + mesh.inbound.stat("rpc.in-blue.rq_timeout") > before,
        what="a timeout counted by a sidecar",
    )
    assert mesh.consumer.call("greet", "x", gray="yes") == "ok green x"


def test_one_way_calls_arrive_though_nobody_waits(mesh: Mesh) -> None:
    before = int(mesh.consumer.call("told", "-", gray="yes").removeprefix("ok "))
    for _ in range(3):
        assert mesh.consumer.call("tell", "it", gray="yes").startswith("ok")
    eventually(lambda: mesh.consumer.call("told", "-", gray="yes") == f"ok {before + 3}", what="three one-way calls")
    assert mesh.outbound.stat("rpc.out.downstream_rq_one_way") >= 3


def test_heartbeats_of_idle_clients_are_answered(mesh: Mesh) -> None:
    before = mesh.outbound.stat("rpc.out.downstream_heartbeat")
    eventually(lambda: mesh.outbound.stat("rpc.out.downstream_heartbeat") > before, what="a heartbeat")
    assert mesh.consumer.call("greet", "x", gray="yes") == "ok green x"


def test_a_provider_that_restarts_is_found_again(mesh: Mesh) -> None:
    mesh.blue.stop()
    assert mesh.consumer.call("slow", 1).startswith("error ")
    mesh.blue.start()
    eventually(lambda: mesh.consumer.call("slow", 1) == "ok blue", what="the provider after its restart")
