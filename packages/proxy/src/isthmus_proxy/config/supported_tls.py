"""Supported fields of TLS transport sockets, their secrets, and of the PROXY protocol to endpoints."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_TLS = "envoy.extensions.transport_sockets.tls.v3"

TLS: dict[str, MessageRules] = {
    f"{_TLS}.DownstreamTlsContext": message(
        "common_tls_context require_client_certificate require_sni disable_stateless_session_resumption "
        "full_scan_certs_on_sni_mismatch prefer_client_ciphers",
        only={"disable_stateful_session_resumption": False, "ocsp_staple_policy": "LENIENT_STAPLING"},
    ),
    f"{_TLS}.UpstreamTlsContext": message(
        "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys",
        only={"allow_renegotiation": False},
        no_effect={"OpenSSL checks what a key may be used for": "enforce_rsa_key_usage"},
    ),
    f"{_TLS}.CommonTlsContext": message(
        "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context "
        "validation_context_sds_secret_config combined_validation_context alpn_protocols"
    ),
    f"{_TLS}.CommonTlsContext.CombinedCertificateValidationContext": message(
        "default_validation_context validation_context_sds_secret_config"
    ),
    f"{_TLS}.TlsParameters": message(
        "cipher_suites ecdh_curves",
        only={
            "tls_minimum_protocol_version": ("TLS_AUTO", "TLSv1_2", "TLSv1_3"),
            "tls_maximum_protocol_version": ("TLS_AUTO", "TLSv1_2", "TLSv1_3"),
        },
    ),
    f"{_TLS}.TlsCertificate": message("certificate_chain private_key password watched_directory"),
    f"{_TLS}.CertificateValidationContext": message(
        "trusted_ca system_root_certs watched_directory verify_certificate_spki verify_certificate_hash "
        "match_typed_subject_alt_names match_subject_alt_names",
        only={"allow_expired_certificate": False, "trust_chain_verification": "VERIFY_TRUST_CHAIN"},
    ),
    f"{_TLS}.CertificateValidationContext.SystemRootCerts": message(),
    f"{_TLS}.SubjectAltNameMatcher": message("matcher", only={"san_type": ("EMAIL", "DNS", "URI", "IP_ADDRESS")}),
    f"{_TLS}.SdsSecretConfig": message("name sds_config"),
    f"{_TLS}.Secret": message("name tls_certificate validation_context"),
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": message(
        "config transport_socket"
    ),
    "envoy.config.core.v3.ProxyProtocolConfig": message("version"),
    "envoy.config.core.v3.WatchedDirectory": message("path"),
    "envoy.config.core.v3.PathConfigSource": message("path watched_directory"),
}
