"""x-forwarded-client-cert: what a proxy tells the next one of the certificate that the client showed (Envoy's header). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_proxy.tls.info import TlsInfo
    from isthmus_proxy.tls.model import TlsDetails

_URL_ENCODED = {"\n": "%0A", " ": "%20", "+": "%2B", "/": "%2F", "=": "%3D"}


def forwarded_element(tls: TlsInfo, wanted: frozenset[str]) -> bytes:
    """The element for this hop; ``wanted`` as in set_current_client_cert_details."""
    peer = tls.peer
    if peer is None:
        return b""
    parts = [f"By={name}" for name in (tls.local.uri_sans if tls.local is not None else ())]
    parts.append(f"Hash={peer.fingerprint_256}")
    if "cert" in wanted:
        parts.append(f'Cert="{url_encoded_pem(peer)}"')
    if "subject" in wanted:
        parts.append(f'Subject="{peer.subject}"')
    if "uri" in wanted:
        parts.extend([f"URI={name}" for name in peer.uri_sans] or ["URI="])
    if "dns" in wanted:
        parts.extend(f"DNS={name}" for name in peer.dns_sans)
    return ";".join(parts).encode("latin-1", "replace")


def url_encoded_pem(details: TlsDetails) -> str:
    """A certificate in PEM, percent-encoded as in Envoy's header and logs."""
    from isthmus_proxy.tls.certificate import to_pem  # noqa: PLC0415 - few configurations show whole certificates

    return "".join(_URL_ENCODED.get(each, each) for each in to_pem(details.der))
