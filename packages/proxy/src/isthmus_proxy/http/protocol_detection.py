"""Which HTTP a client speaks, told by ALPN or by its first bytes: codec_type AUTO.

A connection begins as one of HTTP/1.1, whose timeouts hold while nothing has come, and is handed over when it begins as
HTTP/2's preface does. The modules of HTTP/2 are imported by the first client that speaks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.reactor.connection import Connection

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection

MAGIC = b"PRI * HTTP/2"
"""As much of HTTP/2's preface as decides. Whoever begins with it and goes on otherwise has broken HTTP/2, not HTTP/1.1."""


class ProtocolDetection:
    """Receives the first bytes of ``http1``'s connection. ``codec_type``: AUTO, or the only protocol that is served."""

    __slots__ = ("_codec_type", "_connection", "_data", "_http1", "_manager")

    def __init__(
        self, manager: HttpConnectionManager, http1: DownstreamConnection, connection: Connection, codec_type: str
    ) -> None:
        self._manager = manager
        self._http1 = http1
        self._connection = connection
        self._codec_type = codec_type
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes differ from the beginning of the preface, or are all of it."""
        http2 = self._codec_type == "HTTP2"
        known = self._codec_type != "AUTO"
        tls = self._connection.tls
        if tls is not None:
            if not self._data:
                self._http1.secured(tls)
            if not known and tls.alpn:
                known, http2 = True, tls.alpn == "h2"
        if self._data:
            data = self._data + data
        if not known:
            begun = data[: len(MAGIC)]
            if len(begun) < len(MAGIC) and MAGIC.startswith(begun):
                self._data = data
                return
            http2 = begun == MAGIC
        if http2:
            self._manager.serve_http2(self._http1, self._connection, data)
        else:
            self._connection.set_receiver(self._http1)
            self._http1.data_received(data)

    def eof_received(self) -> None:
        """The client closed without having said enough."""
        self._http1.eof_received()

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        self._http1.connection_lost(error)

    def high_watermark_reached(self) -> None:
        """Nothing is sent before a request."""

    def low_watermark_reached(self) -> None:
        """Nothing is sent before a request."""

    def drained(self) -> None:
        """All is sent and the connection is closed."""
        self._http1.drained()
