"""Transparent interception: what an application sends and receives goes through its sidecar, with no change to it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import peers
from harness.envoy import envoy_binary
from harness.isthmus import module
from harness.process import run

TYPE = "type.googleapis.com/envoy.extensions.filters."


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def listener(name: str, port: int, cluster: str) -> dict[str, Any]:
    manager = {
        "@type": TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "http.router.v3.Router"}}],
        "route_config": {
            "response_headers_to_add": [{"header": {"key": "x-via", "value": name}}],
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
            ],
        },
    }
    return {
        "name": name,
        "address": address("0.0.0.0", port),
        "additional_addresses": [{"address": address("::", port)}],
        "listener_filters": [
            {"name": "original", "typed_config": {"@type": TYPE + "listener.original_dst.v3.OriginalDst"}}
        ],
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def cluster(name: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address(host, port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "5s", "load_assignment": assignment}


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = run(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            "iptables -t nat -S && ip6tables -t nat -S && ip link add name one type veth peer name two",
        ]
    )
    if done.returncode:
        peers.missing("network namespaces with iptables and veth", done.stderr)
    path = tmp_path_factory.mktemp("transparent") / "bootstrap.json"
    listeners = [listener("outbound", 15001, "peer"), listener("inbound", 15006, "application")]
    clusters = [cluster("peer", "10.9.0.2", 9090), cluster("application", "127.0.0.1", 8080)]
    path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
    return path


def passed(*proxy: str | Path) -> Any:
    script = Path(__file__).parent / "transparent.py"
    done = run(
        ["unshare", "--net", sys.executable, script, *module("isthmus_proxy"), "iptables", "--", *proxy], within=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_application_is_led_through_its_sidecar_both_ways(bootstrap: Path) -> None:
    ours = passed(*module("isthmus_proxy"), "run", "-c", bootstrap)
    assert ours[0] == {
        "out": "outbound",
        "out, IPv6": "outbound",
        "out, excluded": "nobody",
        "within": "nobody",
        "in": "inbound",
        "in, IPv6": "inbound",
    }
    assert ours[1] == dict.fromkeys(ours[0], "nobody")
    options = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    assert passed(envoy_binary(), "-c", bootstrap, *options) == ours
