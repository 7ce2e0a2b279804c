"""Certificates, keys and roots as bytes, read from where the configuration says; the only reader of these files at run time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.certificate import BadCertificateError, Certificate, pem_certificates, read_certificate
from isthmus_proxy.tls.model import CertificateConfig, DataSource, ValidationConfig

MAX_FILE_BYTES = 1 << 20
"""A chain, a key or a bundle of roots is smaller; the roots of a usual system are some 200 kB."""


@dataclass(frozen=True, slots=True)
class CertificateMaterial:
    """A chain with its key, in PEM. ``leaf`` is the first certificate, read; ``origin`` names it in errors and in /certs."""

    chain: bytes
    key: bytes = field(repr=False)
    password: bytes | None = field(repr=False)
    leaf: Certificate
    origin: str


@dataclass(frozen=True, slots=True)
class ValidationMaterial:
    """What a peer's certificate is checked against: PEM of the roots (None: none are given), and the rules."""

    roots: bytes | None
    rules: ValidationConfig
    certificates: tuple[Certificate, ...] = ()
    origin: str = ""


def read_source(source: DataSource, path: str) -> bytes:
    """The bytes. Raises ConfigError at ``path`` for a file that cannot be read."""
    if not source.filename:
        return source.inline
    try:
        with Path(source.filename).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, source.filename, f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(path, source.filename, f"is larger than {MAX_FILE_BYTES} bytes")
    return data


def load_certificate(config: CertificateConfig, path: str = "tls_certificates") -> CertificateMaterial:
    """Read a certificate and its key. Raises ConfigError."""
    place = f"{path}.certificate_chain"
    origin = config.chain.filename or "<inline>"
    chain = read_source(config.chain, place)
    certificates = _certificates(chain, place, origin)
    key = read_source(config.key, f"{path}.private_key")
    password = read_source(config.password, f"{path}.password") if config.password is not None else None
    return CertificateMaterial(chain, key, password, certificates[0], origin)


def load_validation(config: ValidationConfig, path: str = "validation_context") -> ValidationMaterial:
    """Read the roots. Raises ConfigError."""
    if config.trusted_ca is None:
        return ValidationMaterial(None, config)
    place = f"{path}.trusted_ca"
    origin = config.trusted_ca.filename or "<inline>"
    roots = read_source(config.trusted_ca, place)
    return ValidationMaterial(roots, config, tuple(_certificates(roots, place, origin)), origin)


def _certificates(data: bytes, path: str, origin: str) -> list[Certificate]:
    try:
        found = [read_certificate(der) for der in pem_certificates(data)]
    except BadCertificateError as error:
        raise ConfigError(path, origin, str(error)) from error
    if not found:
        raise ConfigError(path, origin, "holds no certificate in PEM form")
    return found
