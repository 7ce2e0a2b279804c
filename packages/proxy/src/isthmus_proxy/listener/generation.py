"""One version of a listener's configuration at work: its listener filters and its filter chains."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from isthmus_proxy.http.connection_manager import HttpConnectionManager
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.filter_chain_match import Candidate, FilterChainIndex
from isthmus_proxy.listener.listener_filters import ConfiguredFilter
from isthmus_proxy.listener.model import ListenerConfig
from isthmus_proxy.listener.pending_connection import PendingConnection
from isthmus_proxy.listener.serving_chain import ServingChain
from isthmus_proxy.overload.model import OverloadState
from isthmus_proxy.reactor.reactor import Reactor


class Host(Protocol):
    """The listener of a generation: counts, and knows whom else a connection may be meant for."""

    def looking_at(self) -> None:
        """Listener filters begin to look at a connection."""

    def looked_at(self) -> None:
        """They are through with it, and it is somewhere else now."""

    def dropped(self, accepted: AcceptedSocket, reason: str) -> None:
        """A connection is closed before it reached a filter chain; no chain fits it when ``reason`` is ``no_match``."""

    def timed_out(self) -> None:
        """Listener filters took too long."""

    def redirect(self, accepted: AcceptedSocket) -> bool:
        """Give the connection to the listener of its original destination, if there is one."""

    def opened(self) -> None:
        """A connection goes to its filter chain."""


class Generation:
    """``accept`` takes connections for ``host``. Chains of an older generation may be taken over by a newer one."""

    __slots__ = ("_config", "_filters", "_host", "_index", "_pending", "_reactor", "chains")

    def __init__(
        self,
        config: ListenerConfig,
        chains: tuple[ServingChain, ...],
        filters: tuple[ConfiguredFilter, ...],
        reactor: Reactor,
        host: Host,
    ) -> None:
        """``chains`` as in ``config.all_chains``. Raises OverlapError."""
        self.chains: list[ServingChain] = list(chains)
        default = chains[-1] if config.default_filter_chain is not None else None
        matched = chains[: len(config.filter_chains)]
        self._index = FilterChainIndex([Candidate(chain.config.match, chain) for chain in matched], default)
        self._config = config
        self._filters = filters
        self._reactor = reactor
        self._host = host
        self._pending: set[PendingConnection] = set()

    @property
    def connection_count(self) -> int:
        """Connections being served or looked at, those of chains that were taken over not included."""
        return len(self._pending) + sum(len(chain.network_filter.connections) for chain in self.chains)

    def accept(self, accepted: AcceptedSocket, *, redirected: bool = False) -> None:
        """Serve a connection; ``redirected``: another listener has handed it over, and it goes no further."""
        if not self._filters:
            self._dispatch(accepted)
            return
        pending = PendingConnection(
            self._reactor, accepted, self._filters, self._config.listener_filters_timeout, self._looked_at
        )
        pending.handed_over = redirected
        self._pending.add(pending)
        self._host.looking_at()
        pending.start()

    def _looked_at(self, pending: PendingConnection, reason: str | None) -> None:
        self._pending.discard(pending)
        accepted = pending.accepted
        if reason == "timeout":
            self._host.timed_out()
            reason = None if self._config.continue_on_listener_filters_timeout else reason
        if reason is not None:
            self._drop(accepted, reason)
        elif pending.handed_over or not self._redirect(accepted):
            self._dispatch(accepted)
        self._host.looked_at()

    def _redirect(self, accepted: AcceptedSocket) -> bool:
        return self._config.use_original_dst and accepted.local_restored and self._host.redirect(accepted)

    def _dispatch(self, accepted: AcceptedSocket) -> None:
        chain = self._index.find(accepted)
        if chain is None:
            self._drop(accepted, "no_match")
            return
        self._host.opened()
        chain.serve(accepted)

    def chain_for(self, accepted: AcceptedSocket) -> ServingChain | None:
        """The chain that would serve a connection."""
        return self._index.find(accepted)

    def _drop(self, accepted: AcceptedSocket, reason: str) -> None:
        self._host.dropped(accepted, reason)
        self._reactor.close(accepted.sock)

    def drain(self, keep: Collection[ServingChain] = ()) -> None:
        """Let connections end, but leave the chains in ``keep`` to a newer generation."""
        self.chains = [chain for chain in self.chains if chain not in keep]
        for chain in self.chains:
            chain.network_filter.drain()

    def shed(self, state: OverloadState) -> None:
        """Tell HTTP connection managers what to do under overload."""
        for chain in self.chains:
            if isinstance(chain.network_filter, HttpConnectionManager):
                chain.network_filter.shed(state)

    def close(self) -> None:
        """Close every connection at once."""
        for pending in list(self._pending):
            self._pending.discard(pending)
            self._host.looked_at()
            pending.close()
        for chain in self.chains:
            chain.close()

    def release(self) -> None:
        """Give back stats and logs. No connection is left."""
        for chain in self.chains:
            chain.release()
        for each in self._filters:
            if each.scope is not None:
                each.scope.close()
