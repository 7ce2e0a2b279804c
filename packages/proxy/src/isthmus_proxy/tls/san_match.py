"""Whether a peer's certificate is one that a validation context accepts, once OpenSSL has verified its chain. Pure."""

from __future__ import annotations

import hashlib

from isthmus_proxy.route.matcher import StringTest, string_test
from isthmus_proxy.tls.certificate import Certificate
from isthmus_proxy.tls.failure import TlsFailure, unverified
from isthmus_proxy.tls.model import SanMatch, TlsDetails, ValidationConfig

NO_SAN, NO_HASH = "fail_verify_san", "fail_verify_cert_hash"


class PeerCheck:
    """The rules of one validation context beyond the chain."""

    __slots__ = ("_matchers", "_validation")

    def __init__(self, validation: ValidationConfig) -> None:
        self._validation = validation
        self._matchers = [(each, string_test(each.match)) for each in validation.sans]

    @property
    def needed(self) -> bool:
        """Whether there is anything to check."""
        return bool(self._matchers or self._validation.pins)

    def check(self, certificate: Certificate) -> None:
        """Apply the rules, names first, as Envoy does. Raises TlsFailure."""
        if self._matchers and not any(_fits(rule, test, certificate.details) for rule, test in self._matchers):
            raise wrong_name(certificate.details)
        rules = self._validation
        if not rules.pins or hashlib.sha256(certificate.details.der).digest() in rules.hashes:
            return
        if certificate.spki_hash not in rules.spkis:
            raise unverified("cert hash and spki", NO_HASH)


def wrong_name(details: TlsDetails, expected: str = "") -> TlsFailure:
    """The certificate is for somebody else; ``expected`` is the one name that was asked for."""
    names = ", ".join([*details.dns_sans, *details.uri_sans, *details.ip_sans])
    if expected:
        return unverified(f"verify SAN list, expected SANs: [{expected}], certificate SANs: [{names}]", NO_SAN)
    return unverified(f"SAN matcher, certificate SANs are [{names}]", NO_SAN)


def _fits(rule: SanMatch, test: StringTest, details: TlsDetails) -> bool:
    if rule.kind == "DNS":
        if rule.match.kind == "exact":
            wanted = str(rule.match.value, "latin-1")
            return any(dns_name_fits(wanted, name) for name in details.dns_sans)
        return _any(test, details.dns_sans)
    names = {"URI": details.uri_sans, "EMAIL": details.email_sans, "IP_ADDRESS": details.ip_sans}[rule.kind]
    return _any(test, names)


def _any(test: StringTest, names: tuple[str, ...]) -> bool:
    return any(test(name.encode("latin-1", "replace")) for name in names)


def dns_name_fits(name: str, pattern: str) -> bool:
    """Whether a certificate for ``pattern`` is one for ``name``: equal, or a wildcard for exactly its first label.

    RFC 6125, section 6.4.3, with a wildcard as the whole first label only.
    """
    name, pattern = name.lower(), pattern.lower()
    if name == pattern:
        return True
    first, dot, rest = name.partition(".")
    return bool(first and dot) and pattern == f"*.{rest}"
