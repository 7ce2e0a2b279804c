"""Which certificates a validation context accepts."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from isthmus_proxy.route.model import StringMatch
from isthmus_proxy.tls.certificate import Certificate, read_certificate
from isthmus_proxy.tls.failure import TlsFailure
from isthmus_proxy.tls.model import SanMatch, SanType, ValidationConfig
from isthmus_proxy.tls.san_match import PeerCheck, dns_name_fits
from isthmus_proxy.tls.testing import Files


@pytest.fixture(scope="module")
def server(files: Files) -> Certificate:
    return read_certificate(ssl.PEM_cert_to_DER_cert(files.server.pem))


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("a.example", "a.example", True),
        ("A.Example", "a.eXample", True),
        ("a.example", "b.example", False),
        ("x.a.example", "*.a.example", True),
        ("a.example", "*.a.example", False),
        ("y.x.a.example", "*.a.example", False),
        ("x.a.example", "x*.a.example", False),
        ("a.example", "*.example", True),
        ("example", "*", False),
        (".a.example", "*.a.example", False),
        ("", "", True),
    ],
)
def test_names_and_wildcards(name: str, pattern: str, fits: bool) -> None:
    assert dns_name_fits(name, pattern) is fits


def san(kind: SanType, value: str, how: str = "exact") -> ValidationConfig:
    return ValidationConfig(sans=(SanMatch(kind, StringMatch(how, value.encode())),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rules",
    [
        san("DNS", "server.example"),
        san("DNS", "TWO.example"),
        san("DNS", ".example", "suffix"),
        san("URI", "spiffe://mesh/", "prefix"),
        san("IP_ADDRESS", "127.0.0.1"),
        ValidationConfig(),
    ],
)
def test_accepted(server: Certificate, rules: ValidationConfig) -> None:
    PeerCheck(rules).check(server)


@pytest.mark.parametrize(
    "rules", [san("DNS", "a.example"), san("URI", "server.example"), san("EMAIL", "a"), san("IP_ADDRESS", "127.0.0.2")]
)
def test_another_name(server: Certificate, rules: ValidationConfig) -> None:
    with pytest.raises(
        TlsFailure, match=r"SAN matcher, certificate SANs are \[server.example, two.example, "
    ) as caught:
        PeerCheck(rules).check(server)
    assert caught.value.counter == "fail_verify_san"


def test_one_of_several_names_suffices(server: Certificate) -> None:
    sans = (*san("DNS", "no").sans, *san("URI", "spiffe://mesh/server").sans)
    PeerCheck(ValidationConfig(sans=sans)).check(server)


def test_pins(server: Certificate) -> None:
    right, wrong = hashlib.sha256(server.details.der).digest(), bytes(32)
    PeerCheck(ValidationConfig(hashes=frozenset({wrong, right}))).check(server)
    PeerCheck(ValidationConfig(spkis=frozenset({server.spki_hash}))).check(server)
    PeerCheck(ValidationConfig(hashes=frozenset({wrong}), spkis=frozenset({server.spki_hash}))).check(server)
    with pytest.raises(TlsFailure, match="cert hash and spki") as caught:
        PeerCheck(ValidationConfig(hashes=frozenset({wrong}), spkis=frozenset({wrong}))).check(server)
    assert caught.value.counter == "fail_verify_cert_hash"
    assert not PeerCheck(ValidationConfig()).needed
