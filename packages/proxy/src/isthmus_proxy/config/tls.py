"""Compiles DownstreamTlsContext and UpstreamTlsContext. What Python's ssl cannot do is refused by name."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.secret import compile_certificate, compile_validation
from isthmus_proxy.config.values import content_hash, enum_name, flag, number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.model import ClientTlsConfig, CommonTls, SecretReference, ServerTlsConfig, TlsParameters, Version

_VERSIONS: dict[str, Version] = {"TLS_AUTO": "", "TLSv1_2": "1.2", "TLSv1_3": "1.3"}
_CURVES = {"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_MAX_SNI = 255


def compile_server_tls(proto: Any, path: str) -> ServerTlsConfig:
    """Compile a checked DownstreamTlsContext. Raises ConfigError."""
    place = join(path, "common_tls_context")
    common = _common(proto.common_tls_context, place)
    if not common.certificates and not common.certificate_references:
        raise ConfigError(join(place, "tls_certificates"), "", "No TLS certificates found for server context")
    required_certificate = flag(proto, "require_client_certificate", default=False)
    if common.validation_reference is None:
        _refuse_unverified(common, required_certificate, place)
    return ServerTlsConfig(
        common,
        required_certificate,
        not proto.disable_stateless_session_resumption,
        proto.prefer_client_ciphers,
        flag(proto, "full_scan_certs_on_sni_mismatch", default=False),
        flag(proto, "require_sni", default=False),
        content_hash(proto),
    )


def _refuse_unverified(common: CommonTls, required_certificate: bool, path: str) -> None:
    """Python's ssl asks clients for certificates only together with roots that have signed them."""
    validation = common.validation
    rooted = validation is not None and (validation.trusted_ca is not None or validation.system_roots)
    if not rooted and (required_certificate or (validation is not None and validation.pins)):
        reason = "is required to ask clients for certificates: Python's ssl verifies every one that it asks for"
        raise ConfigError(join(path, "validation_context.trusted_ca"), "", reason)


def compile_client_tls(proto: Any, path: str) -> ClientTlsConfig:
    """Compile a checked UpstreamTlsContext. Raises ConfigError."""
    if len(proto.sni) > _MAX_SNI:
        raise ConfigError(join(path, "sni"), shown(proto.sni), f"must be at most {_MAX_SNI} bytes long")
    common = _common(proto.common_tls_context, join(path, "common_tls_context"))
    if len(common.certificates) + len(common.certificate_references) > 1:
        place = join(path, "common_tls_context.tls_certificates")
        raise ConfigError(place, "", "at most one certificate is supported towards endpoints")
    return ClientTlsConfig(
        common,
        proto.sni,
        proto.auto_host_sni,
        proto.auto_sni_san_validation,
        number(proto, "max_session_keys", 1, path),
        content_hash(proto),
    )


def _common(proto: Any, path: str) -> CommonTls:
    validation, reference = _validation(proto, path)
    return CommonTls(
        _parameters(proto.tls_params, join(path, "tls_params")),
        tuple(compile_certificate(each, f"{path}.tls_certificates[{i}]") for i, each in enumerate(proto.tls_certificates)),
        tuple(
            compile_reference(each, f"{path}.tls_certificate_sds_secret_configs[{i}]")
            for i, each in enumerate(proto.tls_certificate_sds_secret_configs)
        ),
        validation,
        reference,
        tuple(_protocol(each, f"{path}.alpn_protocols[{i}]") for i, each in enumerate(proto.alpn_protocols)),
    )  # fmt: skip


def _validation(proto: Any, path: str) -> tuple[Any, SecretReference | None]:
    chosen = proto.WhichOneof("validation_context_type")
    if chosen == "validation_context":
        return compile_validation(proto.validation_context, join(path, chosen)), None
    if chosen == "validation_context_sds_secret_config":
        return None, compile_reference(proto.validation_context_sds_secret_config, join(path, chosen))
    if chosen == "combined_validation_context":
        place, combined = join(path, chosen), proto.combined_validation_context
        reference = compile_reference(
            combined.validation_context_sds_secret_config, join(place, "validation_context_sds_secret_config")
        )
        own = combined.default_validation_context
        return compile_validation(own, join(place, "default_validation_context"), alone=False), reference
    return None, None


def compile_reference(proto: Any, path: str) -> SecretReference:
    """Compile an SdsSecretConfig. Raises ConfigError."""
    name = required(proto, "name", path)
    if not proto.HasField("sds_config"):
        return SecretReference(name)
    source, place = proto.sds_config, join(path, "sds_config")
    timeout = seconds(source, "initial_fetch_timeout", 15.0, place)
    chosen = source.WhichOneof("config_source_specifier")
    if chosen == "ads":
        return SecretReference(name, ads=True, initial_fetch_timeout=timeout)
    if chosen == "path_config_source":
        file = required(source.path_config_source, "path", join(place, chosen))
        return SecretReference(name, file, source.path_config_source.watched_directory.path)
    reason = (
        "is not supported for secrets; use ads, path_config_source, or a secret of the bootstrap file (no sds_config)"
    )
    raise ConfigError(join(place, chosen or "ads"), "", reason)


def _parameters(proto: Any, path: str) -> TlsParameters:
    minimum = _VERSIONS[enum_name(proto, "tls_minimum_protocol_version")]
    maximum = _VERSIONS[enum_name(proto, "tls_maximum_protocol_version")]
    if minimum == "1.3" and maximum == "1.2":
        place = join(path, "tls_maximum_protocol_version")
        raise ConfigError(place, "TLSv1_2", "must not be less than tls_minimum_protocol_version, TLSv1_3")
    for index, cipher in enumerate(proto.cipher_suites):
        if not cipher.replace("-", "").replace("_", "").isalnum():
            reason = "groups of equal preference are not supported; list the ciphers one by one"
            raise ConfigError(f"{path}.cipher_suites[{index}]", shown(cipher), reason)
    return TlsParameters(minimum, maximum, tuple(proto.cipher_suites), _curve(proto.ecdh_curves, path))


def _curve(curves: Any, path: str) -> str:
    place = join(path, "ecdh_curves")
    if len(curves) > 1:
        raise ConfigError(
            place, shown(list(curves)), "Python's ssl takes one curve alone, or those of OpenSSL; name one"
        )
    if curves and curves[0] not in _CURVES:
        raise ConfigError(f"{place}[0]", shown(curves[0]), f"must be one of {', '.join(_CURVES)}")
    return _CURVES[curves[0]] if curves else ""


def _protocol(name: str, path: str) -> str:
    if not 0 < len(name.encode()) < 256:
        raise ConfigError(path, shown(name), "must be 1 to 255 bytes long")
    return name
