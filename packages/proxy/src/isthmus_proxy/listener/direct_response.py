"""The direct_response network filter: fixed bytes to everybody who connects, then the end."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.http.stream_info import ConnectionEnded, DownstreamSecurity, StreamInfo
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.listener_log import accepted_info
from isthmus_proxy.listener.model import DirectResponseConfig
from isthmus_proxy.reactor.reactor import Reactor

GRACE_S = 1.0
"""How long a peer may take to read the response and close. What it sends meanwhile is read and dropped: closing with unread
bytes would reset the connection and could lose the response."""


class DirectResponse:
    """Answers every connection alike."""

    __slots__ = ("_closed", "_config", "_reactor", "connections")

    def __init__(self, config: DirectResponseConfig, reactor: Reactor, closed: ConnectionEnded) -> None:
        self._config = config
        self._reactor = reactor
        self._closed = closed
        self.connections: set[_Farewell] = set()

    def accept(self, accepted: AcceptedSocket) -> None:
        """See ``serving_chain.NetworkFilter``."""
        farewell = _Farewell(self, self._reactor, accepted)
        self.connections.add(farewell)
        farewell.start(self._config.response)

    def ended(self, farewell: _Farewell, seconds: float, describe: Callable[[], StreamInfo]) -> None:
        """A connection is over."""
        self.connections.discard(farewell)
        self._closed(seconds, describe)

    def drain(self) -> None:
        """Every connection is about to end anyway."""

    def close(self) -> None:
        """Close every connection at once."""
        for farewell in list(self.connections):
            farewell.close()


class _Farewell:
    """One connection: writes, half-closes, waits for the peer's end."""

    __slots__ = ("_accepted", "_connection", "_filter", "_reactor", "_started", "_timer")

    def __init__(self, owner: DirectResponse, reactor: Reactor, accepted: AcceptedSocket) -> None:
        self._filter = owner
        self._accepted = accepted
        self._reactor = reactor
        self._started = reactor.now
        self._connection = accepted.open(reactor, self, 1 << 20)
        self._timer = reactor.timer(self.close)

    def start(self, response: bytes) -> None:
        self._connection.start()
        if response:
            self._connection.write(response)
        self._connection.shutdown()
        self._timer.set(self._reactor.now + GRACE_S)

    def close(self) -> None:
        self._connection.close()
        self._over()

    def _over(self) -> None:
        self._timer.discard()
        if self in self._filter.connections:
            self._filter.ended(self, self._reactor.now - self._started, self.describe)

    def describe(self) -> StreamInfo:
        info = accepted_info(self._accepted)
        tls = self._connection.tls
        if tls is not None:
            info.downstream_security = DownstreamSecurity(self._accepted.server_name, tls)
        info.bytes_sent = self._connection.bytes_out
        info.response_code_details = "direct_response"
        return info

    def data_received(self, data: bytes) -> None:
        """Nobody asked."""

    def eof_received(self) -> None:
        self._connection.close_after_flush()

    def connection_lost(self, error: OSError) -> None:
        self._over()

    def high_watermark_reached(self) -> None:
        """Nothing more is written."""

    def low_watermark_reached(self) -> None:
        """Nothing more is written."""

    def drained(self) -> None:
        self._over()
