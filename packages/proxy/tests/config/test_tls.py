"""TLS contexts and secrets compiled, and refused by name where Python's ssl, or this proxy, cannot do what they say."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener

from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.secret import read_secrets
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.model import CertificateConfig, DataSource, SecretReference, ServerTlsConfig, ValidationConfig

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
CERTIFICATE = {"certificate_chain": {"inline_string": "chain"}, "private_key": {"inline_string": "key"}}
ROOT = {"trusted_ca": {"inline_string": "root"}}
ADDRESS = {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}
FILTERS = "type.googleapis.com/envoy.extensions.filters.network."
DIRECT = {"name": "d", "typed_config": {"@type": f"{FILTERS}direct_response.v3.Config"}}
SANS = {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]}
ONE = {"tls_certificates": [CERTIFICATE]}
GRPC = {"api_config_source": {"api_type": "GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "c"}}]}}


def rules(**fields: object) -> dict[str, object]:
    return {**ONE, "validation_context": {**ROOT, **fields}}


def server(common: dict[str, object], **fields: object) -> ServerTlsConfig:
    config = {"@type": TLS + "DownstreamTlsContext", "common_tls_context": common, **fields}
    chain = {"filters": [DIRECT], "transport_socket": {"name": "tls", "typed_config": config}}
    listener: Any = Listener()
    fill(listener, {"name": "l", "address": ADDRESS, "filter_chains": [chain]})
    tls = compile_listener(listener).filter_chains[0].tls
    assert tls is not None
    return tls


def client(common: dict[str, object], **fields: object) -> Any:
    config = {"@type": TLS + "UpstreamTlsContext", "common_tls_context": common, **fields}
    cluster: Any = Cluster()
    fill(cluster, {"name": "c", "type": "STATIC", "transport_socket": {"name": "tls", "typed_config": config}})
    return compile_cluster(cluster).transport.tls


def test_a_server() -> None:
    tls = server(
        {
            "tls_certificates": [CERTIFICATE],
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "ecdh_curves": ["P-256"]},
            "validation_context": ROOT,
        },
        require_client_certificate=True,
        disable_stateless_session_resumption=True,
    )
    assert tls.common.certificates == (CertificateConfig(DataSource(inline=b"chain"), DataSource(inline=b"key")),)
    assert tls.common.alpn == ("h2", "http/1.1")
    assert (tls.common.parameters.minimum, tls.common.parameters.curve) == ("1.3", "prime256v1")
    assert tls.require_client_certificate
    assert not tls.tickets
    assert "key" not in repr(tls.common.certificates[0].key).replace("filename", "")


def test_a_client() -> None:
    digest = base64.b64encode(bytes(32)).decode()
    context = {"verify_certificate_spki": [digest], "verify_certificate_hash": ["AB:" * 31 + "AB"]}
    tls = client({"validation_context": context}, sni="a.example", max_session_keys=0)
    assert tls.sni == "a.example"
    assert tls.max_session_keys == 0
    assert tls.common.validation == ValidationConfig(
        hashes=frozenset({bytes([0xAB]) * 32}), spkis=frozenset({bytes(32)})
    )


@pytest.mark.parametrize(
    ("common", "fields", "path", "reason"),
    [
        ({}, {}, "tls_certificates", "No TLS certificates"),
        (ONE, {"require_client_certificate": True}, "trusted_ca", "Python's ssl"),
        ({**ONE, "validation_context": {"verify_certificate_hash": ["00" * 32]}}, {}, "trusted_ca", "verifies"),
        ({"tls_certificates": [{"private_key": {"inline_string": "k"}}]}, {}, "certificate_chain", "needs one of"),
        ({"tls_certificates": [{**CERTIFICATE, "pkcs12": {"inline_bytes": "AA=="}}]}, {}, "pkcs12", "not supported"),
        ({**ONE, "tls_params": {"tls_maximum_protocol_version": "TLSv1_0"}}, {}, "tls_maximum", "only"),
        ({**ONE, "tls_params": {"ecdh_curves": ["X25519", "P-256"]}}, {}, "ecdh_curves", "one curve"),
        ({**ONE, "tls_params": {"ecdh_curves": ["B-571"]}}, {}, "ecdh_curves[0]", "X25519"),
        ({**ONE, "tls_params": {"cipher_suites": ["[A|B]"]}}, {}, "cipher_suites[0]", "equal"),
        ({**ONE, "tls_params": {"signature_algorithms": ["x"]}}, {}, "signature_algorithms", "not supported"),
        ({**ONE, "key_log": {"path": "x"}}, {}, "key_log", "not supported"),
        (ONE, {"session_ticket_keys": {"keys": [{"inline_string": "x"}]}}, "session_ticket_keys", "not supported"),
        (ONE, {"ocsp_staple_policy": "MUST_STAPLE"}, "ocsp_staple_policy", "only"),
        (rules(crl={"inline_string": "x"}), {}, "crl", "not supported"),
        (rules(allow_expired_certificate=True), {}, "allow_expired", "only"),
        (rules(verify_certificate_hash=["xy"]), {}, "verify_certificate_hash[0]", "64"),
        (rules(verify_certificate_spki=["AA=="]), {}, "spki[0]", "base64"),
        ({**ONE, "validation_context": SANS}, {}, "match_typed", "trusted_ca"),
        ({**ONE, "alpn_protocols": [""]}, {}, "alpn_protocols[0]", "1 to 255"),
        ({"tls_certificate_sds_secret_configs": [{"name": "s", "sds_config": GRPC}]}, {}, "api_config_source", "not supported for"),
    ],
)  # fmt: skip
def test_what_a_server_cannot_be(common: dict[str, object], fields: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server(common, **fields)
    assert path in caught.value.path
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("common", "fields", "path"),
    [
        ({"tls_certificates": [CERTIFICATE, CERTIFICATE]}, {}, "tls_certificates"),
        ({}, {"allow_renegotiation": True}, "allow_renegotiation"),
        ({}, {"sni": "x" * 256}, "sni"),
        ({"validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"}}, {}, "trust_chain_verification"),
    ],
)
def test_what_a_client_cannot_be(common: dict[str, object], fields: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client(common, **fields)
    assert path in caught.value.path


def test_secrets_by_name() -> None:
    file = {
        "name": "f",
        "sds_config": {"path_config_source": {"path": "/x/y.yaml", "watched_directory": {"path": "/x"}}},
    }
    ads = {"name": "a", "sds_config": {"ads": {}, "initial_fetch_timeout": "3s"}}
    tls = server({"tls_certificate_sds_secret_configs": [{"name": "s"}, file, ads]})
    assert tls.common.certificate_references == (
        SecretReference("s"),
        SecretReference("f", "/x/y.yaml", "/x"),
        SecretReference("a", ads=True, initial_fetch_timeout=3.0),
    )


def test_a_file_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "sds.yaml"
    path.write_text(
        f"""resources:
- "@type": {TLS}Secret
  name: server
  tls_certificate: {{certificate_chain: {{inline_string: chain}}, private_key: {{filename: key.pem}}}}
- "@type": {TLS}Secret
  name: roots
  validation_context: {{trusted_ca: {{filename: ca.pem}}}}
"""
    )
    assert read_secrets(str(path)) == {
        "server": CertificateConfig(DataSource(inline=b"chain"), DataSource("key.pem")),
        "roots": ValidationConfig(DataSource("ca.pem")),
    }
    path.write_text("resources: [{'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster}]")
    with pytest.raises(ConfigError) as caught:
        read_secrets(str(path))
    assert caught.value.origin == str(path)
