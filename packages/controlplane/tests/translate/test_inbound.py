"""Inbound listeners: what a sidecar takes for its application, and behind which policies."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import CertificateFiles, Scope, scope_of
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE

HOST = "reviews.shop"
HERE = Scope(labels=(("app", "reviews"), ("pod", "7")), addresses=("10.0.0.1",))
FILES = CertificateFiles("/chain.pem", "/key.pem", "/root.pem")
SECURE = dataclasses.replace(HERE, server_files=FILES)
KEYS = '{"keys": [{"kty": "oct", "k": "AAAA"}]}'


def translated(*objects: ConfigObject, scope: Scope = HERE) -> Translation:
    model = admitted([service(HOST, "v1", "v2"), *objects]).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope, index))


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def chains(*objects: ConfigObject, scope: Scope = HERE) -> dict[str, Any]:
    listener = plain(translated(*objects, scope=scope).messages[LISTENER_TYPE]["virtualInbound"])
    return {chain["name"]: chain for chain in listener["filter_chains"]}


def names(chain: Any) -> list[str]:
    last = chain["filters"][-1]["typed_config"]
    return [each["name"] for each in (*chain["filters"][:-1], *last.get("http_filters", ()))]


def allow(name: str = "p", namespace: str = "default", **spec: Any) -> ConfigObject:
    return make("AuthorizationPolicy", name, {"rules": [{}]} | spec, namespace)


def tokens(name: str = "t", **rule: Any) -> ConfigObject:
    return make("RequestAuthentication", name, {"jwtRules": [{"issuer": name, "jwks": KEYS} | rule]})


def test_a_node_that_does_not_say_its_address_takes_nothing() -> None:
    assert "virtualInbound" not in translated(scope=Scope()).messages[LISTENER_TYPE]


def test_a_chain_per_port_of_the_services_that_the_node_is_an_instance_of() -> None:
    other = service("other.shop", "v1", port=3306, protocol="TCP", endpoints=[{"address": "10.0.0.1"}])
    elsewhere = service("elsewhere.shop", port=70, endpoints=[{"address": "10.0.0.77"}])
    found = chains(other, elsewhere)
    assert list(found) == ["virtualInbound-blackhole", "0.0.0.0_3306", "0.0.0.0_9000", "virtualInbound-catchall"]
    assert found["0.0.0.0_9000"]["filter_chain_match"] == {"destination_port": 9000}
    manager = found["0.0.0.0_9000"]["filters"][0]["typed_config"]
    assert manager["normalize_path"]
    assert manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == "inbound|9000||"
    assert found["0.0.0.0_3306"]["filters"][0]["typed_config"]["cluster"] == "inbound|3306||"
    assert found["virtualInbound-catchall"]["filters"][0]["typed_config"]["cluster"] == "InboundPassthroughCluster"


def test_the_application_is_reached_over_the_loopback_address() -> None:
    clusters = translated(service("grpc.shop", "v1", port=9001, protocol="GRPC")).messages[CLUSTER_TYPE]
    cluster = plain(clusters["inbound|9000||"])
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert (cluster["name"], address) == ("inbound|9000||", {"address": "127.0.0.1", "port_value": 9000})


def test_of_two_services_on_one_port_the_first_host_decides_its_protocol() -> None:
    tcp = service("a.shop", "v1", port=70, protocol="TCP")
    assert "http_filters" not in chains(tcp)["0.0.0.0_9000"]["filters"][0]["typed_config"]


def test_without_redirection_nothing_is_taken() -> None:
    scope = dataclasses.replace(HERE, interception="NONE", bind="127.0.0.1")
    assert not [name for name in translated(scope=scope).messages[CLUSTER_TYPE] if name.startswith("inbound")]


def test_policies_stand_before_the_application_and_before_ports_that_nobody_declared() -> None:
    found = chains(allow(), tokens())
    assert names(found["0.0.0.0_9000"]) == [
        "envoy.filters.http.jwt_authn", "envoy.filters.http.rbac", "envoy.filters.http.router",
    ]  # fmt: skip
    assert names(found["virtualInbound-catchall"]) == ["envoy.filters.network.rbac"]


@pytest.mark.parametrize(
    ("policy", "holds"),
    [
        (allow(), True),
        (allow(namespace="istio-system"), True),
        (allow(namespace="other"), False),
        (allow(selector={"matchLabels": {"app": "reviews"}}), True),
        (allow(selector={"matchLabels": {"app": "ratings"}}), False),
        (allow(selector={"matchLabels": {"app": "reviews", "tier": "web"}}), False),
        (allow(namespace="istio-system", selector={"matchLabels": {"pod": "7"}}), True),
    ],
)
def test_which_policies_hold(policy: ConfigObject, holds: bool) -> None:
    assert ("envoy.filters.http.rbac" in names(chains(policy)["0.0.0.0_9000"])) == holds


def test_a_rejection_leads_to_the_policy() -> None:
    keys = translated(allow()).origins[LISTENER_TYPE, "virtualInbound"]
    assert [str(key) for key in keys] == ["AuthorizationPolicy default/p", "ServiceEntry default/reviews-shop"]


def jwt(*objects: ConfigObject) -> Any:
    return chains(*objects)["0.0.0.0_9000"]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]


def test_a_token_may_be_missing_but_not_bad() -> None:
    config = jwt(
        tokens("me", audiences=["a"], fromHeaders=[{"name": "x-t", "prefix": "T "}], forwardOriginalToken=True)
    )
    provider = config["providers"]["origins-0"]
    assert (provider["issuer"], provider["audiences"], provider["forward"]) == ("me", ["a"], True)
    assert provider["from_headers"] == [{"name": "x-t", "value_prefix": "T "}]
    assert provider["local_jwks"] == {"inline_string": KEYS}
    assert provider["payload_in_metadata"] == "payload"
    required = {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}
    assert config["rules"] == [{"match": {"prefix": "/"}, "requires": {"requires_any": required}}]


def test_one_good_token_of_several_issuers_is_enough() -> None:
    (rule,) = jwt(tokens("a"), tokens("b"))["rules"]
    first, second, together = rule["requires"]["requires_any"]["requirements"]
    assert (first, second) == ({"provider_name": "origins-0"}, {"provider_name": "origins-1"})
    assert len(together["requires_all"]["requirements"]) == 2


def test_keys_are_fetched_over_a_cluster_of_their_own() -> None:
    made = translated(tokens("me", jwks="", jwksUri="https://keys.example/jwks", timeout="1s"))
    cluster = plain(made.messages[CLUSTER_TYPE]["jwks|https|443|keys.example"])
    assert cluster["transport_socket"]["typed_config"]["sni"] == "keys.example"
    assert cluster["type"] == "STRICT_DNS"
    keys = made.origins[CLUSTER_TYPE, "jwks|https|443|keys.example"]
    assert [str(key) for key in keys] == ["RequestAuthentication default/me"]


def peers(name: str, namespace: str = "default", **spec: Any) -> ConfigObject:
    return make("PeerAuthentication", name, spec, namespace)


STRICT: dict[str, Any] = {"mtls": {"mode": "STRICT"}}
DISABLE: dict[str, Any] = {"mtls": {"mode": "DISABLE"}}
SELECTED: dict[str, Any] = {"selector": {"matchLabels": {"app": "reviews"}}}
PLAIN = ["0.0.0.0_9000"]
BOTH = ["0.0.0.0_9000-application-tls", "0.0.0.0_9000-tls", "0.0.0.0_9000"]
ONLY_TLS = ["0.0.0.0_9000-tls"]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], BOTH),
        ([peers("p", **STRICT)], ONLY_TLS),
        ([peers("p", **DISABLE)], PLAIN),
        ([peers("root", "istio-system", **STRICT)], ONLY_TLS),
        ([peers("root", "istio-system", **STRICT), peers("p", **DISABLE)], PLAIN),
        ([peers("p", **SELECTED, **STRICT), peers("q", **DISABLE)], ONLY_TLS),
        ([peers("p", **STRICT), peers("q", **SELECTED, portLevelMtls={"9000": {"mode": "PERMISSIVE"}})], BOTH),
        ([peers("p", **STRICT), peers("q", **SELECTED, portLevelMtls={"1": {"mode": "PERMISSIVE"}})], ONLY_TLS),
        ([peers("p", "other", **STRICT)], BOTH),
    ],
)
def test_mutual_tls(policies: list[ConfigObject], expected: list[str]) -> None:
    found = chains(*policies, scope=SECURE)
    assert [name for name in found if name.startswith("0.0.0.0_9000")] == expected


def test_certificates_come_from_the_files_that_the_node_names() -> None:
    context = chains(peers("p", **STRICT), scope=SECURE)["0.0.0.0_9000-tls"]["transport_socket"]["typed_config"]
    assert context["require_client_certificate"]
    (certificate,) = context["common_tls_context"]["tls_certificates"]
    assert certificate == {"certificate_chain": {"filename": "/chain.pem"}, "private_key": {"filename": "/key.pem"}}
    assert context["common_tls_context"]["validation_context"] == {"trusted_ca": {"filename": "/root.pem"}}


def test_strict_without_a_certificate_closes_connections_and_says_so() -> None:
    made = translated(peers("p", **STRICT))
    listener = plain(made.messages[LISTENER_TYPE]["virtualInbound"])
    targets = {chain["name"]: chain["filters"][0]["typed_config"]["cluster"] for chain in listener["filter_chains"]}
    assert set(targets.values()) == {"BlackHoleCluster"}
    assert {(problem.path, "TLS_SERVER_CERT_CHAIN" in problem.message) for problem in made.problems} == {
        ("spec.mtls.mode", True)
    }
    assert not translated(peers("p", **STRICT), scope=SECURE).problems


def test_nodes_that_differ_in_what_nothing_selects_share_a_scope() -> None:
    model = admitted([service(HOST, "v1", "v2"), allow(selector={"matchLabels": {"app": "reviews"}})]).model
    index = InstanceIndex()
    index.follow(model.services)
    first = narrow(model, HERE, index)
    second = narrow(model, Scope(labels=(("app", "reviews"), ("pod", "8")), addresses=("10.0.0.2",)), index)
    assert first == second
    assert first.labels == (("app", "reviews"),)
    assert narrow(model, dataclasses.replace(HERE, labels=(("app", "x"),)), index) != first


def test_the_index_follows_instances() -> None:
    index = InstanceIndex()
    before = admitted([service(HOST, "v1", "v2")])
    index.follow(before.model.services)
    assert [port.number for port in index.ports(["10.0.0.2"])] == [9000]
    after = admitted([service(HOST, "v1"), service("b.shop", "v1", port=70, protocol="TCP")], before)
    index.follow(after.model.services)
    assert index.ports(["10.0.0.2"]) == ()
    assert [(port.number, port.host) for port in index.ports(["10.0.0.1"])] == [(9000, "b.shop")]
    index.follow({})
    assert index.ports(["10.0.0.1"]) == ()


def test_what_a_node_says_of_itself() -> None:
    metadata = Struct()
    metadata.update({
        "LABELS": {"app": "a", "version": "v1"}, "INSTANCE_IPS": "10.0.0.2,10.0.0.1", "TLS_SERVER_CERT_CHAIN": "/c",
        "TLS_SERVER_KEY": "/k", "TLS_SERVER_ROOT_CERT": "/r",
    })  # fmt: skip
    scope = scope_of(Node(id="sidecar~10.0.0.1~a.shop~x", metadata=metadata))
    assert scope.labels == (("app", "a"), ("version", "v1"))
    assert scope.addresses == ("10.0.0.1", "10.0.0.2")
    assert scope.server_files == CertificateFiles("/c", "/k", "/r")
    del metadata.fields["TLS_SERVER_KEY"]
    assert scope_of(Node(id="x", metadata=metadata)).server_files is None
