"""Certificates read from DER: what OpenSSL says of the same ones, and nothing from what is cut short."""

from __future__ import annotations

import contextlib
import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.tls.certificate import BadCertificateError, pem_certificates, read_certificate, to_pem
from isthmus_proxy.tls.testing import Files


def der(files: Files, name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(getattr(files, name).pem)


def openssl(files: Files, name: str, *options: str) -> str:
    path = str(getattr(files, name).certificate)
    command = ["openssl", "x509", "-in", path, "-noout", "-nameopt", "RFC2253", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["server", "rsa", "client", "wild"])
def test_it_says_what_openssl_says(files: Files, name: str) -> None:
    certificate = read_certificate(der(files, name))
    details = certificate.details
    assert f"subject={details.subject}" == openssl(files, name, "-subject")
    assert f"issuer={details.issuer}" == openssl(files, name, "-issuer")
    assert f"serial={details.serial}" == openssl(files, name, "-serial").lower()
    fingerprint = openssl(files, name, "-fingerprint", "-sha256").partition("=")[2]
    assert details.fingerprint_256 == fingerprint.replace(":", "").lower()
    fingerprint = openssl(files, name, "-fingerprint", "-sha1").partition("=")[2]
    assert details.fingerprint_1 == fingerprint.replace(":", "").lower()
    assert details.not_before == ssl.cert_time_to_seconds(openssl(files, name, "-startdate").partition("=")[2])
    assert details.not_after == ssl.cert_time_to_seconds(openssl(files, name, "-enddate").partition("=")[2])
    assert certificate.elliptic == (name != "rsa")


def test_names_by_their_kinds(files: Files) -> None:
    server, rsa = (read_certificate(der(files, name)).details for name in ("server", "rsa"))
    assert server.dns_sans == ("server.example", "two.example")
    assert server.uri_sans == ("spiffe://mesh/server",)
    assert server.ip_sans == ("127.0.0.1",)
    assert rsa.email_sans == ("a@b.example",)
    assert rsa.ip_sans == ("2001:db8::1",)
    assert server.subject == r"CN=server,OU=Tests\, and more,O=Isthmus,C=DE"


def test_a_certificate_without_alternative_names(files: Files) -> None:
    root = read_certificate(ssl.PEM_cert_to_DER_cert(files.authority.root.pem)).details
    assert (root.dns_sans, root.uri_sans, root.ip_sans, root.email_sans) == ((), (), (), ())
    assert root.subject == root.issuer == "CN=ca,O=Isthmus"


@pytest.mark.parametrize("name", ["server", "rsa"])
def test_cut_short_at_every_byte(files: Files, name: str) -> None:
    whole = der(files, name)
    for end in range(len(whole)):
        with pytest.raises(BadCertificateError):
            read_certificate(whole[:end])


def test_trailing_data_is_refused(files: Files) -> None:
    with pytest.raises(BadCertificateError):
        read_certificate(der(files, "server") + b"\0")


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadCertificateError):
        read_certificate(data)


@given(st.integers(0, 599), st.integers(0, 255))
def test_no_flipped_byte_breaks_the_reader(at: int, value: int) -> None:
    with contextlib.suppress(BadCertificateError):
        read_certificate(_SAMPLE[:at] + bytes([value]) + _SAMPLE[at + 1 :])


def test_pem_there_and_back(files: Files) -> None:
    text = f"words\n{files.server.pem}\nmore words\n{files.rsa.pem}"
    found = pem_certificates(text.encode())
    assert found == [der(files, "server"), der(files, "rsa")]
    assert to_pem(found[0]) == files.server.pem
    assert pem_certificates(b"nothing") == []


_SAMPLE = ssl.PEM_cert_to_DER_cert("""-----BEGIN CERTIFICATE-----
MIIBszCCAVmgAwIBAgIUXtDiXzRxeLkxB1SCSqvfyKkp9VUwCgYIKoZIzj0EAwIw
HzEQMA4GA1UECgwHSXN0aG11czELMAkGA1UEAwwCY2EwHhcNMjUwMTAxMDAwMDAw
WhcNMzUwMTAxMDAwMDAwWjAfMRAwDgYDVQQKDAdJc3RobXVzMQswCQYDVQQDDAJj
YTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLQ8mgUcSMfqfyiAWXOMBW4bg1Kk
wMBxKHs3MGY9tPQTM9TgF7TIWQmUyjpDX0Ej6fBUa8IyA4Bz6aE8JRbXbgmjczBx
MB0GA1UdDgQWBBQFZ4eeh1yahD8BIuJt9/PRWSjYTDAfBgNVHSMEGDAWgBQFZ4ee
h1yahD8BIuJt9/PRWSjYTDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIB
BjAOBgNVHREEBzAFggNhLmIwCgYIKoZIzj0EAwIDSAAwRQIgAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAECIQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAQ==
-----END CERTIFICATE-----
""")
"""Any certificate: its signature is of no account here."""
