"""Command operators of access log formats that tell of TLS: of the connection, of the peer's certificate, of the proxy's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.http.client_certificate import url_encoded_pem
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.operators import Reader, Value

if TYPE_CHECKING:
    from isthmus_proxy.tls.info import TlsInfo
    from isthmus_proxy.tls.model import TlsDetails

_Tls = Callable[[StreamInfo], "TlsInfo | None"]
_Read = Callable[["TlsDetails"], str]


def _downstream(info: StreamInfo) -> TlsInfo | None:
    return info.downstream_security.tls if info.downstream_security is not None else None


def _upstream(info: StreamInfo) -> TlsInfo | None:
    return info.upstream.tls if info.upstream is not None else None


def _server_name(info: StreamInfo) -> Value:
    return info.downstream_security.server_name or None if info.downstream_security is not None else None


def _failure(info: StreamInfo) -> Value:
    return info.downstream_security.failure or None if info.downstream_security is not None else None


def _date(seconds: float) -> str:
    import time  # noqa: PLC0415 - what a certificate is logged with is rare

    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


_NAMES: dict[str, _Read] = {
    "SUBJECT": lambda details: details.subject,
    "URI_SAN": lambda details: ",".join(details.uri_sans),
    "DNS_SAN": lambda details: ",".join(details.dns_sans),
    "IP_SAN": lambda details: ",".join(details.ip_sans),
    "EMAIL_SAN": lambda details: ",".join(details.email_sans),
}
_DOWNSTREAM_PEER: dict[str, _Read] = {
    **_NAMES,
    "ISSUER": lambda details: details.issuer,
    "SERIAL": lambda details: details.serial,
    "FINGERPRINT_256": lambda details: details.fingerprint_256,
    "FINGERPRINT_1": lambda details: details.fingerprint_1,
    "CERT_V_START": lambda details: _date(details.not_before),
    "CERT_V_END": lambda details: _date(details.not_after),
}
_UPSTREAM_PEER = {name: _DOWNSTREAM_PEER[name] for name in ("SUBJECT", "ISSUER", "URI_SAN", "DNS_SAN", "IP_SAN")}
_CONNECTION: dict[str, Callable[[TlsInfo], str]] = {
    "TLS_VERSION": lambda tls: tls.version,
    "TLS_CIPHER": lambda tls: tls.cipher,
    "TLS_SESSION_ID": lambda tls: tls.session_id,
}


def _of_connection(of: _Tls, read: Callable[[TlsInfo], str]) -> Reader:
    def value(info: StreamInfo) -> Value:
        tls = of(info)
        return read(tls) or None if tls is not None else None

    return value


def _of_certificate(of: _Tls, read: _Read, *, peer: bool) -> Reader:
    def value(info: StreamInfo) -> Value:
        tls = of(info)
        details = None if tls is None else tls.peer if peer else tls.local
        return read(details) or None if details is not None else None

    return value


def _operators(side: str, of: _Tls, peer: dict[str, _Read], local: dict[str, _Read]) -> dict[str, Reader]:
    found = {f"{side}_{name}": _of_connection(of, read) for name, read in _CONNECTION.items()}
    found |= {f"{side}_PEER_{name}": _of_certificate(of, read, peer=True) for name, read in peer.items()}
    found |= {f"{side}_LOCAL_{name}": _of_certificate(of, read, peer=False) for name, read in local.items()}
    found[f"{side}_PEER_CERT"] = _of_certificate(of, url_encoded_pem, peer=True)
    return found


TLS_OPERATORS: dict[str, Reader] = {
    "REQUESTED_SERVER_NAME": _server_name,
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": _failure,
    **_operators("DOWNSTREAM", _downstream, _DOWNSTREAM_PEER, _NAMES),
    **_operators("UPSTREAM", _upstream, _UPSTREAM_PEER, {name: _NAMES[name] for name in ("URI_SAN", "DNS_SAN", "IP_SAN")}),
}  # fmt: skip
"""Envoy's, but for those of which Python's ssl knows nothing (TLS groups, fingerprints of clients)."""
