"""A real istiod behind the bridge: it becomes ready, shows our services, follows them, and hands them to a real Envoy."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Bridge
from harness.istiod import Istiod

pytestmark = pytest.mark.peer("istiod")
SERVICES = """
services:
- host: %s.shop
  addresses: [240.240.0.%d]
  ports: [{name: http, number: 8080, protocol: HTTP}]
  instances: [{address: 127.0.0.1, port: %d}]
"""


def write(directory: Path, name: str, number: int) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.yaml").write_text(SERVICES % (name, number, 9000 + number))


def bootstrap(istiod: str) -> dict[str, Any]:
    """An Envoy that introduces itself to istiod as a sidecar of the namespace shop."""
    host, _, port = istiod.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    http2 = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
             "explicit_http_config": {"http2_protocol_options": {}}}  # fmt: skip
    cluster = {
        "name": "istiod", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "istiod", "endpoints": endpoints},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }  # fmt: skip
    grpc = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
    }
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "node": {
            "id": "sidecar~127.0.0.1~test.shop~shop.svc.cluster.local", "cluster": "test.shop",
            "metadata": {"NAMESPACE": "shop", "ISTIO_VERSION": "1.30.0"},
        },
        "dynamic_resources": {"ads_config": grpc, "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [cluster]},
    }  # fmt: skip


def test_istiod_takes_our_services_and_gives_them_to_envoy(tmp_path: Path) -> None:
    services = tmp_path / "services"
    write(services, "reviews", 1)
    kind = {"name": "files", "namespace": "shop", "file": {"path": str(services)}}
    with Bridge([kind], tmp_path) as bridge:
        bridge.process.wait_until(lambda: bridge.admin("/ready").status == 200)
        with Istiod(bridge.mcp_address) as istiod, Envoy(bootstrap(istiod.grpc_address), tmp_path) as envoy:
            assert list(istiod.configs()) == ["shop/reviews.shop"]
            eventually(lambda: "outbound|8080||reviews.shop" in clusters(envoy))
            write(services, "ratings", 2)
            eventually(lambda: sorted(istiod.configs()) == ["shop/ratings.shop", "shop/reviews.shop"])
            eventually(lambda: "outbound|8080||ratings.shop" in clusters(envoy))
            write(services, "ratings", 3)
            eventually(lambda: istiod.configs()["shop/ratings.shop"]["endpoints"][0]["ports"] == {"http": 9003})
            eventually(lambda: "127.0.0.1:9003" in clusters(envoy)["outbound|8080||ratings.shop"])
            (services / "ratings.yaml").unlink()
            eventually(lambda: list(istiod.configs()) == ["shop/reviews.shop"])
            bridge.kill()
            assert list(istiod.configs()) == ["shop/reviews.shop"]


def clusters(envoy: Envoy) -> dict[str, set[str]]:
    """Envoy's clusters and their endpoints, as ``/clusters`` shows them."""
    found: dict[str, set[str]] = {}
    for one in json.loads(envoy.admin("/clusters?format=json").text).get("cluster_statuses", []):
        sockets = [host["address"]["socket_address"] for host in one.get("host_statuses", ())]
        found[one["name"]] = {f"{socket['address']}:{socket['port_value']}" for socket in sockets}
    return found
