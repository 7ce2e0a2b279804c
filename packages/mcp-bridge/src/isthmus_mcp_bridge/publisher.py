"""From registry events to published snapshots: the one task that owns the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import FairDebounce
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.dualmode.policy import Policy
from isthmus_mcp_bridge.events import Problem, RegistryEvent, SourceListed, SourceState, SourceSuspected
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.observe.metrics import Metrics
from isthmus_mcp_bridge.warm.store import Restored

EVENTS_METRIC = "isthmus_bridge_events_total"
PUBLISHED_METRIC = "isthmus_bridge_snapshots_total"
POLICIES = "dual mode policies"
"""What the barrier calls them."""
FOLDED_AT_ONCE = 20
"""Services folded and converted before other tasks get their turn: some milliseconds, at ten instances a service."""

log = logging.getLogger(__name__)


class Publisher:
    """Applies events as they come and publishes what follows from them, debounced."""

    def __init__(
        self,
        catalog: Catalog,
        barrier: Barrier,
        debounce: FairDebounce,
        publish: Callable[[Snapshot], None],
        metrics: Metrics,
        now: Callable[[], float],
        publication: Publication | None = None,
    ) -> None:
        """``now`` is the clock of ``barrier``'s deadlines, in seconds."""
        self.catalog = catalog
        self.publication = publication or Publication()
        self.now = now
        self._barrier = barrier
        self._debounce = debounce
        self._publish = publish
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._reported: dict[tuple[str, str], tuple[Problem, ...]] = {}
        self._published = Snapshot()
        self.on_changes: Callable[[list[ServiceKey]], None] | None = None
        """Told of services of which something has changed."""
        self.on_sdk_view: list[Callable[[frozenset[ServiceKey]], None]] = []
        """All are told of services of which SDK consumers are to be shown something else (``catalog.dual_modes.show`` says what)."""

    @property
    def ready(self) -> bool:
        """Whether services are served: every source was listed or its deadline passed, and the result is published."""
        return self._published.service_entries is not None

    def waiting_for(self) -> list[str]:
        """The sources that services are still withheld for."""
        return self._barrier.waiting_for(self.now())

    def restore(self, restored: Restored) -> None:
        """Start from what was known before; the sources that it holds are not waited for."""
        now = self.now()
        for name, origins in restored.origins.items():
            if name not in self.catalog.sources or not origins:
                continue
            self.catalog.restore(name, origins, restored.ages_s[name], now)
            self._barrier.complete(name)
            self._debounce.changed(name, now)
            log.info("registry %s: %d origins restored, %.0f s old", name, len(origins), restored.ages_s[name])
        if self.catalog.vips is not None:
            for key, address, until in restored.vips:
                self.catalog.vips.restore(address, key, until - self.catalog.epoch_offset_s if until else 0, now)

    def take_policies(self, policies: Iterable[Policy]) -> None:
        """Take the policies of dual mode; services that waited for them wait no longer."""
        now = self.now()
        for name in self.catalog.replace_policies(policies):
            self._debounce.changed(name, now)
        self._barrier.complete(POLICIES)
        self._wake.set()

    def take(self, event: RegistryEvent) -> None:
        """Take one event of a registry; the ``emit`` of every adapter."""
        source = self.catalog.sources[event.source]
        before = (source.state, source.reason)
        holds = source.guard.holds
        changed = self.catalog.apply(event, self.now())
        self._metrics.count(EVENTS_METRIC, source=event.source, event=type(event).__name__)
        if (source.state, source.reason) != before:
            self._log_state(event.source)
        if source.guard.holds != holds:
            log.warning(
                "registry %s lost so much at once that it is not believed yet: %d origins keep what they had for at most "
                "%.0f s; see removal_guard in the configuration",
                source.name,
                len(source.held),
                (source.guard.deadline or self.now()) - self.now(),
            )
        self._report_problems(event)
        if source.complete:
            self._barrier.complete(source.name)
        if changed or not self.ready:
            self._debounce.changed(source.name, self.now())
            self._wake.set()

    async def run(self) -> None:
        """Publish whenever something is due, until cancelled."""
        while True:
            await self._wait()
            self._tick()
            due = self._debounce.take_due(self.now())
            waiting = self._barrier.waiting_for(self.now())
            if not self.ready and not waiting:
                due = list(self.catalog.sources)  # whoever connects first must not be given half
            if due:
                await self._fold(due)
                if not waiting:
                    self._serve()

    def _tick(self) -> None:
        """Let the catalog's time pass, and say what that has changed."""
        now = self.now()
        states = {source.name: source.state for source in self.catalog.sources.values()}
        for name, keys in self.catalog.tick(now).items():
            log.debug("registry %s: time has changed %d services", name, len(keys))
            self._debounce.changed(name, now)
        for name, state in states.items():
            if self.catalog.sources[name].state is not state:
                self._log_state(name)

    def _log_state(self, name: str) -> None:
        source = self.catalog.sources[name]
        level = logging.INFO if source.state is SourceState.LIVE else logging.WARNING
        log.log(level, "registry %s is %s%s", name, source.state, f": {source.reason}" if source.reason else "")

    def _serve(self) -> None:
        collection = self.publication.collection()
        if self._published.service_entries is collection:
            return
        if not self.ready:
            log.info("serving %d services", len(collection.resources))
        self._published = Snapshot(collection)
        self._metrics.count(PUBLISHED_METRIC)
        self._publish(self._published)

    async def _fold(self, sources: list[str]) -> None:
        """Fold and convert what has changed in these sources so far, in slices; what is left of them after that has its turn later.

        A source that changes faster than it is folded would otherwise keep everything from being published as long as it does.
        """
        left = self.catalog.pending_of(sources)
        while True:
            changes = self.catalog.take_changes(FOLDED_AT_ONCE, self.now(), sources)
            left -= FOLDED_AT_ONCE
            for name in self.publication.take(changes):
                broken = self.publication.quarantined[name]
                log.error("%s is not published, its last good state stays: %s", name, broken)
            if changes and self.on_changes is not None:
                self.on_changes([one.key for one in changes])
            if left <= 0 or not self.catalog.pending_of(sources):
                break
            await asyncio.sleep(0)
        for name in sources:
            if self.catalog.pending_of([name]):
                self._debounce.changed(name, self.now())
        changed = self.catalog.dual_modes.take_changed()
        for listener in self.on_sdk_view if changed else ():
            listener(changed)

    async def _wait(self) -> None:
        """Until the next event, the end of the debounce or of a hold, or a sync deadline."""
        now = self.now()
        possible = (self._debounce.due(), self._barrier.next_deadline(now), self.catalog.next_tick())
        times = [time for time in possible if time is not None]
        if times and min(times) <= now:
            await asyncio.sleep(0)
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
