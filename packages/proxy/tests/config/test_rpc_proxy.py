"""The configuration of the RPC proxy: what it compiles to, and what it refuses by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from isthmus_proxy.config.bootstrap import load
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import RdsReference, RpcProxyConfig
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.rpc.model import HeartbeatConfig, RpcLimits

ROUTES = {
    "name": "r",
    "virtual_hosts": [
        {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
    ],
}


def compiled(value: dict[str, Any], kind: str = "isthmus.network.rpc_proxy.v1.RpcProxy") -> RpcProxyConfig:
    listener = Listener()
    config = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": f"type.googleapis.com/{kind}",
        "value": value,
    }
    fill(
        listener,
        {
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
            "filter_chains": [{"filters": [{"name": "rpc", "typed_config": config}]}],
        },
    )
    found = compile_listener(listener).filter_chains[0].network_filter
    assert isinstance(found, RpcProxyConfig)
    return found


def test_the_least_there_is() -> None:
    found = compiled({"stat_prefix": "s", "codec": "bolt", "route_config": ROUTES})
    assert isinstance(found.route, RouteConfiguration)
    assert (found.codec, found.pool_mode, found.goaway, found.verify_crc) == ("bolt", "MULTIPLEX", False, False)
    assert (found.heartbeat, found.limits) == (HeartbeatConfig(), RpcLimits())


def test_everything() -> None:
    found = compiled(
        {
            "stat_prefix": "s",
            "codec": "bolt",
            "rds": {"route_config_name": "12220", "config_source": {"ads": {}}},
            "access_log": [
                {
                    "name": "file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                        "path": "/dev/stdout",
                    },
                }
            ],
            "pool_mode": "PING_PONG",
            "heartbeat": {"interval": "5s", "max_interval": "20s", "timeout": "0.5s", "max_failures": 6},
            "max_frame_bytes": 4096,
            "idle_timeout": "0s",
            "connections_per_endpoint": 2,
            "goaway": True,
            "verify_crc": True,
        }
    )
    assert found.route == RdsReference("12220")
    assert found.heartbeat == HeartbeatConfig(5.0, 20.0, 0.5, 6)
    assert found.limits == RpcLimits(4096, 0.0, 2)
    assert (found.pool_mode, found.goaway, found.verify_crc) == ("PING_PONG", True, True)
    assert found.access_logs[0].path == "/dev/stdout"


FAULT = ".value.http_filters[0].typed_config."


def filter_of(kind: str, **config: Any) -> dict[str, Any]:
    typed = {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{kind}", **config}
    return {"name": kind.partition(".")[0], "typed_config": typed}


def fault(**config: Any) -> dict[str, Any]:
    return filter_of("fault.v3.HTTPFault", **config)


ROUTER = filter_of("router.v3.Router")


def test_filters_and_tracing_are_those_of_http() -> None:
    zipkin = {"collector_cluster": "z", "collector_endpoint": "/spans", "collector_endpoint_version": "HTTP_JSON"}
    provider = {
        "name": "envoy.tracers.zipkin",
        "typed_config": {"@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", **zipkin},
    }
    limit = filter_of("local_ratelimit.v3.LocalRateLimit", stat_prefix="l")
    found = compiled(
        {
            "stat_prefix": "s",
            "codec": "dubbo",
            "route_config": ROUTES,
            "http_filters": [fault(), limit, filter_of("rbac.v3.RBAC"), ROUTER],
            "tracing": {"provider": provider},
            "timeout_header": "Timeout",
            "route_cache": False,
        }
    )
    assert [each.name for each in found.http_filters] == ["fault", "local_ratelimit", "rbac"]
    assert found.tracing is not None
    assert found.tracing.collector.cluster == "z"
    assert (found.timeout_header, found.route_cache) == (b"timeout", False)


LEAST: dict[str, Any] = {"stat_prefix": "s", "codec": "bolt", "route_config": ROUTES}
PLACE = "filter_chains[0].filters[0].typed_config"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"codec": "nothing"}, ".value.codec"),
        ({"codec": None}, ".value.codec"),
        ({"other": 1}, ".value.other"),
        ({"stat_prefix": ""}, ".value.stat_prefix"),
        ({"stat_prefix": 1}, ".value.stat_prefix"),
        ({"route_config": None}, ".value"),
        ({"pool_mode": "SHARED"}, ".value.pool_mode"),
        ({"heartbeat": 1}, ".value.heartbeat"),
        ({"heartbeat": {"every": "1s"}}, ".value.heartbeat.every"),
        ({"heartbeat": {"interval": "-1s"}}, ".value.heartbeat.interval"),
        ({"heartbeat": {"timeout": "0s"}}, ".value.heartbeat.timeout"),
        ({"heartbeat": {"max_interval": "1s"}}, ".value.heartbeat.max_interval"),
        ({"heartbeat": {"max_failures": 0}}, ".value.heartbeat.max_failures"),
        ({"max_frame_bytes": 1023}, ".value.max_frame_bytes"),
        ({"max_frame_bytes": 1e12}, ".value.max_frame_bytes"),
        ({"idle_timeout": "soon"}, ".value.idle_timeout"),
        ({"connections_per_endpoint": 0}, ".value.connections_per_endpoint"),
        ({"connections_per_endpoint": 1.5}, ".value.connections_per_endpoint"),
        ({"goaway": "yes"}, ".value.goaway"),
        ({"route_cache": "no"}, ".value.route_cache"),
        ({"timeout_header": 1}, ".value.timeout_header"),
        ({"http_filters": [fault(), filter_of("cors.v3.Cors"), ROUTER]}, ".value.http_filters[1].typed_config"),
        ({"http_filters": [fault()]}, ".value.http_filters[0].typed_config"),
        ({"http_filters": [fault(abort={"http_status": 99}), ROUTER]}, FAULT + "abort.http_status"),
        (
            {"http_filters": [filter_of("router.v3.Router", suppress_envoy_headers=True)]},
            ".value.http_filters[0].typed_config.suppress_envoy_headers",
        ),
        ({"tracing": {}}, ".value.tracing.provider"),
    ],
)
def test_refusals_name_the_field(change: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(LEAST | change)
    assert caught.value.path == PLACE + path


def test_another_kind_of_struct_is_refused() -> None:
    with pytest.raises(ConfigError, match="RpcProxy"):
        compiled(LEAST, "isthmus.other.v1.Thing")


def test_routes_are_checked_like_those_of_http() -> None:
    hosts = [
        {
            "name": "v",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c", "cors": {}}}],
        }
    ]
    with pytest.raises(ConfigError) as caught:
        compiled(LEAST | {"route_config": {"name": "r", "virtual_hosts": hosts}})
    assert "virtual_hosts[0].routes[0].route.cors" in caught.value.path


def test_the_example_is_a_sidecar() -> None:
    found = load(Path(__file__).parents[2] / "examples" / "rpc" / "sofarpc-sidecar.yaml")
    assert [listener.name for listener in found.listeners] == ["outbound", "inbound"]
    kinds = [type(chain.network_filter).__name__ for chain in found.listeners[1].filter_chains]
    assert kinds == ["RpcProxyConfig", "RpcProxyConfig", "TcpProxyConfig"]
    assert found.registry_api is not None
