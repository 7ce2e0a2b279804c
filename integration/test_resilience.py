"""Upstreams that die, hang, freeze, reset, answer 503 and garbage, and come back, under load: what a healthy endpoint could
serve within the retry policy is served. Each test prints what it did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.load import Load, Target
from harness.moody import Moody
from harness.ports import free_port

Json = dict[str, Any]

ENDPOINTS = 4
SAMPLE = 400
"""Requests that each phase lasts for at least."""
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_PREVIOUS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
POLICY: Json = {
    "retry_on": "5xx,reset,connect-failure",
    "num_retries": ENDPOINTS,
    "per_try_timeout": "0.5s",
    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
    "retry_host_predicate": [{"name": "previous", "typed_config": {"@type": _PREVIOUS}}],
    "host_selection_retry_max_attempts": 10,
}
LIMITS: Json = {"thresholds": [{"max_retries": 1000, "max_connections": 4096, "max_pending_requests": 4096}]}
OUTLIER: Json = {
    "consecutive_5xx": 5,
    "consecutive_gateway_failure": 5,
    "interval": "0.5s",
    "base_ejection_time": "0.5s",
    "max_ejection_percent": 50,
    "enforcing_consecutive_gateway_failure": 100,
}


def bootstrap(port: int, upstreams: list[Moody], cluster: Json) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c", "timeout": "15s", "retry_policy": POLICY}}
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
    }
    hosts = [{"endpoint": {"address": _address(upstream.port)}} for upstream in upstreams]
    assignment = {"cluster_name": "c", "endpoints": [{"lb_endpoints": hosts}]}
    clusters = [
        {"name": "c", "type": "STATIC", "connect_timeout": "1s", "circuit_breakers": LIMITS, **cluster}
        | {"load_assignment": assignment}
    ]
    chains = [{"filters": [{"name": "http", "typed_config": manager}]}]
    listeners = [{"name": "l", "address": _address(port), "filter_chains": chains}]
    return {
        "admin": {"address": _address(0)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Scene:
    """Upstreams, the proxy in front of them, and load of requests without and with a body."""

    def __init__(self, upstreams: list[Moody], proxy: Proxy, loads: list[Load]) -> None:
        self.upstreams = upstreams
        self.proxy = proxy
        self.loads = loads

    def phase(self, name: str, requests: int = SAMPLE) -> None:
        """Let the load run for at least that many requests under ``name``."""
        for load in self.loads:
            load.sample(name, requests // len(self.loads), within=60)

    def serving(self) -> set[str]:
        """Names of the upstreams that answered in the phase that runs."""
        return {name for load in self.loads for name in load.current[1].instances}

    def all_serve(self, phase: str) -> None:
        """Wait until every upstream answers again."""
        for load in self.loads:
            load.phase(phase)
        names = {upstream.name for upstream in self.upstreams}
        eventually(lambda: self.serving() == names, within=60, what="all upstreams serve")

    def report(self, what: str) -> None:
        """Print the figures, and fail for failed requests."""
        totals = [load.stop() for load in self.loads]
        figures = {
            "what": what,
            "requests": sum(total.requests for total in totals),
            "failed": sum(total.failed for total in totals),
            "p50_ms": round(max(total.latencies.quantile(0.5) for total in totals) * 1000, 1),
            "p99_ms": round(max(total.latencies.quantile(0.99) for total in totals) * 1000, 1),
            **{name: self.proxy.stat(f"cluster.c.{name}") for name in STATS},
        }
        print("\nresilience:", json.dumps(figures))
        assert [f"{each.phase}: {each.reason}" for load in self.loads for each in load.failures()] == []
        assert figures["upstream_rq_retry"]
        assert figures["upstream_rq_retry_overflow"] == 0


STATS = (
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_per_try_timeout",
    "upstream_cx_connect_fail",
    "upstream_cx_total",
    "outlier_detection.ejections_enforced_total",
)


@contextmanager
def scene(directory: Path, cluster: Json) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(Moody()) for _ in range(ENDPOINTS)]
        port = free_port()
        proxy = stack.enter_context(Proxy(bootstrap(port, upstreams, cluster), directory)).wait_ready()
        address = f"127.0.0.1:{port}"
        loads = [
            stack.enter_context(Load(Target(address, connections=16, rate=400, timeout_s=30))),
            stack.enter_context(Load(Target(address, connections=16, rate=400, timeout_s=30, body=b"x" * 3000))),
        ]
        yield Scene(upstreams, proxy, loads)


@pytest.fixture(params=["retries alone", "with outlier detection"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path, {} if request.param == "retries alone" else {"outlier_detection": OUTLIER}) as found:
        yield found


MOODS = ["503", "close", "reset", "garbage", "torn", "hang", "late:700"]


def test_one_upstream_after_another_falls_ill_and_recovers(play: Scene) -> None:
    play.phase("well")
    for index, mood in enumerate(MOODS):
        upstream = play.upstreams[index % ENDPOINTS]
        upstream.mood(mood)
        play.phase(mood)
        upstream.recover()
        play.all_serve(f"after {mood}")
    play.report("one of 4 endpoints at a time: " + " ".join(MOODS))


def test_upstreams_die_and_freeze_and_come_back(play: Scene) -> None:
    ways: list[tuple[str, Callable[[Moody], None]]] = [("die", Moody.die), ("freeze", Moody.freeze)]
    for index, (name, happen) in enumerate(ways * 2):
        happen(play.upstreams[index])
        play.phase(f"{name} {index}")
        play.upstreams[index].recover()
        play.all_serve(f"after {name} {index}")
    play.report("one of 4 endpoints at a time: killed, stopped, started again")


def test_only_one_upstream_is_well(play: Scene) -> None:
    well, *others = play.upstreams
    for index, upstream in enumerate(others):
        upstream.die() if index == 0 else upstream.mood(["503", "reset"][index - 1])
    play.phase("one is well", 2 * SAMPLE)
    assert play.serving() == {well.name}
    for upstream in others:
        upstream.recover()
    play.all_serve("all are well")
    play.report("3 of 4 endpoints at once: killed, 503, reset")
