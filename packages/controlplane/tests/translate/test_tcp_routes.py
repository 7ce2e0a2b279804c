"""TCP routes of VirtualServices."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE

HOST = "db.shop"
OWN = f"outbound|3306||{HOST}"
DATABASE = service(HOST, "v1", "v2", port=3306, protocol="TCP")
SUBSETS = rule(HOST, "v1", "v2")


def to(host: str = HOST, weight: int = 0, **destination: Any) -> dict[str, Any]:
    return {"destination": {"host": host, **destination}, "weight": weight}


def routed(*tcp: dict[str, Any]) -> ConfigObject:
    return virtual_service(HOST, tcp=list(tcp))


def proxy(*objects: ConfigObject, scope: Scope | None = None, name: str = "0.0.0.0_3306") -> Any:
    listener = MessageToDict(
        translate(admitted(objects).model, scope or Scope()).messages[LISTENER_TYPE][name],
        preserving_proto_field_name=True,
    )
    config = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return {name: value for name, value in config.items() if name in {"cluster", "weighted_clusters"}}


def problems(*objects: ConfigObject) -> list[str]:
    return [problem.path for problem in admitted(objects).problems]


def test_connections_are_split_by_weight() -> None:
    made = proxy(DATABASE, SUBSETS, routed({"route": [to(subset="v1", weight=9), to(subset="v2", weight=1)]}))
    clusters = [
        {"name": f"outbound|3306|{subset}|{HOST}", "weight": weight} for subset, weight in (("v1", 9), ("v2", 1))
    ]
    assert made == {"weighted_clusters": {"clusters": clusters}}


def test_a_weight_of_zero_is_left_out_beside_others() -> None:
    made = proxy(DATABASE, SUBSETS, routed({"route": [to(subset="v1", weight=1), to(subset="v2")]}))
    assert made == {"cluster": f"outbound|3306|v1|{HOST}"}
    assert proxy(DATABASE, SUBSETS, routed({"route": [to(subset="v2")]})) == {"cluster": f"outbound|3306|v2|{HOST}"}


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ([], True),
        ([{"port": 3306}], True),
        ([{"port": 1}], False),
        ([{"port": 1}, {"gateways": ["mesh"]}], True),
        ([{"sourceNamespace": "default"}], True),
        ([{"sourceNamespace": "other"}], False),
    ],
)
def test_the_first_route_that_matches_takes_a_connection(match: list[dict[str, Any]], taken: bool) -> None:
    never, other = {"match": [{"port": 2}], "route": [to(subset="v2")]}, {"match": match, "route": [to(subset="v1")]}
    assert proxy(DATABASE, SUBSETS, routed(never, other)) == {"cluster": f"outbound|3306|v1|{HOST}" if taken else OWN}


def test_another_host_is_reached_at_its_only_tcp_port() -> None:
    ports = [
        {"number": number, "name": name, "protocol": name.upper()} for number, name in ((80, "http"), (3307, "tcp"))
    ]
    other = service("other.shop", ports=ports)
    assert proxy(DATABASE, other, routed({"route": [to("other.shop")]})) == {"cluster": "outbound|3307||other.shop"}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (to("nobody.shop"), "host"),
        (to(subset="v9"), "subset"),
        (to("web.shop"), "host"),
        (to("two.shop"), "port.number"),
        (to(port={"number": 1}), "port.number"),
    ],
)
def test_what_does_not_exist_is_reported_and_not_used(target: dict[str, Any], path: str) -> None:
    ports = [{"number": number, "name": f"p{number}", "protocol": "TCP"} for number in (1, 2)]
    objects = DATABASE, SUBSETS, service("web.shop"), service("two.shop", ports=ports, addresses=["240.0.0.2"])
    route = routed({"route": [target]})
    assert problems(*objects, route) == [f"spec.tcp[0].route[0].destination.{path}"]
    assert proxy(*objects, route) == {"cluster": OWN}


def test_a_destination_that_is_gone_closes_its_share() -> None:
    other = service("other.shop", port=3307, protocol="TCP")
    route = routed({"route": [to(weight=1), to("other.shop", weight=1)]})
    state = admitted([DATABASE, route], admitted([DATABASE, other, route]))
    listener: Any = translate(state.model, Scope()).messages[LISTENER_TYPE]["0.0.0.0_3306"]
    config = MessageToDict(listener)["filterChains"][0]["filters"][0]["typedConfig"]
    assert [each["name"] for each in config["weightedClusters"]["clusters"]] == [OWN, "BlackHoleCluster"]


def test_subsets_that_connections_use_outlive_their_removal() -> None:
    route = routed({"route": [to(subset="v1")]})
    state = admitted([DATABASE, rule(HOST), route], admitted([DATABASE, SUBSETS, route]))
    assert [problem.path for problem in state.problems] == ["spec.subsets"]


def test_http_ports_of_a_host_with_tcp_routes_only_keep_their_default() -> None:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 3306, "name": "tcp", "protocol": "TCP"}]
    objects = service(HOST, ports=ports), routed({"route": [to()]})
    made: Any = translate(admitted(objects).model, Scope()).messages[ROUTE_TYPE]["80"]
    assert made.virtual_hosts[0].routes[0].route.cluster == f"outbound|80||{HOST}"
    assert proxy(*objects) == {"cluster": OWN}


def test_a_listener_names_the_route_that_it_follows() -> None:
    used, unused = routed({"route": [to()]}), routed({"match": [{"port": 1}], "route": [to()]})
    for route, expected in ((used, (DATABASE.key, used.key)), (unused, (DATABASE.key,))):
        translation = translate(admitted([DATABASE, route]).model, Scope())
        assert translation.origins[LISTENER_TYPE, "0.0.0.0_3306"] == expected
