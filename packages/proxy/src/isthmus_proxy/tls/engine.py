"""One side of a TLS connection without I/O: bytes of the network in, plain bytes out, and the other way.

OpenSSL does the work over two memory buffers. A call takes all that is there: what was received is decrypted as a whole, what
is to be sent becomes one piece of bytes, so that a batch costs one write.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from isthmus_proxy.tls.failure import TlsFailure, described, unverified

if TYPE_CHECKING:
    from isthmus_proxy.tls.info import TlsInfo

_READ = 262144


class TlsEngine:
    """See the module. ``established``: the handshake is done. ``ended``: the peer will send no more.

    ``server_name`` is what the client asks for, and ``info`` what is told of the connection; whoever approves it sets that.
    """

    __slots__ = ("_in", "_notified", "_out", "ended", "established", "info", "server_name", "ssl")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._in, self._out, server_side, server_name, session)
        self.server_name = server_name or ""
        self.info: TlsInfo | None = None
        self.established = False
        self.ended = False
        self._notified = False

    @property
    def has_output(self) -> bool:
        """Whether something is to be sent."""
        return self._out.pending > 0

    def take(self) -> bytes:
        """What is to be sent to the peer."""
        return self._out.read()

    def begin(self) -> None:
        """Go on with the handshake as far as what was received allows. Raises TlsFailure."""
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise _failure(error) from error
        self.established = True

    def receive(self, data: bytes) -> bytes:
        """Take in what came from the network; answer what it says, which may be nothing yet. Raises TlsFailure."""
        self._in.write(data)
        if not self.established:
            self.begin()
            if not self.established:
                return b""
        return self._decrypt()

    def _decrypt(self) -> bytes:
        parts: list[bytes] = []
        source, machine = self._in, self.ssl
        try:
            while source.pending or machine.pending():
                data = machine.read(_READ)
                if not data:
                    self.ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise _failure(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt ``data``; the handshake is done. Raises TlsFailure."""
        machine = self.ssl
        try:
            sent = machine.write(data)
            if sent < len(data):
                rest = memoryview(data)
                while sent < len(data):
                    sent += machine.write(rest[sent:])
        except ssl.SSLError as error:
            raise _failure(error) from error

    def close_notify(self) -> None:
        """Tell the peer that no more is sent (RFC 8446, section 6.1). Nothing can be sent any more; reading goes on."""
        if self._notified or not self.established:
            return
        self._notified = True
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            return  # it wants the peer's own notice, for which nobody waits, or the connection is broken


def _failure(error: ssl.SSLError) -> TlsFailure:
    reason = error.reason or error.__class__.__name__
    counter = "connection_error"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"X509_verify_cert: certificate verification error at depth 0: {error.verify_message}"
        return unverified(why, "fail_verify_error")
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        counter = "fail_verify_no_cert"
    return TlsFailure(described(reason), counter)
