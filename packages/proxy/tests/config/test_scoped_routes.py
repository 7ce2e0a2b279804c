"""scoped_routes of a connection manager: what is compiled, and what is refused by path."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import RdsReference, ScopedRoutesConfig
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.route.scopes import FragmentBuilder

ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
ADS = {"ads": {}, "resource_api_version": "V3"}
SERVER = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "x"}}]}
OWN = {"api_config_source": SERVER, "resource_api_version": "V3"}
RED = {"name": "red", "route_configuration_name": "r", "key": {"fragments": [{"string_key": "red"}]}}
INLINE = {**RED, "name": "own", "key": {"fragments": [{"string_key": "own"}]}, "route_configuration": {"name": "o"}}
del INLINE["route_configuration_name"]


def builders(**extractor: object) -> dict[str, Any]:
    return {"fragments": [{"header_value_extractor": {"name": "X-Key", **extractor}}]}


def compiled(**fields: object) -> ScopedRoutesConfig:
    scoped = {
        "name": "tenants",
        "scope_key_builder": builders(index=0),
        "rds_config_source": ADS,
        **fields,
    }
    if not any(name.startswith("scoped") for name in fields):
        scoped["scoped_rds"] = {"scoped_rds_config_source": {**ADS, "initial_fetch_timeout": "2s"}}
    proto = HttpConnectionManager()
    filters = [{"name": "router", "typed_config": {"@type": ROUTER}}]
    fill(proto, {"stat_prefix": "in", "scoped_routes": scoped, "http_filters": filters})
    check(proto)
    route = compile_http_connection_manager(proto, "").route
    assert isinstance(route, ScopedRoutesConfig)
    return route


def listed(*scopes: dict[str, Any]) -> dict[str, Any]:
    return {"scoped_route_configurations": list(scopes)}


def test_scopes_over_xds() -> None:
    found = compiled()
    assert found == ScopedRoutesConfig("tenants", (FragmentBuilder(b"x-key"),), RdsReference(""), None, 2.0)
    assert list(found.references(frozenset("ba"))) == [RdsReference("a"), RdsReference("b")]


def test_scopes_in_the_listener() -> None:
    found = compiled(scoped_route_configurations_list=listed(RED, INLINE))
    red, own = found.scopes or ()
    assert (red.name, red.key, red.route) == ("red", (b"red",), "r")
    assert isinstance(own.route, RouteConfiguration)
    assert list(found.references(frozenset("x"))) == [RdsReference("r")]


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"name": ""}, "scoped_routes.name", "is required"),
        ({"scope_key_builder": {}}, "scope_key_builder.fragments", "at least one"),
        ({"scope_key_builder": {"fragments": [{}]}}, "fragments[0]", "header_value_extractor"),
        ({"scope_key_builder": builders()}, "header_value_extractor", "one of index and element"),
        ({"scope_key_builder": builders(index=1)}, "header_value_extractor.index", "needs an element_separator"),
        ({"scope_key_builder": builders(element={"key": "k"})}, "element.separator", "is required"),
        ({"rds_config_source": None}, "rds_config_source", "is required"),
        ({"scoped_rds": {"scoped_rds_config_source": OWN}}, "scoped_rds_config_source", "over ads only"),
        ({"scoped_rds": {"srds_resources_locator": "xdstp://x"}}, "srds_resources_locator", "is not supported"),
        ({"scoped_route_configurations_list": listed()}, "scoped_route_configurations", "at least one scope"),
        ({"scoped_route_configurations_list": listed(RED, RED)}, "[1].name", "used twice"),
        ({"scoped_route_configurations_list": listed(RED, {**RED, "name": "x"})}, "[1].key", "scope red has the same"),
        ({"scoped_route_configurations_list": listed({**RED, "on_demand": True})}, "[0].on_demand", "not supported"),
        ({"scoped_route_configurations_list": listed({**RED, "key": {}})}, "[0].key.fragments", "at least one"),
        (
            {"scoped_route_configurations_list": listed({**RED, **INLINE, "route_configuration_name": "r"})},
            "[0].route_configuration_name",
            "cannot stand beside",
        ),
        (
            {"scoped_route_configurations_list": listed(RED), "rds_config_source": None},
            "rds_config_source",
            "scopes that name their routes",
        ),
        (
            {"scoped_route_configurations_list": listed({**INLINE, "route_configuration": {"vhds": {}}})},
            "[0].route_configuration.vhds",
            "is not supported",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compiled(**fields)
    assert path in str(refused.value)
    assert reason in str(refused.value)
