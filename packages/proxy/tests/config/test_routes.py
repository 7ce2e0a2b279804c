"""Route configurations: what they compile to, and the text with which they are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration as RouteConfigurationProto

from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import Route, RouteConfiguration

EXTENSION = "type.googleapis.com/envoy.extensions."


def routes(
    *each: Mapping[str, object], host: Mapping[str, object] | None = None, **fields: object
) -> RouteConfiguration:
    proto = RouteConfigurationProto()
    fill(proto, {"virtual_hosts": [{"name": "host", "domains": ["*"], "routes": list(each), **(host or {})}], **fields})
    return compile_route_configuration(proto)


def one_route(route: Mapping[str, object]) -> Route:
    return routes(route).virtual_hosts[0].routes[0]


def test_a_path_template() -> None:
    policy = {
        "name": "envoy.path.match.uri_template.uri_template_matcher",
        "typed_config": {
            "@type": EXTENSION + "path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": "/v/{id}/*.mpd",
        },
    }
    match = one_route({"match": {"path_match_policy": policy}, "direct_response": {"status": 200}}).match
    assert match.path.kind == "template"
    assert re.fullmatch(match.path.value, b"/v/7/a.mpd")
    policy["typed_config"]["path_template"] = "/**/*"  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"routes\[0\].match.path_match_policy.typed_config.path_template"):
        one_route({"match": {"path_match_policy": policy}, "direct_response": {"status": 200}})
