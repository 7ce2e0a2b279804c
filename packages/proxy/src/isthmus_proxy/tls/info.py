"""What logs and headers show of a TLS connection, worked out when somebody asks."""

from __future__ import annotations

from isthmus_proxy.tls.certificate import BadCertificateError, Certificate, read_certificate
from isthmus_proxy.tls.engine import TlsEngine
from isthmus_proxy.tls.model import TlsDetails

_MAX_CERTIFICATES = 256


class CertificateMemo:
    """Certificates of peers by their bytes: the same few come again and again. Begins anew when it is full."""

    __slots__ = ("_known", "resets")

    def __init__(self) -> None:
        self._known: dict[bytes, Certificate | None] = {}
        self.resets = 0

    def __len__(self) -> int:
        return len(self._known)

    def read(self, der: bytes) -> Certificate | None:
        """The certificate; None for one that cannot be read."""
        if der in self._known:
            return self._known[der]
        if len(self._known) >= _MAX_CERTIFICATES:
            self._known.clear()
            self.resets += 1
        try:
            found: Certificate | None = read_certificate(der)
        except BadCertificateError:
            found = None
        self._known[der] = found
        return found


class TlsInfo:
    """One connection whose handshake is done. ``server_name`` is what the client asked for; ``local`` is our certificate."""

    __slots__ = ("_engine", "_memo", "_peer_read", "local", "peer_certificate", "server_name")

    def __init__(self, engine: TlsEngine, memo: CertificateMemo, local: TlsDetails | None, server_name: str) -> None:
        self._engine = engine
        self._memo = memo
        self.local = local
        self.server_name = server_name
        der = engine.ssl.getpeercert(binary_form=True)
        self.peer_certificate = memo.read(der) if der else None
        self._peer_read = bool(der)

    @property
    def mutual(self) -> bool:
        """Whether the peer showed a certificate."""
        return self._peer_read

    @property
    def peer(self) -> TlsDetails | None:
        """The peer's certificate."""
        return self.peer_certificate.details if self.peer_certificate is not None else None

    @property
    def version(self) -> str:
        """``TLSv1.3``."""
        return self._engine.ssl.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher."""
        cipher = self._engine.ssl.cipher()
        return cipher[0] if cipher is not None else ""

    @property
    def alpn(self) -> str:
        """The protocol that was agreed, empty without."""
        return self._engine.ssl.selected_alpn_protocol() or ""

    @property
    def session_id(self) -> str:
        """The session's identifier in hexadecimal digits."""
        session = self._engine.ssl.session
        return session.id.hex() if session is not None else ""
