"""Priorities and shares by the place of client and endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Locality, Node
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope, scope_of
from isthmus_controlplane.model.testing import admitted, rule, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, translate
from isthmus_controlplane.translate.locality import Client, place
from isthmus_controlplane.translate.traffic_policy import traffic_policy
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE

HOST = "reviews.shop"
NAME = f"outbound|8080||{HOST}"
PLACES = ("eu/west/1", "eu/west/2", "eu/east", "us/west/1", "ap")
SETTING = "localityLbSetting"


def spread(*places: str) -> ConfigObject:
    endpoints = [
        {"address": f"10.0.0.{number}", "locality": where, "weight": number}
        for number, where in enumerate(places, start=1)
    ]
    return service(HOST, endpoints=endpoints)


def detecting(setting: dict[str, Any] | None = None, **more: Any) -> ConfigObject:
    balancer = {"loadBalancer": {SETTING: setting}} if setting is not None else {}
    return rule(HOST, trafficPolicy={"outlierDetection": {}} | balancer, **more)


def seen(
    governing: ConfigObject, locality: str, *places: str, mesh: MeshSettings | None = None
) -> dict[str, tuple[int, int]]:
    """Priority and weight by locality."""
    model = admitted([spread(*(places or PLACES)), governing], mesh=mesh).model
    made: Any = translate(model, Scope(locality=locality)).messages[ENDPOINT_TYPE][NAME]
    return {
        "/".join(filter(None, (each.locality.region, each.locality.zone, each.locality.sub_zone))): (
            each.priority,
            each.load_balancing_weight.value,
        )
        for each in made.endpoints
    }


def priorities(
    governing: ConfigObject, locality: str, *places: str, mesh: MeshSettings | None = None
) -> dict[str, int]:
    return {where: priority for where, (priority, _) in seen(governing, locality, *places, mesh=mesh).items()}


def test_the_nearest_come_first() -> None:
    assert priorities(detecting(), "eu/west/1") == {
        "eu/west/1": 0, "eu/west/2": 1, "eu/east": 2, "us/west/1": 3, "ap": 3
    }  # fmt: skip


def test_priorities_have_no_gaps() -> None:
    assert priorities(detecting(), "eu/west/9", "eu/west/1", "ap") == {"eu/west/1": 0, "ap": 1}
    assert priorities(detecting(), "sa", "eu/west/1", "ap") == {"eu/west/1": 0, "ap": 0}


def test_a_region_fails_over_to_the_one_that_is_named() -> None:
    setting = {"failover": [{"from": "eu", "to": "ap"}, {"from": "us", "to": "eu"}]}
    assert priorities(detecting(setting), "eu/east") == {
        "eu/east": 0, "eu/west/1": 1, "eu/west/2": 1, "ap": 2, "us/west/1": 3
    }  # fmt: skip
    assert priorities(detecting(setting), "us/east") == {
        "us/west/1": 0, "eu/west/1": 1, "eu/west/2": 1, "eu/east": 1, "ap": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("governing", "locality", "mesh"),
    [
        (rule(HOST, trafficPolicy={"loadBalancer": {SETTING: {"enabled": True}}}), "eu/west/1", None),
        (detecting({"enabled": False}), "eu/west/1", None),
        (detecting(), "", None),
        (detecting(), "eu/west/1", MeshSettings(locality_failover=False)),
    ],
    ids=["no outlier detection", "switched off", "client without a place", "off in the mesh"],
)
def test_every_place_is_as_good(governing: ConfigObject, locality: str, mesh: MeshSettings | None) -> None:
    assert set(priorities(governing, locality, mesh=mesh).values()) == {0}


def test_a_rule_may_switch_on_what_the_mesh_has_off() -> None:
    off = MeshSettings(locality_failover=False)
    assert priorities(detecting({"enabled": True}), "ap", mesh=off)["eu/east"] == 1


def test_each_place_gets_its_share_and_others_nothing() -> None:
    shares = {"eu/west/*": 70, "us": 30}
    governing = detecting({"distribute": [{"from": "eu/west", "to": shares}]})
    # Within eu/west by the weights 1 and 2 of the localities, rounded up as Istio does.
    assert seen(governing, "eu/west/2") == {"eu/west/1": (0, 24), "eu/west/2": (0, 47), "us/west/1": (0, 30)}
    model = admitted([spread(*PLACES), governing]).model
    cluster: Any = translate(model, Scope(locality="eu/west/2")).messages[CLUSTER_TYPE][NAME]
    assert cluster.common_lb_config.HasField("locality_weighted_lb_config")
    elsewhere: Any = translate(model, Scope(locality="ap")).messages[CLUSTER_TYPE][NAME]
    assert not elsewhere.common_lb_config.HasField("locality_weighted_lb_config")
    assert priorities(governing, "ap")["ap"] == 0
    assert priorities(governing, "ap")["us/west/1"] == 1


def test_the_narrowest_place_takes_its_endpoints_first() -> None:
    governing = detecting({"distribute": [{"from": "*", "to": {"*": 10, "eu/*": 20, "eu/west/1": 70}}]})
    assert seen(governing, "us", "eu/west/1", "eu/east", "ap") == {
        "eu/west/1": (0, 70), "eu/east": (0, 20), "ap": (0, 10)
    }  # fmt: skip


def test_a_service_by_dns_has_its_priorities_in_the_cluster() -> None:
    endpoints = [{"address": f"{name}.example", "locality": name} for name in ("eu", "us")]
    model = admitted([service(HOST, resolution="DNS", endpoints=endpoints), detecting()]).model
    made: Any = translate(model, Scope(locality="us/a")).messages[CLUSTER_TYPE][NAME]
    assert [each.priority for each in made.load_assignment.endpoints] == [1, 0]


def test_only_clients_of_rules_that_care_are_told_apart() -> None:
    node = Node(id="a", locality=Locality(region="eu", zone="west"))
    said = scope_of(node)
    assert said.locality == "eu/west"
    plain, caring = admitted([spread(*PLACES)]).model, admitted([spread(*PLACES), detecting()]).model
    assert narrow(plain, said, InstanceIndex()).locality == ""
    assert narrow(caring, said, InstanceIndex()).locality == "eu/west"
    assert scope_of(Node(locality=Locality(zone="west"))).locality == ""


def test_a_memo_keeps_places_apart() -> None:
    model, memo = admitted([spread(*PLACES), detecting()]).model, Memo()
    for where in ("eu/west/1", "ap", "eu/west/1"):
        scope = Scope(locality=where)
        assert translate(model, scope, memo).messages == translate(model, scope).messages
        memo.forget(model.services, [scope])


@given(st.lists(st.sampled_from(PLACES), min_size=1, unique=True), st.sampled_from(PLACES), st.booleans())
def test_priorities_number_the_places_from_zero(places: list[str], own: str, named: bool) -> None:
    setting = {"failover": [{"from": "eu", "to": "ap"}]} if named else {}
    found = sorted(set(priorities(detecting(setting), own, *places).values()))
    assert found == list(range(len(found)))


def test_nothing_to_place_is_left_alone() -> None:
    model = admitted([service(HOST), detecting()]).model
    made: Any = translate(model, Scope(locality="eu")).messages[ENDPOINT_TYPE][NAME]
    place(made, traffic_policy(detecting().spec, None, 8080), Client("eu"))
    assert not made.endpoints
