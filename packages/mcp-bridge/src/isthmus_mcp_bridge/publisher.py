"""From registry events to published snapshots: the one task that owns the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import Debounce
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.events import Problem, RegistryEvent, SourceListed, SourceState, SourceSuspected
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.observe.metrics import Metrics

EVENTS_METRIC = "isthmus_bridge_events_total"
PUBLISHED_METRIC = "isthmus_bridge_snapshots_total"
FOLDED_AT_ONCE = 20
"""Services folded and converted before other tasks get their turn: some milliseconds, at ten instances a service."""

log = logging.getLogger(__name__)


class Publisher:
    """Applies events as they come and publishes what follows from them, debounced."""

    def __init__(
        self,
        catalog: Catalog,
        barrier: Barrier,
        debounce: Debounce,
        publish: Callable[[Snapshot], None],
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        """``now`` is the clock of ``barrier``'s deadlines, in seconds."""
        self.catalog = catalog
        self.publication = Publication()
        self._barrier = barrier
        self._debounce = debounce
        self._publish = publish
        self._metrics = metrics
        self._now = now
        self._wake = asyncio.Event()
        self._reported: dict[tuple[str, str], tuple[Problem, ...]] = {}
        self._published = Snapshot()

    @property
    def ready(self) -> bool:
        """Whether services are served: every source was listed or its deadline passed, and the result is published."""
        return self._published.service_entries is not None

    def waiting_for(self) -> list[str]:
        """The sources that services are still withheld for."""
        return self._barrier.waiting_for(self._now())

    def take(self, event: RegistryEvent) -> None:
        """Take one event of a registry; the ``emit`` of every adapter."""
        source = self.catalog.sources[event.source]
        before = (source.state, source.reason)
        holds = source.guard.holds
        changed = self.catalog.apply(event, self._now())
        self._metrics.count(EVENTS_METRIC, source=event.source, event=type(event).__name__)
        if (source.state, source.reason) != before:
            level = logging.INFO if source.state is SourceState.LIVE else logging.WARNING
            log.log(
                level, "registry %s is %s%s", source.name, source.state, f": {source.reason}" if source.reason else ""
            )
        if source.guard.holds != holds:
            log.warning(
                "registry %s lost so much at once that it is not believed yet: %d origins keep what they had for at most "
                "%.0f s; see removal_guard in the configuration",
                source.name,
                len(source.held),
                (source.guard.deadline or self._now()) - self._now(),
            )
        self._report_problems(event)
        if source.complete:
            self._barrier.complete(source.name)
        if changed or not self.ready:
            self._debounce.changed(self._now())
            self._wake.set()

    async def run(self) -> None:
        """Publish whenever something is due, until cancelled."""
        while True:
            await self._wait()
            if self.catalog.release(self._now()):
                log.warning("a mass removal was held for its whole time; it is believed now")
                self._debounce.changed(self._now())
            due = self._debounce.due()
            if due is not None and due <= self._now():
                self._debounce.published()
                await self._fold()
            if not self.catalog.pending and not self._barrier.waiting_for(self._now()):
                self._serve()

    def _serve(self) -> None:
        collection = self.publication.collection()
        if self._published.service_entries is collection:
            return
        if not self.ready:
            log.info("serving %d services", len(collection.resources))
        self._published = Snapshot(collection)
        self._metrics.count(PUBLISHED_METRIC)
        self._publish(self._published)

    async def _fold(self) -> None:
        """Fold and convert everything that changed, in slices; what changes meanwhile is folded with it."""
        while self.catalog.pending:
            for name in self.publication.take(self.catalog.take_changes(FOLDED_AT_ONCE)):
                broken = self.publication.quarantined[name]
                log.error("%s is not published, its last good state stays: %s", name, broken)
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Until the next event, the end of the debounce or of a hold, or a sync deadline."""
        now = self._now()
        possible = (self._debounce.due(), self._barrier.next_deadline(now), self.catalog.next_release())
        times = [time for time in possible if time is not None]
        if times and min(times) <= now:
            return
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(times) - now if times else None):
                await self._wake.wait()

    def _report_problems(self, event: RegistryEvent) -> None:
        """Log each problem once, when it appears."""
        if isinstance(event, SourceSuspected):
            return
        if isinstance(event, SourceListed):
            gone = [key for key in self._reported if key[0] == event.source and key[1] not in event.origins]
            for key in gone:
                del self._reported[key]
        for origin in event.origins if isinstance(event, SourceListed) else (event.origin,):
            problems = self.catalog.sources[event.source].problems_of(origin)
            known = self._reported.pop((event.source, origin), ())
            for problem in problems:
                if problem not in known:
                    log.warning(
                        "registry %s: %s: %s: %s", problem.registry, problem.path, problem.value, problem.message
                    )
            if problems:
                self._reported[event.source, origin] = problems
