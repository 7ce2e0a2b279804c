"""A source that changes faster than it is folded keeps nothing from being published, neither of itself nor of others."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from isthmus_mcp_bridge.app import COUNTERS
from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import FairDebounce
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort
from isthmus_mcp_bridge.observe.metrics import Metrics
from isthmus_mcp_bridge.publisher import Publisher

WITHIN_S = 30


def report(host: str, port: int) -> OriginReport:
    endpoints = (EndpointClaim("http", "10.0.0.1", port),)
    return OriginReport((ServiceClaim(ServiceKey("default", host), (ServicePort("http", 80, "HTTP"),), endpoints),))


@pytest.mark.asyncio
async def test_a_source_that_never_rests_is_published_and_so_is_another_one() -> None:
    enough, published, ports = asyncio.Event(), list[Snapshot](), itertools.cycle(range(1, 60_000))
    loop = asyncio.get_running_loop()

    def publish(snapshot: Snapshot) -> None:
        published.append(snapshot)
        publisher.take(OriginChanged("quiet", "x", report("quiet", len(published))))
        if len(published) == 5:
            enough.set()

    catalog = Catalog(["noisy", "quiet"])
    publisher = Publisher(
        catalog, Barrier({}), FairDebounce(["noisy", "quiet"], 0.001, 0.01), publish, Metrics(COUNTERS, {}), loop.time
    )
    # Whatever is folded has changed again by the time it is.
    publisher.on_changes = lambda _: publisher.take(OriginChanged("noisy", "x", report("noisy", next(ports))))
    publisher.take(SourceListed("noisy", {"x": report("noisy", next(ports))}))
    publisher.take(SourceListed("quiet", {}))
    running = asyncio.create_task(publisher.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await enough.wait()
    finally:
        running.cancel()
    names = [sorted(one.service_entries.resources) for one in published if one.service_entries is not None]
    assert names[-1] == ["default/noisy", "default/quiet"]
