"""A hot upgrade from the proxy's point of view: when it succeeds another process, and when it is succeeded itself."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import trio

from isthmus_proxy.admin.lifecycle import DrainOrder, Lifecycle, ServerState
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.handover import counters
from isthmus_proxy.handover.messages import Counters, HandoverError, SocketName
from isthmus_proxy.handover.predecessor import Predecessor
from isthmus_proxy.handover.successor import Successor, meet
from isthmus_proxy.listener import graceful_drain
from isthmus_proxy.listener.inherited_sockets import InheritedSockets
from isthmus_proxy.listener.listener_manager import ListenerManager
from isthmus_proxy.observe.stats import StatsStore

_log = logging.getLogger(__name__)

OPTION = "--handover-path"
READY_SECONDS = 300.0
"""How long a successor may take until it can serve. The process before it serves meanwhile."""

_POLL_SECONDS = 0.02


class Parts(Protocol):
    """The proxy (``app.Proxy``), as far as an upgrade touches it."""

    listeners: ListenerManager
    lifecycle: Lifecycle
    stats: StatsStore
    quit: trio.Event

    @property
    def complete(self) -> bool:
        """Whether all of the configuration is in service."""

    async def let_go(self) -> None:
        """Close the admin port, and take no more updates of the configuration."""


class Upgrade:
    """Made before the proxy. ``inherited`` is for its listeners; ``run`` succeeds and waits to be succeeded."""

    def __init__(self, path: Path, successor: Successor | None) -> None:
        self._path = path
        self._successor = successor
        self._predecessor: Predecessor | None = None
        self._starting = False
        self.epoch = successor.epoch if successor is not None else 0
        self.inherited: InheritedSockets | None = None
        if successor is not None:
            self.inherited = InheritedSockets(
                {(name.listener, name.address): sock for name, sock in successor.sockets.items()}
            )

    @property
    def succeeding(self) -> bool:
        """Whether another process still has the admin port."""
        return self._successor is not None

    async def take_over(self, parts: Parts, nursery: trio.Nursery, drain_seconds: float) -> bool:
        """Wait until this process can serve, then let the one before it step back. Raises ConfigError if it cannot.

        Answers False, and leaves the other one as it is, if this process is told to end before.
        """
        successor, self._successor = self._successor, None
        if successor is None or not await self._complete(parts):
            if successor is not None:
                successor.close()
            return False

        def count(values: Counters) -> None:
            counters.add(parts.stats, values)

        try:
            await successor.take_over(count)
        except HandoverError as error:
            _log.warning("the process before this one did not step back in order: %s", error)
            successor.close()
        else:
            nursery.start_soon(successor.listen_on, count, drain_seconds + 60.0)
        parts.listeners.disinherit()
        _log.info("this process has taken over, as epoch %d", self.epoch)
        return True

    async def _complete(self, parts: Parts) -> bool:
        """Wait for all of the configuration; False if this process is told to end. Raises ConfigError if it takes too long."""
        waiting = False
        with trio.move_on_after(READY_SECONDS):
            while not parts.quit.is_set():
                if parts.complete:
                    return True
                if parts.lifecycle.state is ServerState.LIVE and not waiting:
                    _log.warning("the process before this one serves on until the control plane has answered")
                    waiting = True
                await trio.sleep(_POLL_SECONDS)
            return False
        reason = f"the configuration was not complete after {READY_SECONDS:g} s; the process before this one goes on"
        raise ConfigError(OPTION, str(self._path), reason)

    def await_successor(self, parts: Parts, nursery: trio.Nursery, superseded: Callable[[], Awaitable[None]]) -> None:
        """Let another process take over from now on; ``superseded`` is run when one has.

        Raises ConfigError if the path cannot be had, but not in a process that has just taken over: nobody else serves any more.
        """
        try:
            predecessor = Predecessor(self._path, self.epoch, _Serving(parts), lambda: nursery.start_soon(superseded))
        except HandoverError as error:
            refusal = ConfigError(OPTION, str(self._path), str(error))
            if not self.epoch:
                raise refusal from error
            _log.error("%s; this process serves, and cannot be succeeded: restart it for the next upgrade", refusal)
            return
        self._predecessor = predecessor
        nursery.start_soon(predecessor.run)

    async def finish(self) -> None:
        """The process ends."""
        if self._predecessor is not None:
            await self._predecessor.finish()

    async def start_successor(self) -> None:
        """Start a process with this one's command line, to take over (SIGHUP). It is another version if one is installed."""
        if self._starting:
            _log.warning("a successor is being started already")
            return
        self._starting = True
        try:
            command = [sys.executable, "-m", "isthmus_proxy", "upgrade", *sys.argv[2:]]
            process = await trio.lowlevel.open_process(command)
            _log.info("process %d is to take over", process.pid)
            status = await process.wait()
            _log.error("process %d, which was to take over, ended with status %d", process.pid, status)
        except OSError as error:
            _log.error("no successor can be started: %s", error.strerror)
        finally:
            self._starting = False


class _Serving:
    """See ``predecessor.Serving``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def sockets(self) -> Iterator[tuple[SocketName, socket.socket]]:
        for listener, address, sock in self._parts.listeners.sockets():
            yield SocketName(listener, str(address)), sock

    def counters(self) -> Counters:
        return counters.gather(self._parts.stats)

    async def step_back(self) -> None:
        self._parts.listeners.hand_over()
        counters.keep(self._parts.stats)
        await self._parts.let_go()


async def prepare(path: Path, *, required: bool) -> Upgrade:
    """Meet the process that serves at ``path``, if there is one. Raises ConfigError if it refuses, or is ``required`` and missing."""
    try:
        successor = await meet(path)
    except HandoverError as error:
        raise ConfigError(OPTION, str(path), f"the process that serves there cannot be succeeded: {error}") from error
    if successor is None and required:
        raise ConfigError(OPTION, str(path), "no process serves there; start the first one with the command run")
    return Upgrade(path, successor)


async def retire(listeners: ListenerManager, seconds: float, *, immediate: bool) -> None:
    """Let the connections of a superseded process end, for at most ``seconds``: half of them by and by, with their next response."""
    deadline = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_spread, listeners, seconds / 2, immediate, nursery.cancel_scope)
        await listeners.wait_empty()
        nursery.cancel_scope.cancel()
    if not await listeners.drain(deadline):
        _log.warning("%d connections did not end in time and are closed", listeners.connection_count)


async def _spread(listeners: ListenerManager, seconds: float, immediate: bool, scope: trio.CancelScope) -> None:
    order = DrainOrder(graceful=True, keep_listening=not immediate)
    await graceful_drain.drain(listeners, order, seconds, immediate=immediate)
    scope.cancel()
