"""TLS towards endpoints (DestinationRule ``tls``): of the mesh (ISTIO_MUTUAL), or of an application (SIMPLE, MUTUAL)."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.protocol_pb2 import UpstreamHttpProtocolOptions
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings, ConnectionPoolSettings
from isthmus_controlplane.model.scope import Identity
from isthmus_controlplane.model.service import Port
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.mutual_tls import (
    AUTHORITIES,
    TLS_SOCKET,
    file_source,
    name_matchers,
    secret,
    tls_context,
)
from isthmus_controlplane.translate.traffic_policy import TrafficPolicy

# By this name servers tell the TLS of the mesh from that of applications; they choose the other one.
_MESH_PROTOCOL = "istio"
_ORIGINATING = (ClientTLSSettings.SIMPLE, ClientTLSSettings.MUTUAL)


def is_mutual(policy: TrafficPolicy) -> bool:
    """Whether endpoints are called by the mutual TLS of the mesh."""
    return policy.tls is not None and policy.tls.mode == ClientTLSSettings.ISTIO_MUTUAL


def originates(policy: TrafficPolicy) -> bool:
    """Whether endpoints are called by TLS that has nothing to do with the mesh."""
    return policy.tls is not None and policy.tls.mode in _ORIGINATING


def client_tls(policy: TrafficPolicy, port: Port, subset: str, host: str, identity: Identity) -> Any:
    """Return the transport socket of a cluster that is called by the mutual TLS of the mesh.

    Args:
        policy: of the cluster.
        port: of the service.
        subset: its name, empty for none.
        host: of the service.
        identity: what the client presents.
    """
    tls = policy.tls
    context = UpstreamTlsContext(
        common_tls_context=tls_context(identity, _protocols(policy, port), tls.subject_alt_names),
        sni=tls.sni or f"outbound_.{port.number}_.{subset or '_'}.{host}",
    )
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def originated_tls(policy: TrafficPolicy, port: Port, authorities: str) -> Any:
    """Return the transport socket of a cluster with SIMPLE or MUTUAL, by files on the node or by secrets.

    Args:
        policy: of the cluster.
        port: of the service.
        authorities: path of those that vouch for the server without ``caCertificates``: the system's, as in Istio. Envoy
            takes ``system_root_certs`` without a word and then verifies nothing, so the file is named.
    """
    tls = policy.tls
    http2 = port.is_http and _speaks_http2(policy, port)
    context = CommonTlsContext(alpn_protocols=["h2"] if http2 else [])
    if tls.mode == ClientTLSSettings.MUTUAL:
        _present(context, tls)
    if not tls.insecure_skip_verify.value:
        _verify(context, tls, authorities)
    upstream = UpstreamTlsContext(common_tls_context=context, sni=tls.sni)
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(upstream))


def names_by_request(policy: TrafficPolicy) -> Any:
    """Return how a server name follows the host of each request, as in Istio where no ``sni`` is given; None where not.

    Then the certificate has to be for that host too, unless ``subjectAltNames`` say whose it is.
    """
    if not originates(policy) or policy.tls.sni:
        return None
    checked = not policy.tls.insecure_skip_verify.value and not policy.tls.subject_alt_names
    return UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=checked)


def _present(context: Any, tls: Any) -> None:
    if tls.credential_name:
        context.tls_certificate_sds_secret_configs.append(secret(tls.credential_name))
    else:
        chain, key = file_source(tls.client_certificate), file_source(tls.private_key)
        context.tls_certificates.append(TlsCertificate(certificate_chain=chain, private_key=key))


def _verify(context: Any, tls: Any, authorities: str) -> None:
    rules = CertificateValidationContext(match_typed_subject_alt_names=name_matchers(tls.subject_alt_names))
    if tls.credential_name:
        combined = context.combined_validation_context
        combined.default_validation_context.CopyFrom(rules)
        combined.validation_context_sds_secret_config.CopyFrom(secret(f"{tls.credential_name}{AUTHORITIES}"))
        return
    rules.trusted_ca.CopyFrom(file_source(tls.ca_certificates or authorities))
    context.validation_context.CopyFrom(rules)


def _protocols(policy: TrafficPolicy, port: Port) -> list[str]:
    if not port.is_http:
        return [_MESH_PROTOCOL]
    return [_MESH_PROTOCOL, "h2" if _speaks_http2(policy, port) else "http/1.1"]


def _speaks_http2(policy: TrafficPolicy, port: Port) -> bool:
    pool = policy.connection_pool
    upgraded = pool is not None and pool.http.h2_upgrade_policy == ConnectionPoolSettings.HTTPSettings.UPGRADE
    return port.is_http2 or upgraded
