"""HTTP filters whose configuration comes over xDS: what is compiled, and what is refused by path."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_proxy.config.check import check
from isthmus_proxy.config.extension_source import compile_extension
from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.buffer import BufferConfig
from isthmus_proxy.listener.model import DiscoveredFilterConfig, HttpConnectionManagerConfig
from isthmus_proxy.xds.source import ApiSource, ManagementServer

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
BUFFER = f"{HTTP}.buffer.v3.Buffer"
ROUTER = {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}
LIMIT = {"@type": BUFFER, "max_request_bytes": 5}
ADS = {"ads": {}, "resource_api_version": "V3"}


def discovered(name: str = "limit", **fields: object) -> dict[str, Any]:
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": [BUFFER], **fields}}


def manager(*filters: dict[str, Any]) -> HttpConnectionManagerConfig:
    proto = HttpConnectionManager()
    fill(proto, {"stat_prefix": "in", "route_config": {}, "http_filters": list(filters)})
    check(proto)
    return compile_http_connection_manager(proto, "")


def test_a_filter_over_ads() -> None:
    (found,) = manager(discovered(), ROUTER).http_filters
    assert found.config == DiscoveredFilterConfig("limit", frozenset({BUFFER.rpartition("/")[2]}))


def test_a_filter_with_everything() -> None:
    server = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "x"}}],
    }
    source = {"api_config_source": server, "resource_api_version": "V3", "initial_fetch_timeout": "3s"}
    options: dict[str, Any] = {
        "config_source": source,
        "default_config": LIMIT,
        "apply_default_config_without_warming": True,
    }
    (found,) = manager({**discovered(**options), "disabled": True}, ROUTER).http_filters
    assert found.disabled
    assert isinstance(found.config, DiscoveredFilterConfig)
    assert found.config.default == BufferConfig(5)
    assert (found.config.without_warming, found.config.initial_fetch_timeout) == (True, 3.0)
    assert found.config.source == ApiSource((ManagementServer("x"),))


@pytest.mark.parametrize(
    ("filters", "path", "reason"),
    [
        ([{**ROUTER, "config_discovery": discovered()["config_discovery"]}], "http_filters", ""),
        ([discovered("router")], "http_filters[0].config_discovery", "the router cannot come over xDS"),
        ([discovered(""), ROUTER], "http_filters[0].name", "is required"),
        ([discovered(), discovered(), ROUTER], 'http_filters[1].name = "limit"', "give each its own"),
        ([discovered(type_urls=[]), ROUTER], "config_discovery.type_urls", "at least one"),
        ([discovered(type_urls=["a/b.C"]), ROUTER], 'type_urls[0] = "a/b.C"', "no HTTP filter that is supported"),
        ([discovered(config_source=None), ROUTER], "config_discovery.config_source", "is required"),
        (
            [discovered(apply_default_config_without_warming=True), ROUTER],
            "apply_default_config_without_warming",
            "needs a default_config",
        ),
        (
            [discovered(default_config={"@type": f"{HTTP}.cors.v3.Cors"}), ROUTER],
            "default_config = envoy.extensions.filters.http.cors.v3.Cors",
            "is not among type_urls",
        ),
    ],
)
def test_what_is_refused(filters: list[dict[str, Any]], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        manager(*filters)
    assert path in str(refused.value)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ({"@type": f"{HTTP}.router.v3.Router"}, "the router must be the last filter"),
        ({"@type": BUFFER}, "typed_config.max_request_bytes"),
    ],
)
def test_what_came_is_refused_by_path(typed: dict[str, Any], reason: str) -> None:
    proto = TypedExtensionConfig()
    fill(proto, {"name": "limit", "typed_config": typed})
    with pytest.raises(ConfigError, match=reason):
        compile_extension(proto)
