"""Why TLS failed, in the words of Envoy's logs: BoringSSL's numbers and names for what OpenSSL reports."""

from __future__ import annotations

import errno
import os
import re

_LIBRARY = 0x10000000  # ERR_LIB_SSL << 24 in BoringSSL
_SYSTEM = 0x02000000  # ERR_LIB_SYS << 24
_ALERTS_FROM = 1000
_NUMBERS = {
    "CERTIFICATE_VERIFY_FAILED": 125, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139, "HTTP_REQUEST": 155, "NO_SHARED_CIPHER": 184,
    "NO_SHARED_GROUP": 266, "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192, "UNEXPECTED_MESSAGE": 225, "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247, "BAD_PACKET_LENGTH": 107, "NO_APPLICATION_PROTOCOL": 307, "WRONG_SSL_VERSION": 248,
    "HTTPS_PROXY_REQUEST": 156,
}  # fmt: skip
_ALERTS = {
    "UNEXPECTED_MESSAGE": 10, "BAD_RECORD_MAC": 20, "RECORD_OVERFLOW": 22, "HANDSHAKE_FAILURE": 40, "BAD_CERTIFICATE": 42,
    "UNSUPPORTED_CERTIFICATE": 43, "CERTIFICATE_REVOKED": 44, "CERTIFICATE_EXPIRED": 45, "CERTIFICATE_UNKNOWN": 46, "ILLEGAL_PARAMETER": 47,
    "UNKNOWN_CA": 48, "ACCESS_DENIED": 49, "DECODE_ERROR": 50, "DECRYPT_ERROR": 51, "PROTOCOL_VERSION": 70, "INSUFFICIENT_SECURITY": 71,
    "INTERNAL_ERROR": 80, "USER_CANCELLED": 90, "UNRECOGNIZED_NAME": 112, "CERTIFICATE_REQUIRED": 116, "NO_APPLICATION_PROTOCOL": 120,
}  # fmt: skip
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)")
_RENAMED = {
    "NO_PROTOCOLS_AVAILABLE": "UNSUPPORTED_PROTOCOL",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_UNRECOGNIZED_NAME": "TLSV1_ALERT_UNRECOGNIZED_NAME",
    "BAD_PROTOCOL_VERSION_NUMBER": "WRONG_VERSION_NUMBER",
}


class TlsFailure(OSError):  # noqa: N818 - an OSError, as every other end of a connection
    """A handshake or a record that failed. ``transport_reason`` is what logs say; ``counter`` counts it among ssl stats."""

    def __init__(self, transport_reason: str, counter: str = "connection_error") -> None:
        super().__init__(errno.EPROTO, transport_reason)
        self.transport_reason = transport_reason
        self.counter = counter


def described(reason: str, details: str = "") -> str:
    """Envoy's transport failure reason for OpenSSL's ``reason`` (``CERTIFICATE_VERIFY_FAILED``)."""
    name = _RENAMED.get(reason, reason)
    number = _NUMBERS.get(name, 0)
    alert = _ALERT.fullmatch(name)
    if alert is not None and alert[1] in _ALERTS:
        number = _ALERTS_FROM + _ALERTS[alert[1]]
    return f"TLS_error:|{_LIBRARY + number}:SSL routines:OPENSSL_internal:{name}{details}:TLS_error_end"


def unverified(why: str, counter: str) -> TlsFailure:
    """The peer's certificate is not accepted."""
    return TlsFailure(described("CERTIFICATE_VERIFY_FAILED", f":verify cert failed: {why}"), counter)


def broken(error: OSError) -> TlsFailure:
    """The connection broke in the handshake, which no counter of TLS counts."""
    number = error.errno or errno.EIO
    words = os.strerror(number)
    return TlsFailure(f"TLS_error:|{_SYSTEM + number}:system library:OPENSSL_internal:{words}:TLS_error_end")
