"""The ``sofaregistry`` registry: subscribes to a list of dataIds at a session server.

Clients of SOFARegistry cannot list what there is, so the dataIds are configured. Subscriptions die with the connection. The
first push after a subscription may be empty although there is something; the source is LIVE when each dataId was pushed, or
some seconds after all were subscribed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time
import uuid
from collections.abc import Callable, Mapping

from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import Reporter, first_fault, keep_following
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sofaregistry.connection import SofaConnection, connected
from isthmus_mcp_bridge.registries.sofaregistry.messages import (
    SUBSCRIBE,
    DataKey,
    ReceivedData,
    read_register_response,
    subscriber,
)
from isthmus_mcp_bridge.registries.sofaregistry.services import read_items

APP = "isthmus-mcp-bridge"


@dataclasses.dataclass(frozen=True, slots=True)
class SofaOptions:
    """``targets`` are ``host:port`` of session servers; ``first_push_s`` is how long a first push is waited for."""

    targets: tuple[str, ...]
    keys: tuple[DataKey, ...]
    first_push_s: float = 3.0


class SofaRegistry:
    """Follows the dataIds of one configuration."""

    def __init__(
        self, name: str, options: SofaOptions, rule: NamingRule, ports: Mapping[str, int], random: Callable[[], float]
    ) -> None:
        self._name = name
        self._options = options
        self._rule = rule
        self._ports = ports
        self._backoff = Backoff(random)
        self._targets = itertools.cycle(options.targets)

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        reporter = Reporter(self._name, emit)
        await keep_following(self._name, emit, self._backoff, lambda: self._follow(reporter))

    async def _follow(self, reporter: Reporter) -> None:
        seen: dict[DataKey, ReceivedData] = {}
        complete = asyncio.Event()
        live = False

        def push(data: ReceivedData) -> None:
            known = seen.get(data.key)
            if data.key not in self._options.keys or (known is not None and known.version > data.version):
                return
            seen[data.key] = data
            if len(seen) == len(self._options.keys):
                complete.set()
            if live:
                reporter.changed(data.key.data_id, self._entry(data))

        async with connected(next(self._targets)) as connection:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(connection.read(push))
                    group.create_task(connection.beat())
                    for key in self._options.keys:
                        await self._subscribe(connection, key)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._options.first_push_s):
                            await complete.wait()
                    reporter.listed({key.data_id: self._entry(data) for key, data in seen.items()})
                    live = True
                    self._backoff.reset()
            except BaseExceptionGroup as faults:
                raise first_fault(faults) from faults

    async def _subscribe(self, connection: SofaConnection, key: DataKey) -> None:
        content = subscriber(key, str(uuid.uuid4()), APP, int(time.time() * 1000))
        success, message = read_register_response(await connection.call(SUBSCRIBE, content))
        if not success:
            raise RegistryFault(f"SOFARegistry refuses the subscription to {key.data_id}: {message[:200]}")

    def _entry(self, data: ReceivedData) -> Entry:
        return read_items(data.key, data.items, self._rule, self._ports, self._name, f"version {data.version}")
