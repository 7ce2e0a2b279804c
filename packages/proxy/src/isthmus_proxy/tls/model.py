"""Compiled TLS configuration (extensions.transport_sockets.tls.v3). Immutable; built by ``config.tls``. No ssl here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from isthmus_proxy.route.model import StringMatch

Version = Literal["", "1.2", "1.3"]
SanType = Literal["DNS", "URI", "EMAIL", "IP_ADDRESS"]


@dataclass(frozen=True, slots=True)
class DataSource:
    """core.v3.DataSource: the name of a file, or the bytes themselves, which are never shown."""

    filename: str = ""
    inline: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CertificateConfig:
    """TlsCertificate. With ``watched_directory`` its files are read again when something in that directory changes."""

    chain: DataSource
    key: DataSource
    password: DataSource | None = None
    watched_directory: str = ""


@dataclass(frozen=True, slots=True)
class SanMatch:
    """SubjectAltNameMatcher."""

    kind: SanType
    match: StringMatch


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """CertificateValidationContext. ``hashes`` and ``spkis`` are SHA-256 digests; one of all those given has to fit."""

    trusted_ca: DataSource | None = None
    system_roots: bool = False
    sans: tuple[SanMatch, ...] = ()
    hashes: frozenset[bytes] = frozenset()
    spkis: frozenset[bytes] = frozenset()
    watched_directory: str = ""

    @property
    def pins(self) -> bool:
        """Whether a certificate may be accepted for what it is, whoever signed it."""
        return bool(self.hashes or self.spkis)


@dataclass(frozen=True, slots=True)
class SecretReference:
    """SdsSecretConfig: a secret by name, from the bootstrap file (no ``path``, not ``ads``), from a file or over xDS."""

    name: str
    path: str = ""
    watched_directory: str = ""
    ads: bool = False
    initial_fetch_timeout: float = 15.0


Secret = CertificateConfig | ValidationConfig


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """TlsParameters. Empty: what the side has by default. ``ciphers`` are those of TLS 1.2, in OpenSSL's names."""

    minimum: Version = ""
    maximum: Version = ""
    ciphers: tuple[str, ...] = ()
    curve: str = ""


@dataclass(frozen=True, slots=True)
class CommonTls:
    """CommonTlsContext. What references name comes beside, or in place of, what is given here."""

    parameters: TlsParameters = TlsParameters()
    certificates: tuple[CertificateConfig, ...] = ()
    certificate_references: tuple[SecretReference, ...] = ()
    validation: ValidationConfig | None = None
    validation_reference: SecretReference | None = None
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerTlsConfig:
    """DownstreamTlsContext. ``content`` is the hash of the message."""

    common: CommonTls
    require_client_certificate: bool = False
    tickets: bool = True
    prefer_client_ciphers: bool = False
    full_scan_on_sni_mismatch: bool = False
    require_sni: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True)
class ClientTlsConfig:
    """UpstreamTlsContext. ``auto_host_sni``: the server name is the endpoint's hostname. ``content`` as above."""

    common: CommonTls
    sni: str = ""
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False
    max_session_keys: int = 1
    content: str = ""


@dataclass(frozen=True, slots=True)
class TlsDetails:
    """What is told of the certificates and the connection of one side: lower-case hex digests, names as RFC 2253 writes them."""

    subject: str = ""
    issuer: str = ""
    serial: str = ""
    fingerprint_256: str = ""
    fingerprint_1: str = ""
    uri_sans: tuple[str, ...] = ()
    dns_sans: tuple[str, ...] = ()
    ip_sans: tuple[str, ...] = ()
    email_sans: tuple[str, ...] = ()
    not_before: float = 0.0
    not_after: float = 0.0
    der: bytes = b""
