"""Which ports take plain text, mutual TLS or both (PeerAuthentication), and the TLS of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_api.istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from isthmus_controlplane.model.policies import narrowest_last
from isthmus_controlplane.model.scope import CertificateFiles, Identity
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.message import ads, packed

Mode = Literal["DISABLE", "PERMISSIVE", "STRICT"]
AUTHORITIES = "-cacert"  # behind the name of a secret: whom it trusts
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


def mutual_tls(identity: Identity, protocols: Iterable[str]) -> Any:
    """A transport socket that shows the node's certificate and asks for one that its roots have signed."""
    context = tls_context(identity, protocols)
    downstream = DownstreamTlsContext(common_tls_context=context, require_client_certificate=BoolValue(value=True))
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(downstream))


def tls_context(identity: Identity, protocols: Iterable[str], names: Iterable[str] = ()) -> Any:
    """What both sides of mutual TLS share: who the node is, whom it trusts, and which protocols it speaks.

    Args:
        identity: files on the node, or a secret.
        protocols: the best first.
        names: of which the other side's certificate has to have one; empty for any.
    """
    context = CommonTlsContext(alpn_protocols=protocols)
    rules = CertificateValidationContext(match_typed_subject_alt_names=name_matchers(names))
    if isinstance(identity, CertificateFiles):
        chain, key = file_source(identity.chain), file_source(identity.key)
        context.tls_certificates.append(TlsCertificate(certificate_chain=chain, private_key=key))
        rules.trusted_ca.CopyFrom(file_source(identity.root))
        context.validation_context.CopyFrom(rules)
    else:
        context.tls_certificate_sds_secret_configs.append(secret(identity.name))
        context.combined_validation_context.default_validation_context.CopyFrom(rules)
        trusted = secret(f"{identity.name}{AUTHORITIES}")
        context.combined_validation_context.validation_context_sds_secret_config.CopyFrom(trusted)
    return context


def secret(name: str) -> Any:
    """What asks for a secret over the stream that this came from."""
    return SdsSecretConfig(name=name, sds_config=ads())


def name_matchers(names: Iterable[str]) -> list[Any]:
    """Matchers of which a certificate has to satisfy one; a name may be a URI or of DNS."""
    return [
        SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
        for name in names
        for kind in (SubjectAltNameMatcher.URI, SubjectAltNameMatcher.DNS)
    ]


def file_source(path: str) -> Any:
    """A file on the node."""
    return DataSource(filename=path)
