"""Route configurations: what they compile to, and the text with which they are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration as RouteConfigurationProto

from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import (
    DirectResponseAction,
    ForwardAction,
    MirrorPolicy,
    RateLimitedBackOff,
    Route,
    RouteConfiguration,
)
from isthmus_proxy.runtime import Fraction

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


TEMPLATE = {
    "name": "m",
    "typed_config": {
        "@type": EXTENSION + "path.match.uri_template.v3.UriTemplateMatchConfig",
        "path_template": "/{a}/*",
    },
}


def rewrite(text: str) -> dict[str, object]:
    kind = EXTENSION + "path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
    return {"name": "r", "typed_config": {"@type": kind, "path_template_rewrite": text}}


def action_of(action: Mapping[str, object], **match: object) -> ForwardAction:
    compiled = one_route({"match": match or {"prefix": "/"}, "route": action}).action
    assert isinstance(compiled, ForwardAction)
    return compiled


def test_the_fields_of_a_forwarding_route() -> None:
    action = action_of(
        {
            "weighted_clusters": {
                "header_name": "X-Random",
                "runtime_key_prefix": "w",
                "clusters": [
                    {"name": "a", "weight": 1, "host_rewrite_literal": "h"},
                    {"cluster_header": "X-C", "weight": 2},
                ],
            },
            "host_rewrite_header": "X-Host",
            "max_stream_duration": {"grpc_timeout_header_max": "3s", "grpc_timeout_header_offset": "1s"},
            "hedge_policy": {"hedge_on_per_try_timeout": True, "initial_requests": 3},
            "request_mirror_policies": [
                {"cluster": "m", "runtime_fraction": {"default_value": {"numerator": 5}, "runtime_key": "k"}}
            ],
            "path_rewrite_policy": rewrite("/x/{a}"),
        },
        path_match_policy=TEMPLATE,
    )
    first, second = action.clusters
    assert (first.host_rewrite, first.runtime_key, second.cluster_header) == (b"h", "w.a", b"x-c")
    assert (action.random_header, action.host_rewrite_header, action.hedge_on_per_try_timeout) == (
        b"x-random",
        b"x-host",
        True,
    )
    assert (action.timeout, action.max_grpc_timeout, action.grpc_timeout_offset) == (0.0, 3.0, 1.0)
    assert action.mirrors == (MirrorPolicy("m", fraction=Fraction(5, 100, "k")),)
    assert action.template_rewrite is not None
    assert action.template_rewrite.path(b"/v/1") == b"/x/v"


def test_what_routes_inherit() -> None:
    host = {
        "request_mirror_policies": [{"cluster": "m"}],
        "hedge_policy": {"hedge_on_per_try_timeout": True},
        "request_body_buffer_limit": "10",
    }
    own = {"cluster": "c", "request_mirror_policies": [{"cluster": "n"}], "hedge_policy": {}}
    compiled = routes(
        {"match": {"prefix": "/own"}, "route": own, "per_request_buffer_limit_bytes": 5},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
        host=host,
    )
    first, second = (route.action for route in compiled.virtual_hosts[0].routes)
    assert isinstance(first, ForwardAction)
    assert isinstance(second, ForwardAction)
    assert ([m.cluster for m in first.mirrors], first.hedge_on_per_try_timeout, first.buffer_limit) == (["n"], False, 5)
    assert ([m.cluster for m in second.mirrors], second.hedge_on_per_try_timeout, second.buffer_limit) == (
        ["m"],
        True,
        10,
    )


def test_the_fields_of_a_retry_policy() -> None:
    metadata = {"filter_metadata": {"envoy.lb": {"stage": "canary"}}}
    kind = EXTENSION + "retry.host."
    policy = action_of(
        {
            "cluster": "c",
            "retry_policy": {
                "retry_on": "5xx",
                "per_try_idle_timeout": "2s",
                "retry_back_off": {"base_interval": "0.0001s"},
                "rate_limited_retry_back_off": {"reset_headers": [{"name": "Retry-After"}], "max_interval": "9s"},
                "retry_host_predicate": [
                    {"name": "c", "typed_config": {"@type": kind + "omit_canary_hosts.v3.OmitCanaryHostsPredicate"}},
                    {
                        "name": "m",
                        "typed_config": {
                            "@type": kind + "omit_host_metadata.v3.OmitHostMetadataConfig",
                            "metadata_match": metadata,
                        },
                    },
                ],
            },
        }
    ).retry_policy
    assert policy is not None
    assert (policy.per_try_idle_timeout, policy.base_interval, policy.max_interval) == (2.0, 0.001, None)
    assert policy.rate_limited == RateLimitedBackOff(((b"retry-after", "SECONDS"),), 9.0)
    assert policy.omit_metadata == ((("canary", ("bool", True)),), (("stage", "canary"),))
    assert not policy.avoid_previous_hosts


def test_direct_responses_from_files_and_formats(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"text")
    body = {"filename": str(tmp_path / "body")}
    match = {"prefix": "/"}
    action = one_route({"match": match, "direct_response": {"status": 200, "body": body}}).action
    assert action == DirectResponseAction(200, b"text")
    formatted = {"status": 200, "body": body, "body_format": {"text_format": "<%LOCAL_REPLY_BODY%>"}}
    action = one_route({"match": match, "direct_response": formatted}).action
    assert isinstance(action, DirectResponseAction)
    assert action.render is not None
    assert action.content_type == b"text/plain"


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ({"route": {"cluster": "c", "path_rewrite_policy": rewrite("/x")}}, "route.path_rewrite_policy"),
        ({"route": {"cluster": "c", "prefix_rewrite": "/a", "regex_rewrite": {}}}, "route.regex_rewrite"),
        (
            {"match": {"path_match_policy": TEMPLATE}, "redirect": {"prefix_rewrite": "/a"}},
            "redirect.prefix_rewrite",
        ),
        (
            {"match": {"path_match_policy": TEMPLATE}, "route": {"cluster": "c", "prefix_rewrite": "/a"}},
            "prefix_rewrite",
        ),
        (
            {
                "match": {"path_match_policy": TEMPLATE},
                "route": {"cluster": "c", "path_rewrite_policy": rewrite("/{b}")},
            },
            "path_template_rewrite",
        ),
        ({"route": {"cluster": "c", "request_mirror_policies": [{}]}}, r"request_mirror_policies\[0\]"),
        ({"route": {"weighted_clusters": {"clusters": [{"weight": 1}]}}}, r"clusters\[0\]"),
        ({"route": {"cluster": "c", "retry_policy": {"retry_back_off": {}}}}, "base_interval"),
        ({"route": {"cluster": "c", "retry_policy": {"rate_limited_retry_back_off": {}}}}, "reset_headers"),
        ({"route": {"cluster": "c", "retry_policy": {"retry_priority": {"name": "x"}}}}, "retry_priority.typed_config"),
        ({"route": {"cluster": "c", "internal_redirect_policy": {"response_headers_to_copy": [":path"]}}}, "to_copy"),
        ({"route": {"cluster": "c", "cluster_specifier_plugin": "x"}}, "only one of"),
        ({"direct_response": {"status": 200, "body_format": {"json_format": {"a": "b"}}}}, "body_format"),
        ({"match": {"prefix": "/", "dynamic_metadata": [{}]}, "direct_response": {"status": 200}}, "dynamic_metadata"),
        ({"match": {"prefix": "/", "filter_state": [{}]}, "direct_response": {"status": 200}}, "filter_state"),
        (
            {
                "typed_per_filter_config": {"f": {"@type": "type.googleapis.com/x.Y"}},
                "direct_response": {"status": 200},
            },
            "typed_per_filter_config",
        ),
    ],
)
def test_what_is_refused(route: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        one_route({"match": {"prefix": "/"}, **route})


def test_headers_for_inside_only_and_weights_by_hash() -> None:
    weighted = {"clusters": [{"name": "c", "weight": 1}], "use_hash_policy": True}
    found = routes(
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}}, internal_only_headers=["X-Secret"]
    )
    assert found.internal_only_headers == {b"x-secret"}
    action = found.virtual_hosts[0].routes[0].action
    assert isinstance(action, ForwardAction)
    assert action.weights_by_hash
