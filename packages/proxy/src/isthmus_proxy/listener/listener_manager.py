"""All listeners by name: added, changed, removed and drained without dropping a running request."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import trio

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.acceptor import Acceptor
from isthmus_proxy.listener.active_listener import ActiveListener, ListenerStats
from isthmus_proxy.listener.chain_factory import ChainFactory, Stats
from isthmus_proxy.listener.generation import Generation
from isthmus_proxy.listener.listener_filters import make_filter
from isthmus_proxy.listener.listener_log import AccessLogs, ListenerLog
from isthmus_proxy.listener.listening_socket import adopt, bind, bound_address, listen
from isthmus_proxy.listener.model import Address, ListenerConfig, PipeAddress, SocketAddress, SocketOptions
from isthmus_proxy.listener.serving_chain import ServingChain
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.overload.model import AT_EASE, OverloadState
from isthmus_proxy.route.table import RouteHandles

if TYPE_CHECKING:
    from isthmus_proxy.listener.inherited_sockets import InheritedSockets


@dataclass(frozen=True, slots=True)
class ListenerRow:
    """One listener as the admin view shows it."""

    name: str
    address: Address
    additional_addresses: tuple[Address, ...]
    draining: bool
    connections: int


@dataclass(frozen=True, slots=True)
class Binding:
    """What cannot change while a socket stays."""

    addresses: tuple[Address, ...]
    bind_to_port: bool
    reuse_port: bool
    socket_options: SocketOptions

    @classmethod
    def of(cls, config: ListenerConfig) -> Binding:
        """That of ``config``."""
        return cls(config.addresses, config.bind_to_port, config.reuse_port, config.socket_options)


@dataclass(frozen=True, slots=True)
class _Reservation:
    """Bound sockets on which nothing is accepted yet."""

    binding: Binding
    socks: list[socket.socket]


class ListenerManager:
    """See the module. ``shared`` is set where other worker processes listen on the same ports.

    Each then has sockets of its own by SO_REUSEPORT; where that cannot be, ``shared`` has the socket by name and address.
    ``inherited`` has those of the process before this one, at a hot upgrade.
    """

    __slots__ = (
        "_access_logs",
        "_by_address",
        "_chains",
        "_connection_ids",
        "_inherited",
        "_leaving",
        "_listeners",
        "_no_connections",
        "_overload",
        "_own_stats",
        "_reserved",
        "_shared",
        "_stats",
        "_surroundings",
        "max_connections",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        routes: RouteHandles,
        stats: Stats,
        access_logs: AccessLogs,
        *,
        shared: Mapping[tuple[str, Address], socket.socket] | None = None,
        inherited: InheritedSockets | None = None,
    ) -> None:
        self._surroundings = surroundings
        self._stats = stats
        self._access_logs = access_logs
        self._chains = ChainFactory(surroundings, routes, stats, access_logs)
        self._shared = shared
        self._inherited = inherited
        self._listeners: dict[str, ActiveListener] = {}
        self._by_address: dict[Address, ActiveListener] = {}
        self._leaving: list[ActiveListener] = []
        self._reserved: dict[str, _Reservation] = {}
        self._connection_ids = count(1)
        self._no_connections: trio.Event | None = None
        self._overload = AT_EASE
        self.max_connections: int | None = None
        self._own_stats = stats.scope("listener_manager")
        for name in (
            "listener_added",
            "listener_modified",
            "listener_removed",
            "listener_create_failure",
            "listener_stopped",
        ):
            self._own_stats.counter(name)
        self._count_listeners()

    def reserve(self, config: ListenerConfig) -> None:
        """Take the addresses of a listener that is to open later. Raises ConfigError (and changes nothing) if that fails.

        Envoy, too, binds before a listener warms: so the control plane hears of a conflict in the answer to its update.
        """
        listener, reserved = self._listeners.get(config.name), self._reserved.get(config.name)
        binding = Binding.of(config)
        if binding in (listener and Binding.of(listener.config), reserved and reserved.binding):
            return
        try:
            self._check_addresses(config)
            socks = self._bind(config)
        except ConfigError:
            self._own_stats.counter("listener_create_failure").value += 1
            raise
        self._release(config.name)
        self._reserved[config.name] = _Reservation(binding, socks)

    def _release(self, name: str) -> None:
        reserved = self._reserved.pop(name, None)
        for sock in reserved.socks if reserved is not None else ():
            sock.close()

    def _bind(self, config: ListenerConfig) -> list[socket.socket]:
        socks: list[socket.socket] = []
        try:
            addresses = config.addresses if config.bind_to_port else ()
            socks.extend(self._bind_address(config, address) for address in addresses)
        except ConfigError:
            _close(socks)
            raise
        return socks

    def _bind_address(self, config: ListenerConfig, address: Address) -> socket.socket:
        if self._inherited is not None:
            inherited = self._inherited.find(config.name, address)
            if inherited is not None:
                return adopt(inherited, config, address)
        if self._shared is None:
            return bind(config, address, share_port=False)
        sock = self._shared.get((config.name, address))
        if sock is not None:
            return sock.dup()
        if isinstance(address, PipeAddress) or not config.reuse_port or not address.port:
            reason = (
                "workers cannot share this address unless it is in the bootstrap file: over xDS, a pipe, port 0 and "
                "enable_reuse_port: false need --concurrency 1"
            )
            raise ConfigError("address", str(address), reason, f"listener {config.name}")
        return bind(config, address, share_port=True)

    def _bound(self, config: ListenerConfig) -> list[socket.socket]:
        """The sockets of a listener that opens now: the reserved ones if its addresses did not change meanwhile."""
        reserved = self._reserved.get(config.name)
        if reserved is not None and reserved.binding == Binding.of(config):
            return self._reserved.pop(config.name).socks
        socks = self._bind(config)
        self._release(config.name)
        return socks

    def add_or_update(self, config: ListenerConfig) -> Address:
        """Make ``config`` serve; answer the (main) address it is bound to. An unchanged one is left alone.

        Raises ConfigError (and changes nothing) if the address cannot be had. On the same address the socket stays, and with
        it what waits in its queue; on another one the new socket opens before the old one closes.
        """
        listener = self._listeners.get(config.name)
        if listener is not None and listener.config == config:
            return listener.address
        try:
            if listener is not None and Binding.of(listener.config) == Binding.of(config):
                listener.swap(config, self._generation(config, listener), self._log(config))
                self._release(config.name)
            else:
                listener = self._open(config)
        except ConfigError:
            self._own_stats.counter("listener_create_failure").value += 1
            raise
        self._count_listeners()
        return listener.address

    def _open(self, config: ListenerConfig) -> ActiveListener:
        self._check_addresses(config)
        socks = self._bound(config)
        try:
            for sock in socks:
                listen(sock, config)
        except ConfigError:
            _close(socks)
            raise
        address = bound_address(socks[0]) if socks else config.address
        scope = self._stats.scope(f"listener.{config.stat_prefix or address}".replace(":", "_"))
        listener = ActiveListener(config, ListenerStats(scope), self._connection_ids.__next__, self, self._log(config))
        try:
            generation = self._generation(config, listener)
        except ConfigError:
            _close(socks)
            scope.close()
            listener.log.close()
            raise
        listener.swap(config, generation, listener.log)
        for sock in socks:
            exhausted = _counting(listener.stats)
            listener.listen(Acceptor(self._surroundings.reactor, sock, listener.accepted, exhausted))
        if not self._overload.accepting:
            listener.hold(held=True)
        self._replace(listener)
        return listener

    def _replace(self, listener: ActiveListener) -> None:
        name = listener.config.name
        previous = self._listeners.get(name)
        self._listeners[name] = listener
        if previous is not None:
            self._retire(previous)
            self._own_stats.counter("listener_modified").value += 1
        else:
            self._own_stats.counter("listener_added").value += 1

    def _check_addresses(self, config: ListenerConfig) -> None:
        taken: dict[Address, str] = {}
        for name, listener in self._listeners.items():
            if name != config.name:
                taken |= dict.fromkeys((*listener.config.addresses, *listener.addresses), name)
        for name, reserved in self._reserved.items():
            if name != config.name:
                taken |= dict.fromkeys(reserved.binding.addresses, name)
        for address in config.addresses:
            if address in taken and not (isinstance(address, SocketAddress) and not address.port):
                reason = f"listener {taken[address]} has this address; give each listener its own"
                raise ConfigError("address.socket_address", str(address), reason, f"listener {config.name}")
        current = self._listeners.get(config.name)
        if current is not None and current.config.bind_to_port and config.bind_to_port:
            self._check_move(config, current)

    def _check_move(self, config: ListenerConfig, current: ActiveListener) -> None:
        """A listener may open on other addresses while it serves, but not once more on one of its own."""
        for address in set(config.addresses) & set(current.addresses):
            reason = (
                "this version of the listener keeps an address and changes how it is bound (socket options, pipe mode, "
                "reuse_port or its other addresses), which cannot be done while it serves; give it another name or address"
            )
            raise ConfigError("address", str(address), reason, f"listener {config.name}")

    def _log(self, config: ListenerConfig) -> ListenerLog:
        surroundings = self._surroundings

        def clock() -> tuple[float, float]:
            now = surroundings.reactor.now
            return now, surroundings.clock.at(now)

        return ListenerLog(config.access_logs, self._access_logs, clock)

    def _generation(self, config: ListenerConfig, listener: ActiveListener) -> Generation:
        """The chains of ``config``; those that ``listener`` serves already without a difference go on as they are."""
        limit = config.per_connection_buffer_limit_bytes
        serving = listener.current.chains if listener.current is not None else []
        kept: list[ServingChain] = []
        chains: list[ServingChain] = []
        for chain_config in config.all_chains:
            chain = next((each for each in serving if each not in kept and each.serves(chain_config, limit)), None)
            if chain is not None:
                kept.append(chain)
            else:
                chain = self._chains.make(chain_config, limit, listener.connection_closed, listener.stats.scope)
            chains.append(chain)
        filters = tuple(make_filter(each, self._stats) for each in config.listener_filters)
        return Generation(config, tuple(chains), filters, self._surroundings.reactor, listener)

    def remove(self, name: str) -> bool:
        """Take no more connections for ``name``; those there are end by themselves. Answer whether it was there."""
        self._release(name)
        listener = self._listeners.pop(name, None)
        if listener is None:
            return False
        self._retire(listener)
        self._own_stats.counter("listener_removed").value += 1
        self._count_listeners()
        return True

    def _retire(self, listener: ActiveListener) -> None:
        listener.stop()
        if listener.connection_count:
            self._leaving.append(listener)
        else:
            listener.stats.scope.close()

    def redirect(self, listener: ActiveListener, accepted: AcceptedSocket) -> bool:
        """See ``active_listener.Owner``: by the exact address, else by the port on all addresses."""
        local = accepted.local
        if not isinstance(local, SocketAddress):
            return False
        anywhere = SocketAddress("::" if ":" in local.host else "0.0.0.0", local.port)  # noqa: S104 - not bound
        other = self._by_address.get(local) or self._by_address.get(anywhere)
        return other is not None and other is not listener and other.take_over(accepted)

    def connection_ended(self) -> None:
        """See ``active_listener.Owner``."""
        if self._leaving:
            self._sweep()
        if self._no_connections is not None and not self.connection_count:
            self._no_connections.set()

    def _sweep(self) -> None:
        gone = [listener for listener in self._leaving if not listener.connection_count]
        for listener in gone:
            self._leaving.remove(listener)
            listener.stats.scope.close()
        self._count_listeners()

    def _count_listeners(self) -> None:
        self._by_address = {
            address: listener for listener in self._listeners.values() for address in listener.addresses
        }
        self._own_stats.gauge("total_listeners_active").value = len(self._listeners)
        self._own_stats.gauge("total_listeners_draining").value = len(self._leaving)

    async def drain(self, deadline: float = float("inf")) -> bool:
        """Take no more connections, end the idle ones, and wait for the others until ``deadline`` (trio's clock).

        Answer whether all are gone. The listeners stay in ``active`` as draining until ``close``.
        """
        self.stop()
        with trio.move_on_at(deadline):
            await self.wait_empty()
        return not self.connection_count

    async def wait_empty(self) -> None:
        """Until there is no connection."""
        self._no_connections = trio.Event()
        if self.connection_count:
            await self._no_connections.wait()

    def stop(self, *, inbound_only: bool = False) -> None:
        """Take no more connections, at once, and let those there are end."""
        for listener in self._concerned(inbound_only=inbound_only):
            if listener.listening:
                self._own_stats.counter("listener_stopped").value += 1
                listener.stop()

    def end_connections(self, share: float, *, inbound_only: bool = False) -> None:
        """Let a share of the HTTP connections end with their next request: each by chance, all of them at 1.0."""
        for listener in self._concerned(inbound_only=inbound_only):
            for manager in listener.managers():
                manager.end_connections(share)

    def close_after_responses(self, *, inbound_only: bool = False) -> None:
        """Go on accepting, but end every connection after its next response, for good."""
        for listener in self._concerned(inbound_only=inbound_only):
            for manager in listener.managers():
                manager.draining = True

    def sockets(self) -> Iterator[tuple[str, Address, socket.socket]]:
        """What is listened on, or is going to be: listener, configured address, socket."""
        for name, listener in self._listeners.items():
            for address, acceptor in zip(listener.config.addresses, listener.acceptors, strict=False):
                if acceptor.sock is not None:
                    yield name, address, acceptor.sock
        for name, reserved in self._reserved.items():
            for address, sock in zip(reserved.binding.addresses, reserved.socks, strict=False):
                yield name, address, sock

    def hand_over(self) -> None:
        """Take no more connections: another process has the sockets. Those there are go on."""
        for name in list(self._reserved):
            self._release(name)
        for listener in self._listeners.values():
            listener.close_sockets()

    def disinherit(self) -> None:
        """Close the inherited sockets that no listener wanted."""
        if self._inherited is not None:
            self._inherited.close()
            self._inherited = None

    def _concerned(self, *, inbound_only: bool) -> list[ActiveListener]:
        return [each for each in self._listeners.values() if each.config.inbound or not inbound_only]

    def close_after_response(self, closing: bool) -> None:
        """Go on accepting, but answer with ``connection: close`` (``/healthcheck/fail``), or no longer (``ok``)."""
        self._chains.closing = closing
        for listener in self._listeners.values():
            for manager in listener.managers():
                manager.draining = closing

    def shed(self, state: OverloadState) -> None:
        """Serve less, as ``state`` says, from now on."""
        before, self._overload = self._overload, state
        self._chains.overload = state
        for listener in [*self._listeners.values(), *self._leaving]:
            listener.shed(state)
            if before.accepting != state.accepting:
                listener.hold(held=not state.accepting)

    def refusal(self, listener: ActiveListener) -> Counter | None:
        """See ``active_listener.Owner``."""
        share = self._overload.reject_connections
        if share and self._surroundings.random() < share:
            return listener.stats.overload_reject
        limit = self.max_connections
        if limit is not None and not listener.config.ignore_global_conn_limit and self.connection_count >= limit:
            return listener.stats.global_overflow
        return None

    def close(self) -> None:
        """Close every listener and every connection at once."""
        for name in list(self._reserved):
            self._release(name)
        for listener in [*self._listeners.values(), *self._leaving]:
            listener.close()
        self._listeners.clear()
        self._leaving.clear()
        self._surroundings.pools.close()
        self._count_listeners()

    @property
    def connection_count(self) -> int:
        """Connections being served by all listeners, removed ones included."""
        return sum(listener.connection_count for listener in [*self._listeners.values(), *self._leaving])

    def serving(self) -> list[ActiveListener]:
        """Listeners that take new connections."""
        return [listener for listener in self._listeners.values() if listener.listening]

    def active(self) -> list[ListenerRow]:
        """All listeners, those that drain included, for ``/listeners``."""
        return [
            ListenerRow(
                listener.config.name,
                listener.address,
                listener.addresses[1:],
                not listener.listening,
                listener.connection_count,
            )
            for listener in [*self._listeners.values(), *self._leaving]
        ]


def _close(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def _counting(stats: ListenerStats) -> Callable[[], None]:
    def exhausted() -> None:
        stats.overflow.value += 1

    return exhausted
