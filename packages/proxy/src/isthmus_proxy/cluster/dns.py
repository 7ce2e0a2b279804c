"""Keeps the endpoints of STRICT_DNS and LOGICAL_DNS clusters up to date: one task for each, ended with its cluster.

The I/O edge of this package. A lookup that fails keeps what was known and is tried again with back-off.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from isthmus_proxy.cluster.balancer import RandomSource
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.dns_targets import expand, names_of
from isthmus_proxy.cluster.model import Assignment, ClusterConfig

Resolve = Callable[[str, str], Awaitable[list[str]]]
"""Looks a name up: (name, dns_lookup_family) -> addresses. Raises OSError when there are none."""

_log = logging.getLogger(__name__)
_LOOKUP_DEADLINE: Final = 30.0  # seconds; the system's resolver gives up earlier unless it hangs
_FAMILIES: Final = {
    "AUTO": ((socket.AF_INET6,), (socket.AF_INET,)),
    "V4_ONLY": ((socket.AF_INET,),),
    "V6_ONLY": ((socket.AF_INET6,),),
    "V4_PREFERRED": ((socket.AF_INET,), (socket.AF_INET6,)),
    "ALL": ((socket.AF_INET, socket.AF_INET6),),
}


async def resolve_by_system(name: str, family: str) -> list[str]:
    """Look ``name`` up with the system's resolver, in a worker thread. Raises OSError."""
    for families in _FAMILIES[family]:
        found: list[str] = []
        for each in families:
            try:
                rows = await trio.socket.getaddrinfo(name, None, each, socket.SOCK_STREAM)
            except socket.gaierror as error:
                reason = error
            except UnicodeError as error:
                raise OSError(f"{name} is not a host name: {error}") from error
            else:
                found += [str(row[4][0]) for row in rows]
        if found:
            return list(dict.fromkeys(found))
    raise reason


class DnsClusters:
    """Watches the cluster manager for DNS clusters and resolves them. Run ``run`` as a task for the life of the proxy."""

    def __init__(self, clusters: ClusterManager, random: RandomSource, resolve: Resolve = resolve_by_system) -> None:
        self._clusters = clusters
        self._random = random
        self._resolve = resolve
        self._scopes: dict[str, trio.CancelScope] = {}
        self._unresolved: set[str] = set()
        self._all_resolved = trio.Event()
        self._nursery: trio.Nursery | None = None
        clusters.on_config_changed(self._changed)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Resolve the DNS clusters that are there and those that come, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for config in self._clusters.configs():
                self._changed(config.name, config)
            self._settle()
            task_status.started()
            await trio.sleep_forever()

    async def wait_resolved(self) -> None:
        """Wait until every DNS cluster that is known has been looked up once, with or without success."""
        while self._nursery is None or self._unresolved:
            await self._all_resolved.wait()

    def _changed(self, name: str, config: ClusterConfig | None) -> None:
        if self._nursery is None:
            return
        running = self._scopes.pop(name, None)
        if running is not None:
            running.cancel()
        self._unresolved.discard(name)
        if config is not None and config.discovery in ("STRICT_DNS", "LOGICAL_DNS"):
            scope = self._scopes[name] = trio.CancelScope()
            self._unresolved.add(name)
            self._all_resolved = trio.Event()
            self._nursery.start_soon(self._keep, config, scope)
        self._settle()

    def _settle(self) -> None:
        if not self._unresolved:
            self._all_resolved.set()

    async def _keep(self, config: ClusterConfig, scope: trio.CancelScope) -> None:
        with scope:
            known: dict[str, list[str]] = {}
            failures = 0
            while True:
                failed = await self._look_up(config, known)
                self._clusters.update_assignment(config.name, expand(config, known))
                self._unresolved.discard(config.name)
                self._settle()
                if not names_of(config.assignment or Assignment(config.name)):
                    return
                failures = failures + 1 if failed else 0
                await trio.sleep(self._pause(config, failures))

    async def _look_up(self, config: ClusterConfig, known: dict[str, list[str]]) -> bool:
        """Refresh ``known``; return whether a name failed, which then keeps the addresses that it had."""
        failed = False
        for name in names_of(config.assignment or Assignment(config.name)):
            try:
                with trio.fail_after(_LOOKUP_DEADLINE):
                    known[name] = await self._resolve(name, config.dns_lookup_family)
            except (OSError, trio.TooSlowError) as error:
                failed = True
                kept = "its last addresses stay in use" if name in known else "the cluster has no endpoint of it"
                _log.warning("cluster %s: cannot resolve %s: %s; %s", config.name, name, error or "too slow", kept)
        self._count(config.name, failed=failed)
        return failed

    def _pause(self, config: ClusterConfig, failures: int) -> float:
        """Seconds until the next lookup: the refresh rate, or after failures a random part of a doubling interval."""
        if not failures:
            return config.dns_refresh_rate
        base, longest = config.dns_failure_refresh_rate
        interval = min(longest, base * 2.0 ** min(failures - 1, 30))
        return interval * (0.5 + self._random() / 2)

    def _count(self, name: str, *, failed: bool) -> None:
        cluster = self._clusters.in_use(name)
        if cluster is not None:
            cluster.stats.update_attempt.value += 1
            (cluster.stats.update_failure if failed else cluster.stats.update_success).value += 1
