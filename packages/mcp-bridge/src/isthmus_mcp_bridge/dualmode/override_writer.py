"""Writes configurators into one ZooKeeper in Dubbo's layout, as ephemeral nodes: a bridge that dies takes them along."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from isthmus_mcp_bridge.dualmode.overrides import Hidden, steps
from isthmus_mcp_bridge.model import ServiceKey

LOOK_S = 2.0
"""How soon it is seen that an address shown instead was registered, or a node is missing after a lost session."""
RETRY_S = 1.0
STOP_S = 5.0
OPERATION_S = 10.0
MAX_INTERFACES = 100_000

log = logging.getLogger(__name__)


class Nodes(Protocol):
    """The little of a registry that the writer needs; methods block and raise OSError when there is no connection."""

    def children(self, path: str) -> list[str]:
        """The names below a node; none if it does not exist."""
        ...

    def create(self, path: str) -> None:
        """Create an ephemeral node, with its parents; one that exists is left alone."""
        ...

    def delete(self, path: str) -> None:
        """Delete a node, if it is there."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


class OverrideWriter:
    """Keeps what stands in one registry in step with what policies hide; lives in one event loop."""

    def __init__(self, registry: str, replica: str, connect: Callable[[], Nodes]) -> None:
        """``registry`` is its name in the configuration; ``replica`` marks our nodes; ``connect`` may block."""
        self.registry = registry
        self.replica = replica
        self.written = 0
        self.removed = 0
        self.failures = 0
        self.held = 0
        self._connect = connect
        self._wanted: dict[ServiceKey, frozenset[Hidden]] = {}
        self._interfaces: set[str] = set()
        self._wake = asyncio.Event()

    def want(self, service: ServiceKey, found: frozenset[Hidden]) -> None:
        """What to hide of a service from now on."""
        if found == self._wanted.get(service, frozenset()):
            return
        if found:
            self._wanted[service] = found
        else:
            del self._wanted[service]
        self._interfaces |= {one.interface for one in found}
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; the nodes go with the session."""
        nodes = await asyncio.to_thread(self._connect)
        try:
            while True:
                self._wake.clear()
                await self._step(nodes)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S if self._interfaces else None):
                        await self._wake.wait()
        finally:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(STOP_S):
                    await asyncio.shield(asyncio.to_thread(nodes.close))

    async def _step(self, nodes: Nodes) -> None:
        wanted = self._by_interface()
        try:
            self.held = await asyncio.to_thread(self._write, nodes, wanted)
        except OSError as error:
            self.failures += 1
            log.warning("registry %s: configurators cannot be written: %s; trying again", self.registry, error)
            await asyncio.sleep(RETRY_S)
            self._wake.set()
        else:
            left = self._by_interface()
            self._interfaces = {one for one in self._interfaces if left.get(one) or one not in wanted}

    def _by_interface(self) -> dict[str, list[Hidden]]:
        found: dict[str, list[Hidden]] = {interface: [] for interface in sorted(self._interfaces)[:MAX_INTERFACES]}
        for hidden in self._wanted.values():
            for one in hidden:
                if one.interface in found:
                    found[one.interface].append(one)
        return found

    def _write(self, nodes: Nodes, wanted: Mapping[str, list[Hidden]]) -> int:
        """In a worker thread. Returns how many nodes are ours now."""
        held = 0
        for interface, hidden in wanted.items():
            folder = f"{interface}/configurators"
            providers = nodes.children(f"{interface}/providers")
            todo = steps(hidden, providers, nodes.children(folder), self.replica)
            for node in todo.delete:
                nodes.delete(f"{folder}/{node}")
                self.removed += 1
            for node in todo.create:
                nodes.create(f"{folder}/{node}")
                self.written += 1
                log.info("registry %s: %s is hidden from SDK consumers", self.registry, node)
            held += todo.held
        return held


class ZooKeeperNodes:
    """Nodes on a kazoo session, which kazoo re-establishes by itself."""

    def __init__(self, servers: str, session_timeout_s: float) -> None:
        """``servers`` is ``host:port,host:port``. Returns at once; there may be no connection yet."""
        retry = KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_delay=5.0)
        self._kazoo = KazooClient(hosts=servers, timeout=session_timeout_s, connection_retry=retry)
        self._kazoo.start_async()

    def children(self, path: str) -> list[str]:
        """See `Nodes`."""
        with _as_os_error(), contextlib.suppress(NoNodeError):
            return list(self._kazoo.get_children_async(path).get(timeout=OPERATION_S))
        return []

    def create(self, path: str) -> None:
        """See `Nodes`."""
        with _as_os_error(), contextlib.suppress(NodeExistsError):
            self._kazoo.create_async(path, ephemeral=True, makepath=True).get(timeout=OPERATION_S)

    def delete(self, path: str) -> None:
        """See `Nodes`."""
        with _as_os_error(), contextlib.suppress(NoNodeError):
            self._kazoo.delete_async(path).get(timeout=OPERATION_S)

    def close(self) -> None:
        """See `Nodes`."""
        with _as_os_error():
            self._kazoo.stop()
            self._kazoo.close()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except (NoNodeError, NodeExistsError):
        raise
    except (KazooException, KazooTimeoutError) as error:
        raise OSError(f"{type(error).__name__} {error}".rstrip()) from error
