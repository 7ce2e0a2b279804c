"""TLS of a Gateway's server, from files on the gateway or from secrets of the control plane."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_api.istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.mutual_tls import AUTHORITIES, TLS_SOCKET, file_source, name_matchers, secret

_VERSIONS = {
    ServerTLSSettings.TLS_AUTO: TlsParameters.TLS_AUTO,
    ServerTLSSettings.TLSV1_2: TlsParameters.TLSv1_2,
    ServerTLSSettings.TLSV1_3: TlsParameters.TLSv1_3,
}
_CHECKED = (ServerTLSSettings.MUTUAL, ServerTLSSettings.OPTIONAL_MUTUAL)


def server_tls(tls: Any, *, http: bool) -> Any:
    """Return the transport socket of a server that ends TLS; ``http``: it offers HTTP/2 and HTTP/1.1."""
    context = CommonTlsContext(alpn_protocols=["h2", "http/1.1"] if http else [])
    if tls.credential_name:
        context.tls_certificate_sds_secret_configs.append(secret(tls.credential_name))
    else:
        context.tls_certificates.extend(
            TlsCertificate(
                certificate_chain=file_source(pair.server_certificate), private_key=file_source(pair.private_key)
            )
            for pair in tls.tls_certificates or (tls,)
        )
    if tls.cipher_suites or tls.min_protocol_version or tls.max_protocol_version:
        context.tls_params.CopyFrom(
            TlsParameters(
                tls_minimum_protocol_version=_VERSIONS[tls.min_protocol_version],
                tls_maximum_protocol_version=_VERSIONS[tls.max_protocol_version],
                cipher_suites=tls.cipher_suites,
            )
        )
    downstream = DownstreamTlsContext(common_tls_context=context)
    if tls.mode in _CHECKED:
        _set_validation(downstream.common_tls_context, tls)
        downstream.require_client_certificate.CopyFrom(BoolValue(value=tls.mode == ServerTLSSettings.MUTUAL))
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(downstream))


def _set_validation(context: Any, tls: Any) -> None:
    rules = CertificateValidationContext(
        match_typed_subject_alt_names=name_matchers(tls.subject_alt_names),
        verify_certificate_spki=tls.verify_certificate_spki,
        verify_certificate_hash=tls.verify_certificate_hash,
    )
    if tls.credential_name and not tls.ca_certificates:
        combined = context.combined_validation_context
        combined.default_validation_context.CopyFrom(rules)
        combined.validation_context_sds_secret_config.CopyFrom(secret(f"{tls.credential_name}{AUTHORITIES}"))
    else:
        rules.trusted_ca.CopyFrom(file_source(tls.ca_certificates))
        context.validation_context.CopyFrom(rules)
