"""Compiles extensions.transport_sockets.tls.v3.Secret and its parts, from the bootstrap file, from files of secrets and from xDS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.parse import fill, join, shown
from isthmus_proxy.config.route_match import compile_string
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import StringMatch
from isthmus_proxy.tls.model import CertificateConfig, DataSource, SanMatch, Secret, ValidationConfig

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a name
_DIGEST_BYTES = 32
_KINDS = ("DNS", "URI", "EMAIL", "IP_ADDRESS")


def compile_secret(proto: Any, path: str = "") -> tuple[str, Secret]:
    """Name and content of a secret. Raises ConfigError."""
    check(proto, path)
    name = required(proto, "name", path)
    chosen = proto.WhichOneof("type")
    if chosen == "tls_certificate":
        return name, compile_certificate(proto.tls_certificate, join(path, chosen))
    if chosen == "validation_context":
        return name, compile_validation(proto.validation_context, join(path, chosen))
    raise ConfigError(path, shown(name), "needs one of tls_certificate and validation_context")


def compile_certificate(proto: Any, path: str) -> CertificateConfig:
    """A checked TlsCertificate. Raises ConfigError."""
    return CertificateConfig(
        _source(proto, "certificate_chain", path),
        _source(proto, "private_key", path),
        _source(proto, "password", path) if proto.HasField("password") else None,
        proto.watched_directory.path,
    )


def compile_validation(proto: Any, path: str, *, alone: bool = True) -> ValidationConfig:
    """A checked CertificateValidationContext; not ``alone``, the roots may come with a secret. Raises ConfigError."""
    if proto.HasField("trusted_ca") and proto.HasField("system_root_certs"):
        raise ConfigError(join(path, "system_root_certs"), "", "cannot be set together with trusted_ca")
    sans = [
        SanMatch(_san_kind(each), compile_string(each.matcher, f"{path}.match_typed_subject_alt_names[{i}].matcher"))
        for i, each in enumerate(proto.match_typed_subject_alt_names)
    ]
    for i, each in enumerate(proto.match_subject_alt_names):
        match: StringMatch = compile_string(each, f"{path}.match_subject_alt_names[{i}]")
        sans.extend(SanMatch(kind, match) for kind in _KINDS)  # type: ignore[arg-type]
    validation = ValidationConfig(
        _source(proto, "trusted_ca", path) if proto.HasField("trusted_ca") else None,
        proto.HasField("system_root_certs"),
        tuple(sans),
        frozenset(_hash(each, f"{path}.verify_certificate_hash[{i}]") for i, each in enumerate(proto.verify_certificate_hash)),
        frozenset(_spki(each, f"{path}.verify_certificate_spki[{i}]") for i, each in enumerate(proto.verify_certificate_spki)),
        proto.watched_directory.path,
    )  # fmt: skip
    if alone and sans and validation.trusted_ca is None and not validation.system_roots and not validation.pins:
        reason = "SANs of a certificate that nobody verified say nothing; set trusted_ca or system_root_certs, too"
        raise ConfigError(join(path, "match_typed_subject_alt_names"), "", reason)
    return validation


def _san_kind(matcher: Any) -> Any:
    return matcher.DESCRIPTOR.fields_by_name["san_type"].enum_type.values_by_number[matcher.san_type].name


def _hash(text: str, path: str) -> bytes:
    """SHA-256 in hexadecimal digits, with or without colons."""
    try:
        digest = bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise ConfigError(path, shown(text), "must be 64 hexadecimal digits") from error
    if len(digest) != _DIGEST_BYTES:
        raise ConfigError(path, shown(text), "must be 64 hexadecimal digits")
    return digest


def _spki(text: str, path: str) -> bytes:
    import base64  # noqa: PLC0415 - few configurations pin keys
    import binascii  # noqa: PLC0415

    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ConfigError(path, shown(text), "must be base64 of a SHA-256 digest") from error
    if len(digest) != _DIGEST_BYTES:
        raise ConfigError(path, shown(text), "must be base64 of a SHA-256 digest")
    return digest


def _source(owner: Any, name: str, path: str) -> DataSource:
    proto, path = getattr(owner, name), join(path, name)
    chosen = proto.WhichOneof("specifier")
    if chosen == "filename":
        return DataSource(required(proto, "filename", path))
    inline = proto.inline_bytes if chosen == "inline_bytes" else proto.inline_string.encode()
    if not inline:
        raise ConfigError(path, "", "needs one of filename, inline_string and inline_bytes")
    return DataSource(inline=bytes(inline))


def read_secrets(path: str) -> Mapping[str, Secret]:
    """The secrets in a file that path_config_source names: a DiscoveryResponse in YAML or JSON. Raises ConfigError."""
    from envoy.service.discovery.v3 import discovery_pb2  # noqa: PLC0415 - few configurations have such files

    from isthmus_proxy.config import documents  # noqa: PLC0415
    from isthmus_proxy.config.extensions import unpack_as  # noqa: PLC0415

    response = discovery_pb2.DiscoveryResponse()
    try:
        fill(response, documents.read(Path(path)))
        found: dict[str, Secret] = {}
        for index, resource in enumerate(response.resources):
            place = f"resources[{index}]"
            name, secret = compile_secret(unpack_as(resource, place, SECRET_TYPE.rpartition("/")[2]), place)
            found[name] = secret
    except ConfigError as error:
        error.origin = path
        raise
    return found
