"""Route configurations: virtual hosts, matches, actions."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service, split, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import ROUTE_TYPE

HOST = "reviews.shop"
CLUSTER = f"outbound|8080||{HOST}"
ROUTE = [{"destination": {"host": HOST}}]
DEFAULT_RETRY = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": "5",
}
EXPLICIT = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)


def configuration(
    *objects: ConfigObject, name: str = "8080", scope: Scope | None = None, mesh: MeshSettings | None = None
) -> Any:
    message = translate(admitted(objects, mesh=mesh).model, scope or Scope()).messages[ROUTE_TYPE][name]
    return MessageToDict(message, preserving_proto_field_name=True)


def routes(*http: dict[str, Any], port: int = 8080) -> Any:
    """The routes of one service with these HTTPRoutes."""
    made = configuration(service(HOST, port=port), virtual_service(HOST, *http), name=str(port))
    (host,) = [each for each in made["virtual_hosts"] if each["name"] == f"{HOST}:{port}"]
    return host.get("routes", [])


def route(http: dict[str, Any]) -> Any:
    (only,) = routes(http)
    return only


def test_a_service_without_rules_has_one_default_route() -> None:
    assert configuration(service(HOST)) == {
        "name": "8080",
        "validate_clusters": False,
        "virtual_hosts": [
            {
                "name": "reviews.shop:8080",
                "domains": ["reviews.shop", "reviews.shop:8080"],
                "routes": [
                    {
                        "name": "default",
                        "match": {"prefix": "/"},
                        "route": {"cluster": CLUSTER, "timeout": "0s", "retry_policy": DEFAULT_RETRY},
                    }
                ],
            },
            {
                "name": "block_all",
                "domains": ["*"],
                "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
            },
        ],
    }


def test_unknown_hosts_pass_through_where_that_is_asked_for_and_possible() -> None:
    allow = MeshSettings("ALLOW_ANY")
    last = configuration(service(HOST), mesh=allow)["virtual_hosts"][-1]
    assert (last["name"], last["routes"][0]["route"]["cluster"]) == ("allow_any", "PassthroughCluster")
    explicit = configuration(service(HOST), mesh=allow, name="http_proxy", scope=EXPLICIT)["virtual_hosts"][-1]
    assert explicit["name"] == "block_all"


def test_weights_become_weighted_clusters() -> None:
    objects = service(HOST, "v1", "v2"), rule(HOST, "v1", "v2"), split(HOST, {"v1": 90, "v2": 10})
    action = configuration(*objects)["virtual_hosts"][0]["routes"][0]["route"]
    assert action["weighted_clusters"] == {
        "clusters": [
            {"name": f"outbound|8080|v1|{HOST}", "weight": 90},
            {"name": f"outbound|8080|v2|{HOST}", "weight": 10},
        ]
    }


def test_a_weight_of_zero_is_left_out() -> None:
    objects = service(HOST, "v1", "v2"), rule(HOST, "v1", "v2"), split(HOST, {"v1": 0, "v2": 100})
    action = configuration(*objects)["virtual_hosts"][0]["routes"][0]["route"]
    assert action["cluster"] == f"outbound|8080|v2|{HOST}"


def test_a_destination_that_is_gone_gets_the_black_hole_for_its_share() -> None:
    other = service("other.shop")
    both = [{"destination": {"host": HOST}, "weight": 1}, {"destination": {"host": "other.shop"}, "weight": 1}]
    shared = virtual_service(HOST, {"route": both})
    before = admitted([service(HOST), other, shared])
    model = admitted([service(HOST), shared], before).model
    made = MessageToDict(translate(model, Scope()).messages[ROUTE_TYPE]["8080"], preserving_proto_field_name=True)
    clusters = made["virtual_hosts"][0]["routes"][0]["route"]["weighted_clusters"]["clusters"]
    assert [each["name"] for each in clusters] == [CLUSTER, "BlackHoleCluster"]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a"}),
        ({"uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        ({"uri": {"regex": "/a+"}}, {"safe_regex": {"regex": "/a+"}}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, {"prefix": "/a", "case_sensitive": False}),
        ({"method": {"exact": "GET"}}, {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}),
        ({"authority": {"prefix": "a."}}, {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"prefix": "a."}}]}),
        ({"headers": {"x-b": {"regex": "1.*"}, "x-a": {}}},
         {"prefix": "/", "headers": [{"name": "x-a", "present_match": True},
                                     {"name": "x-b", "string_match": {"safe_regex": {"regex": "1.*"}}}]}),
        ({"withoutHeaders": {"x-a": {"exact": "1"}}},
         {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "1"}, "invert_match": True,
                                      "treat_missing_header_as_empty": True}]}),
        ({"withoutHeaders": {"x-a": {}}}, {"prefix": "/", "headers": [{"name": "x-a", "present_match": True, "invert_match": True}]}),
        ({"queryParams": {"q": {"exact": "1"}, "p": {}}},
         {"prefix": "/", "query_parameters": [{"name": "p", "present_match": True}, {"name": "q", "string_match": {"exact": "1"}}]}),
    ],
)  # fmt: skip
def test_matches(match: dict[str, Any], expected: dict[str, Any]) -> None:
    assert route({"match": [match], "route": ROUTE})["match"] == expected


def test_several_matches_are_routes_in_their_order_and_the_first_catch_all_is_the_last() -> None:
    made = routes(
        {"name": "items", "match": [{"name": "a", "uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}], "route": ROUTE},
        {"name": "rest", "route": ROUTE},
    )
    assert [(each["name"], each["match"]["prefix"]) for each in made] == [
        ("items.a", "/a"),
        ("items", "/b"),
        ("rest", "/"),
    ]


def test_matches_of_other_ports_and_namespaces_are_left_out() -> None:
    matches = [
        {"port": 80, "uri": {"prefix": "/other"}},
        {"sourceNamespace": "shop"},
        {"port": 8080, "uri": {"prefix": "/here"}},
    ]
    assert [each["match"]["prefix"] for each in routes({"match": matches, "route": ROUTE})] == ["/here"]


@pytest.mark.parametrize(("timeout", "expected"), [("0.2s", "0.200s"), ("0s", None)])
def test_grpc_clients_read_the_timeout_from_the_stream_duration(timeout: str, expected: str | None) -> None:
    objects = [service(HOST), virtual_service(HOST, {"route": ROUTE, "timeout": timeout})]
    made = configuration(*objects, name=f"{HOST}:8080", scope=Scope(kind="grpc"))
    (route,) = made["virtual_hosts"][0]["routes"]
    assert route["route"].get("max_stream_duration", {}).get("max_stream_duration") == expected
    (host, _) = configuration(*objects)["virtual_hosts"]
    assert "max_stream_duration" not in host["routes"][0]["route"]


def test_timeout_and_retries() -> None:
    retries = {
        "attempts": 3,
        "perTryTimeout": "2s",
        "retryOn": "503, reset,504",
        "backoff": "0.1s",
        "retryIgnorePreviousHosts": False,
    }
    action = route({"route": ROUTE, "timeout": "7s", "retries": retries})["route"]
    assert action == {
        "cluster": CLUSTER,
        "timeout": "7s",
        "retry_policy": {
            "retry_on": "reset,retriable-status-codes",
            "num_retries": 3,
            "per_try_timeout": "2s",
            "retriable_status_codes": [503, 504],
            "retry_back_off": {"base_interval": "0.100s"},
            "host_selection_retry_max_attempts": "5",
        },
    }


def test_retries_may_leave_priorities_that_failed() -> None:
    policy = route({"route": ROUTE, "retries": {"attempts": 3, "retryRemoteLocalities": True}})["route"]["retry_policy"]
    kind = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    assert policy["retry_priority"] == {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {"@type": kind, "update_frequency": 2},
    }


def test_no_attempts_mean_no_retries() -> None:
    assert "retry_policy" not in route({"route": ROUTE, "retries": {"attempts": 0}})["route"]


def test_rewrite() -> None:
    action = route({"match": [{"uri": {"prefix": "/a"}}], "route": ROUTE, "rewrite": {"uri": "/b", "authority": "c"}})[
        "route"
    ]
    assert (action["prefix_rewrite"], action["host_rewrite_literal"]) == ("/b", "c")
    action = route({"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "a(.)", "rewrite": "\\1"}}})["route"]
    assert action["regex_rewrite"] == {"pattern": {"regex": "a(.)"}, "substitution": "\\1"}


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"uri": "/b"}, {"path_redirect": "/b"}),
        ({"prefixRewrite": "/b", "redirectCode": 308}, {"prefix_rewrite": "/b", "response_code": "PERMANENT_REDIRECT"}),
        (
            {"authority": "b", "scheme": "https", "port": 444},
            {"host_redirect": "b", "scheme_redirect": "https", "port_redirect": 444},
        ),
        ({"authority": "b", "derivePort": "FROM_REQUEST_PORT"}, {"host_redirect": "b", "port_redirect": 8080}),
        ({"authority": "b", "derivePort": "FROM_PROTOCOL_DEFAULT"}, {"host_redirect": "b"}),
    ],
)
def test_redirects(redirect: dict[str, Any], expected: dict[str, Any]) -> None:
    assert route({"redirect": redirect})["redirect"] == expected


def test_direct_response() -> None:
    made = route({"directResponse": {"status": 503, "body": {"string": "closed"}}})
    assert made["direct_response"] == {"status": 503, "body": {"inline_string": "closed"}}


def test_header_edits() -> None:
    edits = {
        "request": {"set": {"x-b": "2", "x-a": "1"}, "add": {"x-c": "3"}, "remove": ["x-d"]},
        "response": {"remove": ["server"]},
    }
    made = route({"route": ROUTE, "headers": edits})
    assert made["request_headers_to_add"] == [
        {"header": {"key": "x-a", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "x-b", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "x-c", "value": "3"}},
    ]
    assert made["request_headers_to_remove"] == ["x-d"]
    assert made["response_headers_to_remove"] == ["server"]


def test_header_edits_of_one_destination_stay_with_it() -> None:
    targets = [
        {"destination": {"host": HOST}, "weight": 1, "headers": {"response": {"add": {"x-canary": "yes"}}}},
        {"destination": {"host": HOST}, "weight": 9},
    ]
    clusters = route({"route": targets})["route"]["weighted_clusters"]["clusters"]
    assert [("response_headers_to_add" in each) for each in clusters] == [True, False]


def mirrored(http: dict[str, Any], *objects: ConfigObject) -> list[Any]:
    made = configuration(service(HOST), *objects, virtual_service(HOST, {"route": ROUTE} | http))
    (host,) = [each for each in made["virtual_hosts"] if each["name"] == f"{HOST}:8080"]
    found: list[Any] = host["routes"][0]["route"].get("request_mirror_policies", [])
    return found


@pytest.mark.parametrize(
    ("http", "numerators"),
    [
        ({"mirror": {"host": HOST}}, [1_000_000]),
        ({"mirror": {"host": HOST}, "mirrorPercentage": {"value": 0.1}}, [1000]),
        ({"mirror": {"host": HOST}, "mirrorPercentage": {"value": 0}}, []),
        ({"mirror": {"host": HOST}, "mirrorPercentage": {}}, []),
        ({"mirrors": [{"destination": {"host": HOST}, "percentage": {"value": 33.3}}, {"destination": {"host": HOST}}]},
         [333_000, 1_000_000]),
    ],
)  # fmt: skip
def test_mirrors(http: dict[str, Any], numerators: list[int]) -> None:
    assert mirrored(http) == [
        {
            "cluster": CLUSTER,
            "runtime_fraction": {"default_value": {"numerator": numerator, "denominator": "MILLION"}},
            "trace_sampled": False,
        }
        for numerator in numerators
    ]


def test_a_mirror_may_be_another_host_and_subset() -> None:
    other = service("other.shop", "v1"), rule("other.shop", "v1")
    (policy,) = mirrored({"mirror": {"host": "other.shop", "subset": "v1"}}, *other)
    assert policy["cluster"] == "outbound|8080|v1|other.shop"


def test_nothing_is_mirrored_to_what_is_gone() -> None:
    other, web = service("other.shop"), service(HOST)
    route = virtual_service(HOST, {"route": ROUTE, "mirror": {"host": "other.shop"}})
    state = admitted([web, route], admitted([web, other, route]))
    made: Any = translate(state.model, Scope()).messages[ROUTE_TYPE]["8080"]
    assert made.virtual_hosts[0].name == f"{HOST}:8080"
    assert made.virtual_hosts[0].routes[0].route.cluster == CLUSTER
    assert not made.virtual_hosts[0].routes[0].route.request_mirror_policies
    assert [problem.path for problem in state.problems] == ["spec.http[0].mirror.host"]


def test_short_names_of_cluster_services() -> None:
    host = "reviews.shop.svc.cluster.local"

    def domains(namespace: str) -> list[str]:
        made = configuration(service(host), scope=Scope(namespace=namespace))
        return [domain for domain in made["virtual_hosts"][0]["domains"] if ":" not in domain]

    assert domains("shop") == [host, "reviews", "reviews.shop", "reviews.shop.svc"]
    assert domains("other") == [host, "reviews.shop", "reviews.shop.svc"]


def test_rules_may_write_short_names() -> None:
    host = "reviews.default.svc.cluster.local"
    made = configuration(
        service(host), virtual_service("reviews", {"route": [{"destination": {"host": "reviews"}}], "timeout": "1s"})
    )
    assert made["virtual_hosts"][0]["routes"][0]["route"]["timeout"] == "1s"


def test_virtual_addresses_are_domains_and_a_domain_stands_only_once() -> None:
    one, two = service("a.shop", addresses=["240.0.0.1", "2001:db8::1"]), service("b.shop", addresses=["240.0.0.1"])
    first, second, _ = configuration(one, two)["virtual_hosts"]
    assert first["domains"] == [
        "a.shop",
        "a.shop:8080",
        "2001:db8::1",
        "[2001:db8::1]:8080",
        "240.0.0.1",
        "240.0.0.1:8080",
    ]
    assert second["domains"] == ["b.shop", "b.shop:8080"]


def test_an_explicit_proxy_has_all_ports_in_one_configuration() -> None:
    ports = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (8081, 8080)]
    made = configuration(service("a.shop", ports=ports), service("b.shop", port=80), name="http_proxy", scope=EXPLICIT)
    assert {host["name"]: host["domains"] for host in made["virtual_hosts"]} == {
        "a.shop:8080": ["a.shop", "a.shop:8080"],
        "a.shop:8081": ["a.shop:8081"],
        "b.shop:80": ["b.shop", "b.shop:80"],
        "block_all": ["*"],
    }


def test_the_bare_name_means_port_80_where_there_is_one() -> None:
    ports = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (79, 80)]
    made = configuration(service("a.shop", ports=ports), name="http_proxy", scope=EXPLICIT)
    assert made["virtual_hosts"][1]["domains"] == ["a.shop", "a.shop:80"]
