"""Rules of EnvoyFilter."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.testing import make

LUA = {
    "name": "lua",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": "function envoy_on_request(handle) end"},
    },
}
ROUTER = {"filterChain": {"filter": {"subFilter": {"name": "envoy.filters.http.router"}}}}


def paths(**fields: Any) -> set[str]:
    try:
        make("EnvoyFilter", "f", {"configPatches": [fields]})
    except DocumentError as error:
        return {problem.path.removeprefix("spec.configPatches[0].") for problem in error.problems}
    return set()


def patch(operation: str = "MERGE", value: Any = None) -> dict[str, Any]:
    return {"patch": {"operation": operation} | ({"value": value} if value is not None else {})}


@pytest.mark.parametrize(
    "fields",
    [
        {"applyTo": "HTTP_FILTER", "match": {"listener": ROUTER}} | patch("INSERT_BEFORE", LUA),
        {"applyTo": "CLUSTER", "match": {"context": "SIDECAR_INBOUND"}} | patch("MERGE", {"connect_timeout": "1s"}),
        {"applyTo": "CLUSTER"} | patch("MERGE", {"circuit_breakers": {"thresholds": [{"max_connections": 5}]}}),
        {"applyTo": "VIRTUAL_HOST", "match": {"routeConfiguration": {"vhost": {"name": "a"}}}} | patch("REMOVE"),
        {
            "applyTo": "HTTP_ROUTE",
            "match": {"routeConfiguration": {"vhost": {"route": {"name": "a", "action": "ROUTE"}}}},
        }
        | patch("INSERT_AFTER", {"match": {"prefix": "/"}, "route": {"cluster": "c"}}),
        {"applyTo": "LISTENER"} | patch("MERGE", {"per_connection_buffer_limit_bytes": 1024}),
    ],
)
def test_good(fields: dict[str, Any]) -> None:
    assert paths(**fields) == set()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"applyTo": "BOOTSTRAP"} | patch("MERGE", {}), "applyTo"),
        ({"applyTo": "CLUSTER", "match": {"context": "WAYPOINT"}} | patch("REMOVE"), "match.context"),
        ({"applyTo": "CLUSTER", "match": {"proxy": {"proxyVersion": "1"}}} | patch("REMOVE"), "match.proxy"),
        ({"applyTo": "CLUSTER"} | patch("INSERT_FIRST", {"name": "a"}), "patch.operation"),
        ({"applyTo": "ROUTE_CONFIGURATION"} | patch("REMOVE"), "patch.operation"),
        ({"applyTo": "CLUSTER"} | patch("MERGE_AND_REPLACE_LIST", {"name": "a"}), "patch.operation"),
        ({"applyTo": "CLUSTER"} | patch("MERGE"), "patch.value"),
        ({"applyTo": "CLUSTER"} | patch("MERGE", {"conect_timeout": "1s"}), "patch.value"),
        ({"applyTo": "CLUSTER"} | patch("MERGE", {"connect_timeout": "soon"}), "patch.value"),
        ({"applyTo": "CLUSTER"} | patch("ADD", {"connect_timeout": "1s"}), "patch.value.name"),
        ({"applyTo": "HTTP_FILTER"} | patch("ADD", {"name": "a", "typed_config": {"@type": "type.googleapis.com/os.path"}}),
         "patch.value"),
        ({"applyTo": "HTTP_FILTER"} | patch("ADD", {"name": "a", "typed_config": {"@type": "type.googleapis.com/envoy.nothing.V"}}),
         "patch.value"),
        ({"applyTo": "HTTP_FILTER"} | patch("INSERT_BEFORE", LUA), "match.listener.filterChain.filter.subFilter.name"),
        ({"applyTo": "NETWORK_FILTER"} | patch("INSERT_AFTER", {"name": "a"}), "match.listener.filterChain.filter.name"),
        ({"applyTo": "HTTP_ROUTE"} | patch("INSERT_AFTER", {}), "match.routeConfiguration.vhost.route.name"),
        ({"applyTo": "CLUSTER", "match": {"listener": {"name": "a"}}} | patch("REMOVE"), "match.listener"),
        ({"applyTo": "LISTENER", "match": {"cluster": {"name": "a"}}} | patch("REMOVE"), "match.cluster"),
        ({"applyTo": "LISTENER", "match": {"listener": {"portName": "a"}}} | patch("REMOVE"), "match.listener.portName"),
    ],
)  # fmt: skip
def test_bad(fields: dict[str, Any], path: str) -> None:
    assert path in paths(**fields)
