"""What is told of X.509 certificates (RFC 5280), read from their DER form. Pure; nothing is verified here, OpenSSL does that.

Python's ssl shows parts of a certificate only of peers that it verified, and nothing of one's own; hence this reader.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus_proxy.tls.model import TlsDetails

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_SAN_OID = bytes.fromhex("551d11")  # 2.5.29.17
_EC_OID = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1
_NAMES = {
    "550403": "CN", "550406": "C", "550407": "L", "550408": "ST", "55040a": "O", "55040b": "OU", "550409": "street",
    "550404": "SN", "550405": "serialNumber", "55040c": "title", "55042a": "GN", "2a864886f70d010901": "emailAddress",
    "0992268993f22c640119": "DC", "0992268993f22c640101": "UID",
}  # fmt: skip
_SEQUENCE, _SET, _INTEGER, _OID, _UTC_TIME = 0x30, 0x31, 0x02, 0x06, 0x17
_EXTENSIONS = 0xA3
_STRING_CODECS = {0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x0C: "utf-8"}
_ESCAPED = set(',+"\\<>;')


class BadCertificateError(ValueError):
    """These bytes are no certificate; the message says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. ``spki`` is its SubjectPublicKeyInfo in DER; ``details`` what logs and headers show."""

    details: TlsDetails
    spki: bytes
    elliptic: bool

    @property
    def spki_hash(self) -> bytes:
        """SHA-256 of the public key (RFC 7469, section 2.4)."""
        return hashlib.sha256(self.spki).digest()


def pem_certificates(data: bytes) -> list[bytes]:
    """The certificates in PEM text, each as DER, in their order. Raises BadCertificateError."""
    try:
        return [base64.b64decode(found[1]) for found in _PEM.finditer(data)]
    except binascii.Error as error:
        message = f"is not base64 within a certificate: {error}"
        raise BadCertificateError(message) from error


def to_pem(der: bytes) -> str:
    """PEM text of a certificate (RFC 7468), in lines of 64 characters."""
    text = base64.b64encode(der).decode("ascii")
    lines = "".join(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate. Raises BadCertificateError for bytes that are none, or are cut short."""
    try:
        return _read(der)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        message = f"is not an X.509 certificate: {error}"
        raise BadCertificateError(message) from error


def _read(der: bytes) -> Certificate:
    (body,) = (content for _, content, _ in _elements(der))
    fields = list(_elements(next(_elements(body))[1]))
    if fields[0][0] == 0xA0:  # an explicit version
        fields.pop(0)
    serial, _, issuer, validity, subject, key = fields[:6]
    if serial[0] != _INTEGER or subject[0] != _SEQUENCE or key[0] != _SEQUENCE:
        raise ValueError("its fields are not those of a certificate")
    begin, end = (_time(kind, content) for kind, content, _ in _elements(validity[1]))
    sans = _alternative_names(fields[6:])
    algorithm = next(_elements(next(_elements(key[1]))[1]))[1]
    details = TlsDetails(
        subject=_name(subject[1]),
        issuer=_name(issuer[1]),
        serial=_serial(serial[1]),
        fingerprint_256=hashlib.sha256(der).hexdigest(),
        fingerprint_1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        uri_sans=tuple(text.decode("latin-1") for kind, text in sans if kind == 6),
        dns_sans=tuple(text.decode("latin-1") for kind, text in sans if kind == 2),
        ip_sans=tuple(str(ipaddress.ip_address(text)) for kind, text in sans if kind == 7),
        email_sans=tuple(text.decode("latin-1") for kind, text in sans if kind == 1),
        not_before=begin,
        not_after=end,
        der=der,
    )
    return Certificate(details, key[2], algorithm == _EC_OID)


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, content, all bytes) of each element in turn (X.690: DER, definite lengths)."""
    at = 0
    while at < len(data):
        start, tag, size = at, data[at], data[at + 1]
        at += 2
        if size >= 0x80:
            more = size & 0x7F
            if not 1 <= more <= 4 or at + more > len(data):
                raise ValueError("an element has no definite length")
            size = int.from_bytes(data[at : at + more])
            at += more
        if at + size > len(data):
            raise ValueError("it is cut short")
        yield tag, data[at : at + size], data[start : at + size]
        at += size


def _serial(content: bytes) -> str:
    return content.lstrip(b"\0").hex() or "0"


def _time(kind: int, content: bytes) -> float:
    text = content.decode("ascii")
    if kind == _UTC_TIME:  # RFC 5280, section 4.1.2.5.1
        text = ("20" if int(text[:2]) < 50 else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _alternative_names(rest: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes]]:
    """(kind, bytes) of each GeneralName of the extension subjectAltName (RFC 5280, section 4.2.1.6)."""
    for tag, content, _ in rest:
        if tag != _EXTENSIONS:
            continue
        for _, extension, _ in _elements(next(_elements(content))[1]):
            parts = list(_elements(extension))
            if parts[0][1] == _SAN_OID:
                names = next(_elements(parts[-1][1]))[1]
                return [(kind & 0x1F, text) for kind, text, _ in _elements(names)]
    return []


def _name(content: bytes) -> str:
    """A distinguished name, the last part first (RFC 2253, as OpenSSL's XN_FLAG_RFC2253 writes it)."""
    parts: list[str] = []
    for _, group, _ in _elements(content):
        pairs = []
        for _, pair, _ in _elements(group):
            (_, oid, _), (kind, value, _) = list(_elements(pair))
            text = value.decode(_STRING_CODECS.get(kind, "latin-1"))
            pairs.append(f"{_NAMES.get(oid.hex()) or _dotted(oid)}={_escaped(text)}")
        parts.append("+".join(reversed(pairs)))
    return ",".join(reversed(parts))


def _dotted(oid: bytes) -> str:
    numbers, number = [], 0
    for octet in oid:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _escaped(text: str) -> str:
    out = "".join(_escaped_character(each) for each in text)
    if text[:1] in (" ", "#"):
        out = "\\" + out
    if len(text) > 1 and text.endswith(" "):
        out = out[:-1] + "\\ "
    return out


def _escaped_character(character: str) -> str:
    if character in _ESCAPED:
        return "\\" + character
    if " " <= character <= "~":
        return character
    return "".join(f"\\{octet:02X}" for octet in character.encode())
