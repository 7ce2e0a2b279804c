"""Makes the ssl contexts of a configuration: what OpenSSL is told, with Envoy's defaults. The certificate is chosen by server name."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Sequence

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.material import CertificateMaterial, ValidationMaterial, load_certificate, load_validation
from isthmus_proxy.tls.model import CertificateConfig, ClientTlsConfig, CommonTls, Secret, ServerTlsConfig

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
)  # fmt: skip
"""Those of TLS 1.2 that Envoy takes by default, in its order (extensions.transport_sockets.tls.v3.TlsParameters)."""


class ServerMachine(ssl.SSLObject):
    """Keeps the name for which the client asked."""

    requested_name = ""


class ServerContexts:
    """All contexts of one configuration. ``first`` begins a handshake; the client's server name may put another in its place.

    A context has at most one certificate of each kind of key, of which OpenSSL takes what the client can use.
    """

    __slots__ = ("_fallback", "_identities", "_materials", "_name_required", "first")

    def __init__(
        self, config: ServerTlsConfig, certificates: Sequence[CertificateMaterial], validation: ValidationMaterial | None
    ) -> None:  # fmt: skip
        """Raises ConfigError, also for a key that is not the certificate's."""
        self._materials: dict[ssl.SSLContext, tuple[CertificateMaterial, ...]] = {}

        def context(*chosen: CertificateMaterial) -> ssl.SSLContext:
            made = _server_context(config, chosen, validation)
            self._materials[made] = chosen
            return made

        self._name_required = config.require_sni
        self.first = self._fallback = context(*_of_each_kind(certificates))
        self._identities: dict[str, ssl.SSLContext] = {}
        if len(certificates) > 1:
            if not config.full_scan_on_sni_mismatch:
                self._fallback = context(certificates[0])
            self._identities = _by_name(certificates, context)
        self.first.sni_callback = self._choose

    def material_of(self, machine: ssl.SSLObject) -> CertificateMaterial | None:
        """The certificate that was shown: the one of a kind that the cipher tells, which TLS 1.3 does not."""
        materials = self._materials.get(machine.context, ())
        cipher = machine.cipher()
        if len(materials) > 1 and cipher is not None and "-RSA-" in cipher[0]:
            return next(each for each in materials if not each.leaf.elliptic)
        return min(materials, key=lambda each: not each.leaf.elliptic, default=None)

    def _choose(self, machine: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        """RFC 6066, section 3: the certificate for the name that the client wants, an exact one before a wildcard."""
        if not name:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if self._name_required else None
        wanted = name.lower()
        if isinstance(machine, ServerMachine):
            machine.requested_name = wanted
        if self._identities:
            found = self._identities.get(wanted) or self._identities.get(f"*.{wanted.partition('.')[2]}")
            machine.context = found or self._fallback
        return None


def requested_name(machine: ssl.SSLObject) -> str:
    """The server name for which the client of ``machine`` asked, in lower case."""
    return machine.requested_name if isinstance(machine, ServerMachine) else ""


def _by_name(
    certificates: Sequence[CertificateMaterial], context: Callable[..., ssl.SSLContext]
) -> dict[str, ssl.SSLContext]:
    """The context for each name, made once for names of the same certificates."""
    made: dict[tuple[CertificateMaterial, ...], ssl.SSLContext] = {}
    found: dict[str, ssl.SSLContext] = {}
    for name in {name for each in certificates for name in _names(each)}:
        fitting = _of_each_kind(each for each in certificates if name in _names(each))
        if fitting not in made:
            made[fitting] = context(*fitting)
        found[name] = made[fitting]
    return found


def _names(material: CertificateMaterial) -> tuple[str, ...]:
    """The names for which a certificate is shown: its DNS names, or the common name of one that has none."""
    details = material.leaf.details
    if details.dns_sans:
        return tuple(name.lower() for name in details.dns_sans)
    common = [part[3:] for part in details.subject.split(",") if part.startswith("CN=")]
    return tuple(name.lower() for name in common)


def _of_each_kind(certificates: Iterable[CertificateMaterial]) -> tuple[CertificateMaterial, ...]:
    """The first certificate with an elliptic key and the first with another one."""
    found: dict[bool, CertificateMaterial] = {}
    for each in certificates:
        found.setdefault(each.leaf.elliptic, each)
    return tuple(found.values())


def _server_context(
    config: ServerTlsConfig, certificates: Iterable[CertificateMaterial], validation: ValidationMaterial | None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = ServerMachine
    _set_parameters(context, config.common, config.common.alpn, maximum="1.3")
    if config.prefer_client_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if not config.tickets:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    for each in certificates:
        _load(context, each)
    if validation is not None and _trust(context, validation):
        # As in Envoy, rules for certificates are rules for everybody: who shows none does not keep them.
        wanted = config.require_client_certificate or validation.rules.sans or validation.rules.pins
        context.verify_mode = ssl.CERT_REQUIRED if wanted else ssl.CERT_OPTIONAL
    return context


def check_secret(secret: Secret) -> None:
    """Raise ConfigError for a secret that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if isinstance(secret, CertificateConfig):
        _load(context, load_certificate(secret))
    else:
        _trust(context, load_validation(secret))


def client_context(
    config: ClientTlsConfig,
    certificates: Sequence[CertificateMaterial],
    validation: ValidationMaterial | None,
    alpn: tuple[str, ...],
) -> ssl.SSLContext:
    """The context of a cluster that offers ``alpn``. Names in the server's certificate are checked afterwards. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _set_parameters(context, config.common, alpn, maximum="1.2")
    for each in certificates:
        _load(context, each)
    trusts = validation is not None and _trust(context, validation)
    context.verify_mode = ssl.CERT_REQUIRED if trusts else ssl.CERT_NONE
    return context


def _set_parameters(context: ssl.SSLContext, common: CommonTls, alpn: tuple[str, ...], maximum: str) -> None:
    parameters = common.parameters
    context.minimum_version = _VERSIONS[parameters.minimum or "1.2"]
    context.maximum_version = _VERSIONS[parameters.maximum or maximum]
    try:
        context.set_ciphers(":".join(parameters.ciphers or _CIPHERS))
    except ssl.SSLError as error:
        place = "common_tls_context.tls_params.cipher_suites"
        raise ConfigError(place, ":".join(parameters.ciphers), "OpenSSL has none of these") from error
    if parameters.curve:
        context.set_ecdh_curve(parameters.curve)
    if alpn:
        context.set_alpn_protocols(list(alpn))


def _trust(context: ssl.SSLContext, validation: ValidationMaterial) -> bool:
    """Load the roots; answer whether there are any."""
    if validation.rules.system_roots:
        context.set_default_verify_paths()
    if validation.roots is not None:
        try:
            context.load_verify_locations(cadata=validation.roots.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            raise ConfigError("validation_context.trusted_ca", validation.origin, f"is refused: {error}") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return validation.roots is not None or validation.rules.system_roots


def _load(context: ssl.SSLContext, material: CertificateMaterial) -> None:
    """Load chain and key. OpenSSL reads them from files alone, so they are lent to it in memory that has no name."""
    password = material.password

    def asked() -> bytes:
        return password or b""

    fd = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(fd, material.chain + b"\n" + material.key + b"\n")
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=asked)
    except ssl.SSLError as error:
        other = error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
        reason = "is not the key of the certificate" if other else f"is refused: {error.reason}"
        raise ConfigError("tls_certificates.private_key", material.origin, reason) from error
    finally:
        os.close(fd)
