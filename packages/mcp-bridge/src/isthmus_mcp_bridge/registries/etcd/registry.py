"""The ``etcd`` registry: Dubbo's interface-level layout in flat keys, listed at a revision and watched from the next one.

``<root>/<interface>/{providers,configurators}/<URL>``; a key lives as long as its lease. When the watch cannot be continued
(compaction) or has ended, everything is listed again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import unquote_plus

from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, read_overrides, read_providers
from isthmus_mcp_bridge.registries.etcd.client import Compacted, EtcdKeys, Key, connected
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import Reporter, keep_following
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sieve import Sieve

FOLDERS = ("providers", "configurators")


class DubboKeys:
    """The keys of Dubbo's layout by interface; pure."""

    def __init__(self, root: str) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._interfaces: dict[str, dict[tuple[str, str], int]] = {}

    def replace(self, keys: Iterable[Key]) -> None:
        """Take a full listing."""
        self._interfaces.clear()
        self.apply(keys)

    def apply(self, keys: Iterable[Key]) -> set[str]:
        """Take changes. Returns the interfaces that they concern."""
        touched = set()
        for key in keys:
            parts = key.key.removeprefix(self._prefix).split("/")
            if len(parts) != 3 or parts[1] not in FOLDERS or not key.key.startswith(self._prefix):
                continue
            interface, place = parts[0], (parts[1], parts[2])
            nodes = self._interfaces.setdefault(interface, {})
            if key.there:
                nodes[place] = key.create_revision
            else:
                nodes.pop(place, None)
            if not nodes:
                del self._interfaces[interface]
            touched.add(interface)
        return touched

    @property
    def interfaces(self) -> list[str]:
        """The interfaces (encoded) that have keys."""
        return list(self._interfaces)

    def nodes(self, interface: str) -> Mapping[tuple[str, str], int] | None:
        """Folder and node of an interface with the revision that created each; None when it has none."""
        return self._interfaces.get(interface)


class EtcdRegistry:
    """Follows the interfaces below one root."""

    def __init__(
        self,
        name: str,
        targets: Sequence[str],
        root: str,
        rule: NamingRule,
        ports: Mapping[str, int],
        resync_interval_s: float,
        random: Callable[[], float],
        sieve: Sieve | None = None,
    ) -> None:
        """``targets`` are ``host:port``, tried in turn; ``sieve`` keeps back what is our own."""
        self._sieve = sieve
        self._name = name
        self._targets = itertools.cycle(targets)
        self._root = root
        self._rule = rule
        self._ports = ports
        self._resync_interval_s = resync_interval_s
        self._random = random
        self._backoff = Backoff(random)
        self._keys = DubboKeys(root)

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        reporter = Reporter(self._name, emit)
        await keep_following(self._name, emit, self._backoff, lambda: self._follow(reporter))

    async def _follow(self, reporter: Reporter) -> None:
        audit = False
        async with connected(next(self._targets)) as client:
            while True:
                keys, revision = await client.list_all(self._root.rstrip("/") + "/")
                if not keys and not audit and not reporter.book.origins:
                    raise RegistryFault(f"{self._root} holds nothing (yet); nothing is concluded until it does")
                self._keys.replace(keys)
                listing = {self._path(name): self._entry(name, revision) for name in self._keys.interfaces}
                if self._sieve is not None:
                    self._sieve.listed(listing)
                reporter.listed(listing, audit=audit, revision=f"revision {revision}")
                self._backoff.reset()
                audit = True
                try:
                    async with asyncio.timeout(self._resync_interval_s * (0.9 + 0.2 * self._random())):
                        await self._watch(client, reporter, revision + 1)
                except Compacted:
                    audit = False
                except TimeoutError:
                    continue

    async def _watch(self, client: EtcdKeys, reporter: Reporter, revision: int) -> None:
        async for keys, at in client.watch(self._root.rstrip("/") + "/", revision):
            for interface in sorted(self._keys.apply(keys)):
                there = self._keys.nodes(interface) is not None
                if not there and self._sieve is not None:
                    self._sieve.remove(self._path(interface))
                reporter.changed(self._path(interface), self._entry(interface, at) if there else None)
        raise RegistryFault("etcd ended the watch")

    def _path(self, interface: str) -> str:
        return f"{self._root.rstrip('/')}/{interface}"

    def _entry(self, encoded: str, revision: int) -> Entry:
        nodes = self._keys.nodes(encoded) or {}
        interface, source = unquote_plus(encoded), PathSource(self._name, self._path(encoded))
        by_folder = {folder: [node for kind, node in nodes if kind == folder] for folder in FOLDERS}
        overrides, problems = read_overrides(source, interface, by_folder["configurators"])
        names: Sequence[str] = by_folder["providers"]
        if self._sieve is not None:
            names = self._sieve.sift(self._path(encoded), interface, names)
        providers, more = read_providers(source, interface, names, overrides, self._rule, self._ports)
        return Entry(tuple(providers), (*problems, *more), min(nodes.values(), default=0), None, f"revision {revision}")
