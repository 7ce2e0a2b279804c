"""Mutual TLS towards endpoints (DestinationRule ``tls.mode: ISTIO_MUTUAL``)."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings, ConnectionPoolSettings
from isthmus_controlplane.model.scope import Identity
from isthmus_controlplane.model.service import Port
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.mutual_tls import TLS_SOCKET, tls_context
from isthmus_controlplane.translate.traffic_policy import TrafficPolicy

# By this name servers tell the TLS of the mesh from that of applications; they choose the other one.
_MESH_PROTOCOL = "istio"


def is_mutual(policy: TrafficPolicy) -> bool:
    """Whether endpoints are called by mutual TLS."""
    return policy.tls is not None and policy.tls.mode == ClientTLSSettings.ISTIO_MUTUAL


def client_tls(policy: TrafficPolicy, port: Port, subset: str, host: str, identity: Identity) -> Any:
    """Return the transport socket of a cluster.

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


def _protocols(policy: TrafficPolicy, port: Port) -> list[str]:
    if not port.is_http:
        return [_MESH_PROTOCOL]
    pool = policy.connection_pool
    upgraded = pool is not None and pool.http.h2_upgrade_policy == ConnectionPoolSettings.HTTPSettings.UPGRADE
    return [_MESH_PROTOCOL, "h2" if port.is_http2 or upgraded else "http/1.1"]
