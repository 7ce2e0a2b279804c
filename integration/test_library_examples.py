"""The examples of the library, run as their users run them, with a live Envoy and our proxy as their clients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import accepts, free_port
from harness.process import Process
from test_xds_make_before_break import bootstrap

pytestmark = pytest.mark.peer("envoy")
EXAMPLES = Path(__file__).parents[1] / "packages" / "controlplane" / "examples"
ADS = {"ads": {}, "resource_api_version": "V3"}


@pytest.mark.parametrize("kind", [Envoy, Proxy])
def test_a_snapshot_cache_gives_each_group_its_own(tmp_path: Path, kind: type[Envoy | Proxy]) -> None:
    port, edge_port = free_port(), free_port()
    argv: list[str | Path] = [sys.executable, EXAMPLES / "snapshot_cache.py", f"127.0.0.1:{port}", str(edge_port)]
    edge, sidecar = (bootstrap(f"127.0.0.1:{port}", "GRPC") for _ in range(2))
    edge["node"] = {"id": "edge-1", "cluster": "edge"}
    sidecar["node"] = {"id": "sidecar-1", "cluster": "sidecars"}
    with (
        Process("snapshot-cache", argv, log=tmp_path / "example.log"),
        kind(edge, tmp_path, name="edge") as front,
        kind(sidecar, tmp_path, name="sidecar") as back,
    ):
        eventually(lambda: accepts("127.0.0.1", edge_port))
        for side, listeners in ((front, 1), (back, 0)):
            side.wait_ready()
            assert "backend::" in side.admin("/clusters").text
            assert side.stat("listener_manager.total_listeners_active") == listeners
        # Every ten seconds the edge gets another endpoint.
        eventually(lambda: "backend::127.0.0.1:9001::" in front.admin("/clusters").text)
        assert "backend::127.0.0.1:9000::" in back.admin("/clusters").text


def endpoints_only(address: str, port: int) -> dict[str, Any]:
    """A proxy whose listener and cluster are its own; the endpoints come over ADS."""
    document = bootstrap(address, "DELTA_GRPC")
    del document["dynamic_resources"]["lds_config"], document["dynamic_resources"]["cds_config"]
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    address_of = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    document["static_resources"]["listeners"] = [{"name": "in", "address": address_of, "filter_chains": [chain]}]
    cluster = {"name": "backend", "type": "EDS", "connect_timeout": "5s", "eds_cluster_config": {"eds_config": ADS}}
    document["static_resources"]["clusters"].append(cluster)
    return document


@pytest.mark.parametrize("kind", [Envoy, Proxy])
def test_a_linear_cache_changes_one_resource_at_a_time(tmp_path: Path, kind: type[Envoy | Proxy]) -> None:
    port, listening = free_port(), free_port()
    argv = [sys.executable, str(EXAMPLES / "linear_cache.py"), f"127.0.0.1:{port}"]
    with (
        Origin("one", "v1", tmp_path) as one,
        Origin("two", "v1", tmp_path) as two,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as example,
    ):
        assert example.stdin is not None

        def say(line: str) -> None:
            assert example.stdin is not None
            example.stdin.write(f"{line}\n")
            example.stdin.flush()

        def answers() -> str | None:
            return fetch(f"127.0.0.1:{listening}", "/").header("x-service")

        say(f"backend {one.port}")
        say("other 9")
        with kind(endpoints_only(f"127.0.0.1:{port}", listening), tmp_path) as side:
            side.wait_ready()
            eventually(lambda: answers() == "one")
            say(f"backend {two.port}")
            eventually(lambda: answers() == "two")
            assert side.stat("cluster.backend.update_rejected") == 0
        example.stdin.close()
        assert example.wait(30) == 0
