"""Sidecars: what a client hears of, on which listeners, and what it takes."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, Translation, translate, translate_instances
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

BOUND = Scope(interception="NONE", bind="127.0.0.1")
SERVICES = [
    service("reviews.shop", "v1"),
    service("ratings.shop", "v1"),
    service("db.shop", "v1", port=3306, protocol="TCP", addresses=["240.0.0.1"]),
    service("web.example.com", "v1", port=80),
]


def sidecar(namespace: str = "default", name: str = "s", **spec: Any) -> ConfigObject:
    return make("Sidecar", name, spec, namespace)


def translated(*objects: ConfigObject, scope: Scope | None = None, mesh: MeshSettings | None = None) -> Translation:
    model = admitted([*SERVICES, *objects], mesh=mesh).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope or Scope(), index))


def hosts(translation: Translation) -> set[str]:
    return {name.rpartition("|")[2] for name in translation.messages[CLUSTER_TYPE] if name.startswith("outbound")}


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def virtual_hosts(translation: Translation, name: str) -> list[str]:
    return [host["name"] for host in plain(translation.messages[ROUTE_TYPE][name])["virtual_hosts"]]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (["*/*"], {"reviews.shop", "ratings.shop", "db.shop", "web.example.com", "far.other"}),
        (["./*"], {"reviews.shop", "ratings.shop", "db.shop", "web.example.com"}),
        (["other/*"], {"far.other"}),
        (["*/*.shop"], {"reviews.shop", "ratings.shop", "db.shop"}),
        (["./Reviews.shop", "*/*.other"], {"reviews.shop", "far.other"}),
        (["~/*"], set()),
    ],
)
def test_a_client_hears_of_what_its_sidecar_lists(listed: list[str], expected: set[str]) -> None:
    far = make("ServiceEntry", "far", {
        "hosts": ["far.other"], "ports": [{"number": 80, "name": "p", "protocol": "HTTP"}], "resolution": "STATIC",
    }, "other")  # fmt: skip
    made = translated(far, sidecar(egress=[{"hosts": listed}]))
    assert hosts(made) == expected
    named = {name for name in made.messages[LISTENER_TYPE] if name != "virtualOutbound"}
    assert ("240.0.0.1_3306" in named) == ("db.shop" in expected)
    assert bool(named) == bool(expected)


def test_a_route_brings_its_destinations_along_but_no_listeners_for_them() -> None:
    route = virtual_service("reviews.shop", {"route": [{"destination": {"host": "web.example.com"}}]})
    made = translated(route, sidecar(egress=[{"hosts": ["./reviews.shop"]}]))
    assert hosts(made) == {"reviews.shop", "web.example.com"}
    assert list(made.messages[ROUTE_TYPE]) == ["8080"]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([sidecar(egress=[{"hosts": ["./reviews.shop"]}])], {"reviews.shop"}),
        ([sidecar("istio-system", egress=[{"hosts": ["*/ratings.shop"]}])], {"ratings.shop"}),
        ([sidecar("istio-system", egress=[{"hosts": ["*/ratings.shop"]}]), sidecar(egress=[{"hosts": ["*/db.shop"]}])], {"db.shop"}),
        ([sidecar(egress=[{"hosts": ["*/db.shop"]}]),
          sidecar(name="t", workloadSelector={"labels": {"app": "a"}}, egress=[{"hosts": ["*/reviews.shop"]}])], {"reviews.shop"}),
        ([sidecar(egress=[{"hosts": ["*/db.shop"]}]),
          sidecar(name="t", workloadSelector={"labels": {"app": "b"}}, egress=[{"hosts": ["*/reviews.shop"]}])], {"db.shop"}),
    ],
)  # fmt: skip
def test_which_sidecar_governs(objects: list[ConfigObject], expected: set[str]) -> None:
    assert hosts(translated(*objects, scope=Scope(labels=(("app", "a"),)))) == expected


def test_of_two_sidecars_the_first_governs() -> None:
    first, second = (sidecar(name=name, egress=[{"hosts": [f"*/{host}"]}]) for name, host in
                     (("b", "db.shop"), ("a", "ratings.shop")))  # fmt: skip
    before = admitted([*SERVICES, first])
    model = admitted([*SERVICES, first, second], before).model
    assert hosts(translate(model, Scope())) == {"db.shop"}


def test_gateways_and_grpc_clients_have_no_sidecar() -> None:
    for kind in ("gateway", "grpc"):
        assert len(hosts(translated(sidecar(egress=[{"hosts": ["~/*"]}]), scope=Scope(kind=kind)))) == 4


PORT = {"number": 8080, "name": "http", "protocol": "HTTP"}


def test_a_port_of_its_own_has_its_own_hosts() -> None:
    made = translated(
        sidecar(egress=[{"port": PORT, "hosts": ["./reviews.shop"]}, {"hosts": ["./*"]}]), scope=BOUND
    )  # fmt: skip
    assert virtual_hosts(made, "8080") == ["reviews.shop:8080", "block_all"]
    assert virtual_hosts(made, "80") == ["web.example.com:80", "block_all"]
    assert set(made.messages[LISTENER_TYPE]) == {"127.0.0.1_8080", "127.0.0.1_80", "127.0.0.1_3306"}


def test_a_port_of_its_own_may_bind_where_it_likes() -> None:
    for scope in (Scope(), BOUND):
        listed = {"port": PORT, "bind": "127.0.0.9", "captureMode": "NONE", "hosts": ["./*"]}
        listener = plain(translated(sidecar(egress=[listed]), scope=scope).messages[LISTENER_TYPE]["127.0.0.9_8080"])
        assert "bind_to_port" not in listener
    made = translated(sidecar(egress=[{"port": PORT, "hosts": ["./*"]}]))
    assert plain(made.messages[LISTENER_TYPE]["0.0.0.0_8080"])["bind_to_port"] is False
    assert [str(key) for key in made.origins[LISTENER_TYPE, "0.0.0.0_8080"]][-1] == "Sidecar default/s"


def test_a_port_without_services_answers_that_it_knows_none() -> None:
    made = translated(sidecar(egress=[{"port": PORT | {"number": 99}, "hosts": ["./*"]}]))
    assert virtual_hosts(made, "99") == ["block_all"]
    assert hosts(made) == set()


def test_a_tcp_port_of_its_own() -> None:
    port = {"number": 3306, "name": "db", "protocol": "MYSQL"}
    made = translated(sidecar(egress=[{"port": port, "bind": "127.0.0.3", "captureMode": "NONE", "hosts": ["./*"]}]))
    (chain,) = plain(made.messages[LISTENER_TYPE]["127.0.0.3_3306"])["filter_chains"]
    assert chain["filters"][0]["typed_config"]["cluster"] == "outbound|3306||db.shop"


def test_one_listener_for_all_knows_the_hosts_of_the_sidecar() -> None:
    scope = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)
    made = translated(
        sidecar(egress=[{"port": PORT, "hosts": ["./ratings.shop"]}, {"hosts": ["./*.example.com"]}]), scope=scope
    )
    assert set(virtual_hosts(made, "http_proxy")) == {"ratings.shop:8080", "web.example.com:80", "block_all"}


@pytest.mark.parametrize(
    ("policy", "mesh", "passes"),
    [
        ({}, "ALLOW_ANY", True),
        ({"mode": "ALLOW_ANY"}, "REGISTRY_ONLY", True),
        ({"mode": "REGISTRY_ONLY"}, "ALLOW_ANY", False),
    ],
)
def test_unknown_hosts(policy: dict[str, str], mesh: Any, passes: bool) -> None:
    spec: dict[str, Any] = {"outboundTrafficPolicy": policy} if policy else {}
    made = translated(sidecar(**spec), mesh=MeshSettings(mesh))
    assert ("PassthroughCluster" in made.messages[CLUSTER_TYPE]) == passes
    assert virtual_hosts(made, "8080")[-1] == ("allow_any" if passes else "block_all")


INGRESS = {"port": {"number": 9080, "name": "http", "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:8081"}


def endpoint(translation: Translation, name: str) -> Any:
    (locality,) = plain(translation.messages[CLUSTER_TYPE][name])["load_assignment"]["endpoints"]
    return locality["lb_endpoints"][0]["endpoint"]["address"]


def test_without_redirection_a_sidecar_says_what_is_taken() -> None:
    made = translated(sidecar(ingress=[INGRESS | {"bind": "127.0.0.5"}]), scope=BOUND)
    (chain,) = plain(made.messages[LISTENER_TYPE]["127.0.0.5_9080"])["filter_chains"]
    assert "filter_chain_match" not in chain or chain["filter_chain_match"] == {}
    assert endpoint(made, "inbound|9080||") == {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}
    assert [str(key) for key in made.origins[LISTENER_TYPE, "127.0.0.5_9080"]] == ["Sidecar default/s"]
    assert "virtualInbound" not in made.messages[LISTENER_TYPE]


def test_with_redirection_the_ports_of_a_sidecar_stand_in_for_those_of_services() -> None:
    scope = Scope(addresses=("10.0.0.1",))
    made = translated(sidecar(ingress=[INGRESS | {"defaultEndpoint": "[::1]:7000"}]), scope=scope)
    chains = plain(made.messages[LISTENER_TYPE]["virtualInbound"])["filter_chains"]
    assert [chain["name"] for chain in chains] == [
        "virtualInbound-blackhole",
        "0.0.0.0_9080",
        "virtualInbound-catchall",
    ]
    assert endpoint(made, "inbound|9080||") == {"socket_address": {"address": "::1", "port_value": 7000}}


def test_policies_stand_before_what_a_sidecar_takes() -> None:
    policy = make("AuthorizationPolicy", "p", {"action": "DENY", "rules": [{}]})
    made = translated(policy, sidecar(ingress=[INGRESS]), scope=BOUND)
    (chain,) = plain(made.messages[LISTENER_TYPE]["0.0.0.0_9080"])["filter_chains"]
    filters = [each["name"] for each in chain["filters"][0]["typed_config"]["http_filters"]]
    assert filters == ["envoy.filters.http.rbac", "envoy.filters.http.router"]


def test_limits_towards_the_application() -> None:
    own = INGRESS | {
        "connectionPool": {"tcp": {"maxConnections": 3}},
        "port": {"number": 1, "name": "a", "protocol": "TCP"},
    }
    made = translated(
        sidecar(ingress=[INGRESS, own], inboundConnectionPool={"tcp": {"maxConnections": 5}}), scope=BOUND
    )
    limits = [
        plain(made.messages[CLUSTER_TYPE][f"inbound|{port}||"])["circuit_breakers"]["thresholds"][0]["max_connections"]
        for port in (9080, 1)
    ]
    assert limits == [5, 3]


def test_an_inbound_port_that_outbound_traffic_has_is_reported() -> None:
    listed = INGRESS | {"bind": "127.0.0.1", "port": {"number": 8080, "name": "a", "protocol": "HTTP"}}
    made = translated(sidecar(ingress=[listed]), scope=BOUND)
    assert [problem.path for problem in made.problems] == ["spec.ingress"]


def test_instances_of_services_that_are_not_listed_change_nothing() -> None:
    listed = sidecar(egress=[{"hosts": ["*/db.shop"]}])
    memo = Memo()
    before = admitted([*SERVICES, listed])
    first = translate(before.model, Scope(), memo)
    after = admitted([service("reviews.shop", "v1", "v2"), *SERVICES[1:], listed], before)
    second = translate_instances(after.model, Scope(), memo, first, ["reviews.shop"])
    assert second.messages == first.messages == translate(after.model, Scope()).messages
    assert second.imported == frozenset({"db.shop"})
