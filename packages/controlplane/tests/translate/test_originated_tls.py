"""TLS of applications: SIMPLE and MUTUAL of a DestinationRule, as Istio generates them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.supplement.secret_names import secret_names_of
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE

HOST = "reviews.shop"
NAME = f"outbound|8080||{HOST}"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PAIR = {"clientCertificate": "/c.pem", "privateKey": "/k.pem"}


def translated(*objects: ConfigObject, scope: Scope | None = None) -> Translation:
    model = admitted(objects).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope or Scope(), index))


def made(protocol: str = "HTTP", **tls: Any) -> Any:
    """The cluster of a service whose rule says ``tls``."""
    found = translated(service(HOST, "v1", protocol=protocol), rule(HOST, trafficPolicy={"tls": tls}))
    assert not found.problems
    return found.messages[CLUSTER_TYPE][NAME]


def context(cluster: Any) -> Any:
    return UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)


def names(cluster: Any) -> tuple[bool, bool]:
    """Whether the server name, and the name that is checked, are those of each request."""
    options = HttpProtocolOptions.FromString(cluster.typed_extension_protocol_options[OPTIONS].value)
    found = options.upstream_http_protocol_options
    return found.auto_sni, found.auto_san_validation


def test_authorities_are_those_of_a_file_or_of_the_system() -> None:
    common = context(made(mode="SIMPLE", caCertificates="/ca.pem", sni="a.example")).common_tls_context
    assert common.validation_context.trusted_ca.filename == "/ca.pem"
    assert not common.tls_certificates
    assert not common.alpn_protocols
    system = context(made(mode="SIMPLE")).common_tls_context.validation_context
    assert system.trusted_ca.filename == MeshSettings().ca_certificates


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({}, (True, True)),
        ({"subjectAltNames": ["a"]}, (True, False)),
        ({"insecureSkipVerify": True}, (True, False)),
        ({"sni": "a.example"}, (False, False)),
    ],
)
def test_whose_name_is_asked_for_and_checked(tls: dict[str, Any], expected: tuple[bool, bool]) -> None:
    cluster = made(mode="SIMPLE", **tls)
    assert names(cluster) == expected
    assert context(cluster).sni == tls.get("sni", "")


def test_no_name_follows_requests_where_there_are_none() -> None:
    cluster = made("TCP", mode="SIMPLE", caCertificates="/ca.pem")
    assert not cluster.typed_extension_protocol_options
    assert context(cluster).common_tls_context.validation_context.trusted_ca.filename == "/ca.pem"


def test_names_of_the_certificate() -> None:
    rules = context(made(mode="SIMPLE", subjectAltNames=["a", "b"])).common_tls_context.validation_context
    assert {each.matcher.exact for each in rules.match_typed_subject_alt_names} == {"a", "b"}


def test_nothing_is_checked_where_that_is_asked_for() -> None:
    common = context(made(mode="MUTUAL", insecureSkipVerify=True, **PAIR)).common_tls_context
    assert common.WhichOneof("validation_context_type") is None
    assert common.tls_certificates[0].private_key.filename == "/k.pem"


def test_mutual_shows_a_certificate_of_files() -> None:
    common = context(made(mode="MUTUAL", caCertificates="/ca.pem", **PAIR)).common_tls_context
    assert MessageToDict(common)["tlsCertificates"] == [
        {"certificateChain": {"filename": "/c.pem"}, "privateKey": {"filename": "/k.pem"}}
    ]
    assert common.validation_context.trusted_ca.filename == "/ca.pem"


@pytest.mark.parametrize(("mode", "expected"), [("SIMPLE", {"shop-cacert"}), ("MUTUAL", {"shop", "shop-cacert"})])
def test_a_credential_is_a_secret(mode: str, expected: set[str]) -> None:
    cluster = made(mode=mode, credentialName="shop", subjectAltNames=["a"])
    assert secret_names_of(cluster) == expected
    rules = context(cluster).common_tls_context.combined_validation_context.default_validation_context
    assert {each.matcher.exact for each in rules.match_typed_subject_alt_names} == {"a"}


@pytest.mark.parametrize(
    ("protocol", "pool", "expected"),
    [
        ("HTTP", {}, []),
        ("GRPC", {}, ["h2"]),
        ("HTTP", {"http": {"h2UpgradePolicy": "UPGRADE"}}, ["h2"]),
        ("TCP", {}, []),
    ],
)
def test_http2_is_asked_for_by_name(protocol: str, pool: dict[str, Any], expected: list[str]) -> None:
    policy = {"tls": {"mode": "SIMPLE"}, "connectionPool": pool}
    found = translated(service(HOST, "v1", protocol=protocol), rule(HOST, trafficPolicy=policy))
    cluster: Any = found.messages[CLUSTER_TYPE][NAME]
    assert list(context(cluster).common_tls_context.alpn_protocols) == expected
    if protocol != "TCP":
        options = HttpProtocolOptions.FromString(cluster.typed_extension_protocol_options[OPTIONS].value)
        assert options.explicit_http_config.HasField("http2_protocol_options") == bool(expected)


def test_ports_and_subsets_differ() -> None:
    simple, plain = {"tls": {"mode": "SIMPLE", "sni": "a.example"}}, {"tls": {"mode": "DISABLE"}}
    ports = [{"number": 8080, "name": "main", "protocol": "HTTP"}, {"number": 8443, "name": "tls", "protocol": "HTTP"}]
    of_port = {"portLevelSettings": [{"port": {"number": 8443}} | simple]}
    subsets = [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": plain | of_port}]
    found = translated(service(HOST, "v1", ports=ports), rule(HOST, trafficPolicy=simple, subsets=subsets))
    clusters: Any = found.messages[CLUSTER_TYPE]
    secured = {name for name, each in clusters.items() if each.HasField("transport_socket")}
    assert secured == {NAME, f"outbound|8443||{HOST}", f"outbound|8443|v1|{HOST}"}


def test_proxyless_clients_get_no_endpoints_and_status_says_so() -> None:
    governing = rule(HOST, trafficPolicy={"tls": {"mode": "SIMPLE"}})
    found = translated(service(HOST, "v1"), governing, scope=Scope(kind="grpc"))
    cluster: Any = found.messages[CLUSTER_TYPE][NAME]
    assignment: Any = found.messages[ENDPOINT_TYPE][NAME]
    assert not cluster.HasField("transport_socket")
    assert not cluster.typed_extension_protocol_options
    assert not assignment.endpoints
    (problem,) = found.problems
    assert (problem.path, HOST in problem.message) == ("spec.trafficPolicy.tls.mode", True)
