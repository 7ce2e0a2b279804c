"""Rejections led back to what users wrote."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, rule, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.attribution import Rejected, causes
from isthmus_controlplane.translate.route_sources import route_sources
from isthmus_controlplane.translate.source import Source
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE
from isthmus_controlplane.translate.virtual_hosts import route_paths

HOST = "reviews.shop"
TO = {"destination": {"host": HOST}}
VIRTUAL = virtual_service(
    HOST,
    {"match": [{"uri": {"prefix": "/a"}}, {"uri": {"regex": "/x{1001}"}, "port": 81}], "route": [TO]},
    {"match": [{"uri": {"exact": "/b"}, "port": 9999}], "route": [TO]},
    {"name": "rest", "route": [TO], "headers": {"response": {"set": {"x-owner": "team-a"}}}},
)
RULE = rule(
    HOST,
    "v1",
    trafficPolicy={"outlierDetection": {"maxEjectionPercent": 10}, "connectionPool": {"tcp": {"maxConnections": 5}}},
)
PORTED = make(
    "DestinationRule",
    "ported",
    {
        "host": "other.shop",
        "trafficPolicy": {
            "outlierDetection": {"interval": "5s"},
            "portLevelSettings": [{"port": {"number": 8080}, "outlierDetection": {"interval": "9s"}}],
        },
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"outlierDetection": {"interval": "7s"}}}
        ],
    },
)
ENTRY, OTHER = service(HOST, "v1"), service("other.shop", "v1")


def model() -> Model:
    return admitted([ENTRY, OTHER, VIRTUAL, RULE, PORTED]).model


def told(type_url: str, error: str, *names: str, changed: dict[Any, int] | None = None) -> list[str]:
    held = model()
    translation = translate(held, Scope())
    objects: dict[Any, ConfigObject] = {each.key: each for each in (ENTRY, OTHER, VIRTUAL, RULE, PORTED)}
    rejected = Rejected(
        type_url, names, error, translation.messages.get(type_url, {}), translation.origins, objects,
        functools.partial(route_sources, held, Scope()), changed or {},
    )  # fmt: skip
    return [str(cause) for cause in causes(rejected)]


ENVOY_ROUTE = (
    "Proto constraint validation failed (RouteConfigurationValidationError.VirtualHosts[{}]: embedded message failed "
    "validation | caused by VirtualHostValidationError.Routes[{}]: embedded message failed validation | caused by x)"
)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ENVOY_ROUTE.format(1, 0), [f"{VIRTUAL.key} spec.http[0].match[0]"]),
        (ENVOY_ROUTE.format(1, 1), [f"{VIRTUAL.key} spec.http[2]"]),
        (
            "errors validating: field:virtual_hosts[1].routes[0].route error:no",
            [f"{VIRTUAL.key} spec.http[0].match[0]"],
        ),
        (ENVOY_ROUTE.format(1, 7), [f"{VIRTUAL.key}"]),
        ("Invalid regex '/x{1001}': bad repetition", [f"{VIRTUAL.key} spec.http[0].match[1].uri.regex"]),
        (ENVOY_ROUTE.format(1, 1) + ' "team-a"', [f"{VIRTUAL.key} spec.http[2].headers.response.set[x-owner]"]),
        ("header x-owner is not allowed", [f"{VIRTUAL.key} spec.http[2].headers.response.set[x-owner]"]),
        ("invalid repetition size: {1001}", [f"{VIRTUAL.key} spec.http[0].match[1].uri.regex"]),
        ("no", sorted(str(each.key) for each in (ENTRY, OTHER, VIRTUAL))),
        (ENVOY_ROUTE.format(99, 0), sorted(str(each.key) for each in (ENTRY, OTHER, VIRTUAL))),
    ],
)
def test_routes(error: str, wanted: list[str]) -> None:
    assert told(ROUTE_TYPE, error, "8080") == wanted


@pytest.mark.parametrize(
    ("name", "error", "wanted"),
    [
        (
            f"outbound|8080||{HOST}",
            "ClusterValidationError.OutlierDetection: embedded | caused by MaxEjectionPercent: value must be <= 100",
            [f"{RULE.key} spec.trafficPolicy.outlierDetection"],
        ),
        (
            f"outbound|8080|v1|{HOST}",
            "field:circuit_breakers.thresholds error:unsupported",
            [f"{RULE.key} spec.trafficPolicy.connectionPool"],
        ),
        (
            "outbound|8080||other.shop",
            "outlier_detection.interval: must be positive",
            [f"{PORTED.key} spec.trafficPolicy.portLevelSettings[0].outlierDetection"],
        ),
        (
            "outbound|8080|v1|other.shop",
            "outlier_detection.interval: must be positive",
            [f"{PORTED.key} spec.subsets[0].trafficPolicy.outlierDetection"],
        ),
        (
            f"outbound|8080||{HOST}",
            f"Error adding/updating cluster(s) outbound|8080||{HOST}: malformed IP address: 10.0.0.1",
            [f"{ENTRY.key} spec.endpoints[0].address"],
        ),
        (f"outbound|8080||{HOST}", f"outbound|8080||{HOST}: no", [f"{RULE.key}", f"{ENTRY.key}"]),
    ],
)
def test_clusters(name: str, error: str, wanted: list[str]) -> None:
    assert told(CLUSTER_TYPE, error, name) == wanted


def test_without_words_to_go_by_it_is_what_changed_last() -> None:
    changed = {ENTRY.key: 1, OTHER.key: 3, VIRTUAL.key: 3, RULE.key: 7}
    assert told(ROUTE_TYPE, "no", "8080", changed=changed) == [str(OTHER.key), str(VIRTUAL.key)]
    assert told(ROUTE_TYPE, "x-owner", "8080", changed={ENTRY.key: 9}) == [
        f"{VIRTUAL.key} spec.http[2].headers.response.set[x-owner]"
    ]


def test_other_types_name_objects() -> None:
    assert told(LISTENER_TYPE, "cannot bind 0.0.0.0_8080", "0.0.0.0_8080") == [str(OTHER.key), str(ENTRY.key)]
    assert told(LISTENER_TYPE, "x", "unknown") == []


@given(st.text(max_size=200), st.sampled_from([ROUTE_TYPE, CLUSTER_TYPE, LISTENER_TYPE]))
def test_any_words_lead_to_objects_of_the_resource_or_nowhere(error: str, type_url: str) -> None:
    translation = translate(model(), Scope())
    for name in translation.messages[type_url]:
        origins = {str(key) for key in translation.origins[type_url, name]}
        assert {cause.partition(" spec")[0] for cause in told(type_url, error, name)} <= origins


def test_there_is_a_path_for_each_route() -> None:
    configuration: Any = translate(model(), Scope()).messages[ROUTE_TYPE]["8080"]
    routes = next(host.routes for host in configuration.virtual_hosts if host.name == f"{HOST}:8080")
    assert len(routes) == len(list(route_paths(VIRTUAL, Source(8080, "default", {}, "mesh", "default")))) == 2
