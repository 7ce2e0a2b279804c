"""Which ports take plain text, mutual TLS or both (PeerAuthentication), and TLS from files on the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_api.istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from isthmus_controlplane.model.policies import narrowest_last
from isthmus_controlplane.model.scope import CertificateFiles
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.message import packed

Mode = Literal["DISABLE", "PERMISSIVE", "STRICT"]
TLS_SOCKET = "envoy.transport_sockets.tls"
# By these names Istio's sidecars tell their mutual TLS from the TLS of applications.
ISTIO_PROTOCOLS = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
# What a server offers, the best first: names of Istio, and the plain ones of clients that know no mesh.
HTTP_PROTOCOLS = ("istio-h2", "istio-http/1.1", "istio-http/1.0", "h2", "http/1.1")
BYTE_PROTOCOLS = ("istio",)
_MODES: Mapping[int, Mode] = {
    PeerAuthentication.MutualTLS.DISABLE: "DISABLE",
    PeerAuthentication.MutualTLS.PERMISSIVE: "PERMISSIVE",
    PeerAuthentication.MutualTLS.STRICT: "STRICT",
}


class PeerModes:
    """The mode of each port of one workload, and the policies that decide."""

    def __init__(self, policies: Iterable[ConfigObject]) -> None:
        """Take the policies that hold for the workload, the widest first; of equals the oldest decides."""
        self._default: Mode = "PERMISSIVE"
        self._ports: dict[int, Mode] = {}
        self.decided_by: ConfigObject | None = None
        for policy in narrowest_last(policies):
            spec: Any = policy.spec
            self._default = _MODES.get(spec.mtls.mode, self._default)
            self._ports = {port: _MODES[mtls.mode] for port, mtls in spec.port_level_mtls.items()}
            self.decided_by = policy

    def of(self, port: int) -> Mode:
        """Return the mode of a port of the workload."""
        return self._ports.get(port, self._default)


def mutual_tls(files: CertificateFiles, protocols: Iterable[str]) -> Any:
    """A transport socket that shows the node's certificate and asks for one that its roots have signed."""
    certificate = TlsCertificate(certificate_chain=_file(files.chain), private_key=_file(files.key))
    context = CommonTlsContext(
        tls_certificates=[certificate],
        validation_context=CertificateValidationContext(trusted_ca=_file(files.root)),
        alpn_protocols=protocols,
    )
    downstream = DownstreamTlsContext(common_tls_context=context, require_client_certificate=BoolValue(value=True))
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(downstream))


def _file(path: str) -> Any:
    return DataSource(filename=path)
