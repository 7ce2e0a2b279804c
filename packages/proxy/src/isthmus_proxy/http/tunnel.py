"""Relays bytes both ways on a client's connection once its protocol has been switched (upgrades and CONNECT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.reactor.relay import IDLE, Relay, RelayEnd

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange
    from isthmus_proxy.http.stats import HttpStats


class Tunnel:
    """The relay of ``exchange`` between ``downstream`` and ``upstream``, ended after ``idle`` seconds without a byte (0 = never)."""

    __slots__ = ("_exchange", "_relay", "_stats")

    def __init__(
        self, reactor: Reactor, exchange: Exchange, downstream: RelayEnd, upstream: RelayEnd, idle: float
    ) -> None:
        self._exchange = exchange
        self._stats: HttpStats = exchange.manager.stats
        self._relay = Relay(reactor, downstream, upstream, idle, self._closed)

    def start(self, unread: bytes, early: bytes) -> None:
        """Relay; ``unread`` is what the client has sent already, ``early`` what came right behind the upstream's head."""
        self._stats.downstream_cx_upgrades_total.value += 1
        self._stats.downstream_cx_upgrades_active.value += 1
        self._relay.start(unread, early)

    def close(self) -> None:
        """Close both ends."""
        self._relay.close()

    def _closed(self, sent: int, received: int) -> None:
        exchange = self._exchange
        self._stats.downstream_cx_upgrades_active.value -= 1
        if self._relay.ended_by == IDLE:
            self._stats.downstream_rq_idle_timeout.value += 1
            exchange.tunnel_idle()
        exchange.info.bytes_received += received
        exchange.info.bytes_sent += sent
        exchange.connection.tunnel_closed(exchange)
