"""Mutual TLS between sidecars: what clients present and check, and what is refused rather than sent in plain text."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import CertificateFiles, Scope, SecretName, scope_of
from isthmus_controlplane.model.testing import admitted, make, rule, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.supplement.secret_names import secret_names_of
from isthmus_controlplane.translate import Memo, Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE

HOST = "reviews.shop"
FILES = CertificateFiles("/chain.pem", "/key.pem", "/root.pem")
MUTUAL: dict[str, Any] = {"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}
NAME = f"outbound|8080||{HOST}"


def translated(*objects: ConfigObject, scope: Scope, memo: Memo | None = None) -> Translation:
    model = admitted(objects).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope, index), memo)


def upstream(translation: Translation, name: str = NAME) -> Any:
    cluster: Any = translation.messages[CLUSTER_TYPE][name]
    if not cluster.HasField("transport_socket"):
        return None
    return UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)


def endpoints(translation: Translation, name: str = NAME) -> int:
    assignment: Any = translation.messages[ENDPOINT_TYPE][name]
    return len(assignment.endpoints)


def test_a_secret_is_shown_and_its_authorities_are_trusted() -> None:
    translation = translated(service(HOST, "v1"), rule(HOST, **MUTUAL), scope=Scope(secret="shop"))
    context = upstream(translation)
    assert context.sni == f"outbound_.8080_._.{HOST}"
    common = context.common_tls_context
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == ["shop"]
    assert common.combined_validation_context.validation_context_sds_secret_config.name == "shop-cacert"
    assert list(common.alpn_protocols) == ["istio", "http/1.1"]
    assert secret_names_of(translation.messages[CLUSTER_TYPE][NAME]) == {"shop", "shop-cacert"}
    assert not translation.problems


def test_files_of_the_node_come_before_a_secret() -> None:
    scope = Scope(secret="shop", client_files=FILES)
    named: dict[str, Any] = {
        "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://td/a"], "sni": "a.shop"}}
    }
    context = upstream(translated(service(HOST, "v1"), rule(HOST, **named), scope=scope))
    assert MessageToDict(context)["commonTlsContext"]["tlsCertificates"] == [
        {"certificateChain": {"filename": "/chain.pem"}, "privateKey": {"filename": "/key.pem"}}
    ]
    rules = context.common_tls_context.validation_context
    assert rules.trusted_ca.filename == "/root.pem"
    assert {each.matcher.exact for each in rules.match_typed_subject_alt_names} == {"spiffe://td/a"}
    assert context.sni == "a.shop"


@pytest.mark.parametrize(
    ("port", "protocols"),
    [("HTTP", ["istio", "http/1.1"]), ("GRPC", ["istio", "h2"]), ("TCP", ["istio"])],
)
def test_protocols_are_those_of_the_port(port: str, protocols: list[str]) -> None:
    made = upstream(translated(service(HOST, "v1", protocol=port), rule(HOST, **MUTUAL), scope=Scope(secret="shop")))
    assert list(made.common_tls_context.alpn_protocols) == protocols


def test_a_subset_may_differ() -> None:
    subsets = [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}]
    translation = translated(service(HOST, "v1"), rule(HOST, subsets=subsets, **MUTUAL), scope=Scope(secret="shop"))
    assert upstream(translation, f"outbound|8080|v1|{HOST}") is None
    assert upstream(translation) is not None


@pytest.mark.parametrize("scope", [Scope(), Scope(kind="grpc", secret="shop")])
def test_nothing_is_sent_in_plain_text_for_want_of_a_certificate(scope: Scope) -> None:
    governing = rule(HOST, **MUTUAL)
    translation = translated(service(HOST, "v1"), governing, service("ratings.shop", "v1"), scope=scope)
    assert endpoints(translation) == 0
    assert endpoints(translation, "outbound|8080||ratings.shop") == 1
    (problem,) = translation.problems
    assert (problem.origin, problem.path) == (f"{governing.origin} ({governing.key})", "spec.trafficPolicy.tls.mode")


def test_a_service_by_dns_is_not_called_in_plain_text_either() -> None:
    translation = translated(service(HOST, resolution="DNS", endpoints=[]), rule(HOST, **MUTUAL), scope=Scope())
    cluster: Any = translation.messages[CLUSTER_TYPE][NAME]
    assert not cluster.load_assignment.endpoints


def test_a_memo_keeps_clients_apart() -> None:
    memo = Memo()
    for name in ("a", "b", "a"):
        translation = translated(service(HOST, "v1"), rule(HOST, **MUTUAL), scope=Scope(secret=name), memo=memo)
        assert upstream(translation).common_tls_context.tls_certificate_sds_secret_configs[0].name == name


def test_servers_show_the_secret_too() -> None:
    strict = make("PeerAuthentication", "all", {"mtls": {"mode": "STRICT"}})
    scope = Scope(addresses=("10.0.0.1",), secret="shop")
    translation = translated(service(HOST, "v1"), strict, scope=scope)
    listener: Any = translation.messages[LISTENER_TYPE]["virtualInbound"]
    chain = next(
        each for each in listener.filter_chains if each.name.endswith("-tls") and each.HasField("transport_socket")
    )
    context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    assert context.require_client_certificate.value
    assert secret_names_of(listener) == {"shop", "shop-cacert"}
    assert not translation.problems


def test_what_a_node_says() -> None:
    metadata = Struct()
    metadata.update(
        {f"TLS_CLIENT_{part}": f"/{part}" for part in ("CERT_CHAIN", "KEY", "ROOT_CERT")} | {"TLS_SECRET": "s"}
    )
    scope = scope_of(Node(id="x", metadata=metadata))
    assert scope.client_identity == CertificateFiles("/CERT_CHAIN", "/KEY", "/ROOT_CERT")
    assert scope.server_identity == SecretName("s")
    plain, mutual = admitted([service(HOST)]).model, admitted([service(HOST), rule(HOST, **MUTUAL)]).model
    assert narrow(plain, scope, InstanceIndex()) == dataclasses.replace(scope, client_files=None)
    assert narrow(mutual, scope, InstanceIndex()) == scope
