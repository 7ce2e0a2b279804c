"""How connections to endpoints are opened, as it is configured: additional addresses, happy eyeballs, keep-alive of TCP."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from isthmus_proxy.cluster.addresses import HappyEyeballsConfig, TcpKeepalive
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError


def cluster(**fields: object) -> ClusterConfig:
    message = Cluster()
    fill(message, {"name": "c", **fields})
    return compile_cluster(message)


def address(host: str, port: int = 80) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def endpoint(host: str, *others: dict[str, Any]) -> dict[str, Any]:
    return {
        "cluster_name": "c",
        "endpoints": [{"lb_endpoints": [{"endpoint": {**address(host), "additional_addresses": list(others)}}]}],
    }


def test_an_endpoint_with_several_addresses() -> None:
    config = cluster(load_assignment=endpoint("10.0.0.1", address("::1"), address("10.0.0.2", 81)))
    assert config.assignment is not None
    (known,) = config.assignment.localities[0].endpoints
    assert known.additional_addresses == (("::1", 80), ("10.0.0.2", 81))


def test_options_of_connections() -> None:
    eyes = {"first_address_family_version": "V6", "first_address_family_count": 2}
    config = cluster(
        upstream_connection_options={"happy_eyeballs_config": eyes, "tcp_keepalive": {"keepalive_time": 9}}
    )
    assert config.happy_eyeballs == HappyEyeballsConfig("V6", 2)
    assert config.tcp_keepalive == TcpKeepalive(idle=9)
    assert (cluster().happy_eyeballs, cluster().tcp_keepalive) == (HappyEyeballsConfig(), None)


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"load_assignment": endpoint("10.0.0.1", address("web"))}, "additional_addresses[0].address", "an IP address"),
        ({"load_assignment": endpoint("10.0.0.1", address("::1", 0))}, "port_value", "from 1 to 65535"),
        (
            {"type": "STRICT_DNS", "load_assignment": endpoint("web", address("::1"))},
            "endpoint.additional_addresses",
            "STATIC and EDS",
        ),
        (
            {"upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 128}}},
            "tcp_keepalive.keepalive_probes",
            "at most 127",
        ),
        (
            {"upstream_connection_options": {"happy_eyeballs_config": {"first_address_family_count": 0}}},
            "happy_eyeballs_config.first_address_family_count",
            "at least 1",
        ),
        (
            {"upstream_connection_options": {"set_local_interface_name_on_upstream_connections": True}},
            "set_local_interface_name_on_upstream_connections",
            "not supported",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_path(fields: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster(**fields)
    assert path in caught.value.path
    assert reason in caught.value.reason
