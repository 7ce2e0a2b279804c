"""Faults and CORS: on routes, and the filters that read them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE

HOST = "reviews.shop"
ROUTE = {"route": [{"destination": {"host": HOST}}]}
FAULT, CORS, ROUTER = (f"envoy.filters.http.{name}" for name in ("fault", "cors", "router"))
EXPLICIT = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)
GRPC = Scope(kind="grpc")
ABORT = {"fault": {"abort": {"httpStatus": 500}}}
BROWSERS: dict[str, Any] = {"corsPolicy": {"allowOrigins": [{"exact": "*"}]}}


def translated(*http: dict[str, Any], scope: Scope | None = None) -> Translation:
    objects: list[ConfigObject] = [service(HOST), service("plain.shop", port=81)]
    return translate(admitted([*objects, virtual_service(HOST, *http)]).model, scope or Scope())


def overrides(http: dict[str, Any], scope: Scope | None = None, name: str = "8080") -> Any:
    made = MessageToDict(
        translated(ROUTE | http, scope=scope).messages[ROUTE_TYPE][name], preserving_proto_field_name=True
    )
    (host,) = [each for each in made["virtual_hosts"] if each["name"] == f"{HOST}:8080"]
    return host["routes"][0].get("typed_per_filter_config", {})


def filters(translation: Translation, name: str) -> list[str]:
    listener = MessageToDict(translation.messages[LISTENER_TYPE][name])
    manager = (
        listener.get("apiListener", {}).get("apiListener") or listener["filterChains"][0]["filters"][0]["typedConfig"]
    )
    return [each["name"] for each in manager["httpFilters"]]


def fault(**settings: Any) -> Any:
    made = overrides({"fault": settings})[FAULT]
    assert made.pop("@type").endswith("/envoy.extensions.filters.http.fault.v3.HTTPFault")
    return made


def cors(**settings: Any) -> Any:
    made = overrides({"corsPolicy": settings})[CORS]
    assert made.pop("@type").endswith("/envoy.extensions.filters.http.cors.v3.CorsPolicy")
    always = {"default_value": {"numerator": 1_000_000, "denominator": "MILLION"}}
    assert made.pop("filter_enabled") == always
    return made


def test_delays() -> None:
    percentage = {"numerator": 1000, "denominator": "MILLION"}
    expected = {"delay": {"fixed_delay": "5s", "percentage": percentage}}
    assert fault(delay={"fixedDelay": "5s", "percentage": {"value": 0.1}}) == expected


def test_aborts() -> None:
    all_of_them = {"numerator": 1_000_000, "denominator": "MILLION"}
    assert fault(abort={"httpStatus": 418, "percentage": {"value": 100}}) == {
        "abort": {"http_status": 418, "percentage": all_of_them}
    }
    assert fault(abort={"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}) == {
        "abort": {"grpc_status": 14, "percentage": all_of_them}
    }


def test_a_fault_without_percentage_hits_nothing() -> None:
    made = fault(delay={"fixedDelay": "5s"}, abort={"httpStatus": 500})
    assert [made[name]["percentage"] for name in ("delay", "abort")] == [{"denominator": "MILLION"}] * 2


def test_all_of_a_cors_policy() -> None:
    origins = [{"exact": "*"}, {"prefix": "https://"}, {"regex": "a.*"}, {"prefix": ""}]
    made = cors(
        allowOrigins=origins, allowMethods=["GET", "PUT"], allowHeaders=["x-a", "x-b"], exposeHeaders=["*"],
        maxAge="1h", allowCredentials=False, unmatchedPreflights="IGNORE",
    )  # fmt: skip
    assert made == {
        "allow_origin_string_match": [
            {"exact": "*"}, {"prefix": "https://"}, {"safe_regex": {"regex": "a.*"}}, {"safe_regex": {"regex": ".*"}},
        ],
        "allow_methods": "GET,PUT", "allow_headers": "x-a,x-b", "expose_headers": "*", "max_age": "3600",
        "allow_credentials": False, "forward_not_matching_preflights": False,
    }  # fmt: skip


@pytest.mark.parametrize(("choice", "expected"), [("UNSPECIFIED", None), ("FORWARD", True), ("IGNORE", False)])
def test_preflights_that_match_no_origin(choice: str, expected: bool | None) -> None:
    assert cors(unmatchedPreflights=choice).get("forward_not_matching_preflights") is expected


def test_redirects_and_direct_responses_have_them_too() -> None:
    answer = {"directResponse": {"status": 200}} | ABORT | BROWSERS
    made: Any = translated(answer).messages[ROUTE_TYPE]["8080"]
    assert sorted(made.virtual_hosts[0].routes[0].typed_per_filter_config) == [CORS, FAULT]


@pytest.mark.parametrize(
    ("http", "expected"),
    [({}, [ROUTER]), (ABORT, [FAULT, ROUTER]), (BROWSERS, [CORS, ROUTER]), (ABORT | BROWSERS, [FAULT, CORS, ROUTER])],
)
def test_a_listener_has_the_filters_that_its_routes_need(http: dict[str, Any], expected: list[str]) -> None:
    never = {"match": [{"uri": {"exact": "/"}}]} | ROUTE
    translation = translated(never | http, ROUTE)
    assert filters(translation, "0.0.0.0_8080") == expected
    assert filters(translation, "0.0.0.0_81") == [ROUTER]
    assert filters(translated(never | http, ROUTE, scope=EXPLICIT), "http_proxy") == expected


def test_grpc_clients_get_faults_and_no_cors() -> None:
    translation = translated(ROUTE | ABORT | BROWSERS, scope=GRPC)
    assert filters(translation, f"{HOST}:8080") == [FAULT, ROUTER]
    assert filters(translation, "plain.shop:81") == [ROUTER]
    assert list(overrides(ABORT | BROWSERS, GRPC, f"{HOST}:8080")) == [FAULT]


def test_a_listener_names_the_objects_that_need_its_filters() -> None:
    plain, faulty = translated(ROUTE), translated(ROUTE | ABORT)
    keys = [key.kind for key in faulty.origins[LISTENER_TYPE, "0.0.0.0_8080"]]
    assert keys == ["ServiceEntry", "VirtualService"]
    assert [key.kind for key in plain.origins[LISTENER_TYPE, "0.0.0.0_8080"]] == ["ServiceEntry"]
