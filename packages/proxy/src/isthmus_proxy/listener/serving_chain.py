"""A filter chain in use: its terminal network filter, what connections pass before it, and how all of it is given back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import FilterChain


class NetworkFilter(Protocol):
    """The terminal network filter of a filter chain: an HTTP connection manager, a TCP proxy or a direct response."""

    @property
    def connections(self) -> Collection[object]:
        """What is being served."""

    def accept(self, accepted: AcceptedSocket) -> None:
        """Serve a new connection."""

    def drain(self) -> None:
        """Let connections end as soon as their protocol allows it."""

    def close(self) -> None:
        """Close every connection at once."""


class Gate(Protocol):
    """A network filter before the terminal one."""

    def admit(self, accepted: AcceptedSocket) -> bool:
        """Whether the connection may go on; if not, the gate closes it and tells its end itself."""

    def connection_closed(self) -> None:
        """A connection that was admitted is over."""

    def close(self) -> None:
        """Close what the gate holds at once."""


class ServingChain:
    """See the module. ``buffer_limit`` is the listener's, as it was when the chain was made."""

    __slots__ = ("_gates", "_release", "buffer_limit", "config", "network_filter", "serve")

    def __init__(
        self,
        config: FilterChain,
        buffer_limit: int,
        network_filter: NetworkFilter,
        gates: Sequence[Gate],
        release: Callable[[], None],
    ) -> None:
        self.config = config
        self.buffer_limit = buffer_limit
        self.network_filter = network_filter
        self.serve: Callable[[AcceptedSocket], None] = self._through_gates if gates else network_filter.accept
        self._gates = gates
        self._release = release

    def serves(self, config: FilterChain, buffer_limit: int) -> bool:
        """Whether this is already what ``config`` asks for."""
        return bool(config.content) and config.content == self.config.content and buffer_limit == self.buffer_limit

    def _through_gates(self, accepted: AcceptedSocket) -> None:
        for gate in self._gates:
            if not gate.admit(accepted):
                return
        self.network_filter.accept(accepted)

    def close(self) -> None:
        """Close every connection at once."""
        for gate in self._gates:
            gate.close()
        self.network_filter.close()

    def release(self) -> None:
        """Give back stats and logs. No connection is left."""
        self._release()
