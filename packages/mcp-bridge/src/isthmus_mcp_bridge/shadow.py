"""A shadow run: the registries of a configuration are read and merged as ever, and nothing is served or written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from isthmus_mcp_bridge.backsync.build import build_parts
from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.config.model import BridgeConfig
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.dualmode.build import last_policies
from isthmus_mcp_bridge.events import RegistryEvent
from isthmus_mcp_bridge.mcp.snapshot import Collection
from isthmus_mcp_bridge.registration.model import NAME
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.build import build_registry

FOLDED_AT_ONCE = 50
SLACK_S = 5.0
"""How long beyond the grace of sidecars the registered instances are waited for."""


async def merge_once(config: BridgeConfig, catalog: Catalog) -> tuple[Collection, list[str]]:
    """What the configuration would serve now, and the registries that were not listed within their deadlines.

    Policies of dual mode are those of the directory or those kept by ``warm_start``. Raises BridgeError.
    """
    source = random.Random()
    catalog.replace_policies(await asyncio.to_thread(last_policies, config))
    parts = build_parts(config, asyncio.get_running_loop().time, source.random)
    registries = [build_registry(one, source.random, parts.own.get(one.name)) for one in config.registries]
    # No sidecar comes here: what is registered is what the registries tell of other replicas.
    registered = [] if parts.registrations is None else [parts.registrations]
    return await merge_registries(config, catalog, [*registries, *registered])


async def merge_registries(
    config: BridgeConfig, catalog: Catalog, registries: Iterable[Registry]
) -> tuple[Collection, list[str]]:
    """The same with registries that the caller made."""
    loop = asyncio.get_running_loop()
    deadlines = {one.name: loop.time() + one.sync_deadline_s for one in config.registries}
    if config.registration is not None:
        deadlines[NAME] = loop.time() + config.registration.limits.grace_s + SLACK_S
    barrier = Barrier(deadlines)
    heard = asyncio.Event()

    def take(event: RegistryEvent) -> None:
        catalog.apply(event, loop.time())
        if catalog.sources[event.source].complete:
            barrier.complete(event.source)
        heard.set()

    tasks = [asyncio.create_task(one.run(take)) for one in registries]
    try:
        while barrier.waiting_for(loop.time()):
            heard.clear()
            due = barrier.next_deadline(loop.time())
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - loop.time())):
                    await heard.wait()
            except TimeoutError:
                continue
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    publication = Publication()
    while catalog.pending:
        publication.take(catalog.take_changes(FOLDED_AT_ONCE, loop.time()))
    missing = [name for name, source in catalog.sources.items() if not source.complete]
    return publication.collection(), missing
