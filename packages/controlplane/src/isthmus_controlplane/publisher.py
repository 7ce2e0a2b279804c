"""From a changed world to pushed snapshots: admit, translate each scope in use, publish as one push."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from isthmus_controlplane.debounce import Debounce
from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.world import Change, World
from isthmus_controlplane.snapshot.resource import ResourcePool
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState
from isthmus_controlplane.supplement.secret_names import SecretNames
from isthmus_controlplane.supplement.supplement import NOTHING, Supplement
from isthmus_controlplane.techniques import ALL, Techniques
from isthmus_controlplane.translate import Memo, Translation, translate, translate_instances
from isthmus_controlplane.translate.attribution import Cause, Rejected, causes
from isthmus_controlplane.translate.on_demand import on_demand
from isthmus_controlplane.translate.route_sources import route_sources
from isthmus_controlplane.xds.message import Nack

log = logging.getLogger(__name__)

# Each scope is translated on every change. Nodes choose their metadata, so their number needs a bound.
MAX_SCOPES = 1_000
# Nodes say more of themselves than what matters; of those that have left, this many are remembered.
MAX_KNOWN = 20_000
MAX_CAUSES = 8
# Services times scopes that are translated at once; about 50 ms. More would keep streams waiting.
BUILT_AT_ONCE = 1_500

Jobs = Mapping[Scope, Translation | None]


class SnapshotServer(Protocol):
    """What the publisher needs of the xDS server."""

    def publish_all(self, snapshots: Mapping[Any, Snapshot], cause: str) -> int | None:
        """Give scopes new snapshots as one push."""
        ...

    def scopes_in_use(self) -> frozenset[Any]:
        """Return the scopes of the connected clients."""
        ...


@dataclasses.dataclass(slots=True)
class PublisherCounters:
    """What was done so far."""

    changes: int = 0
    pushes: int = 0
    translations: int = 0
    patches: int = 0
    translation_seconds: float = 0.0
    refused_scopes: int = 0


class Publisher:
    """Keeps the xDS server in step with the world; belongs to one event loop.

    The server knows scopes as nodes say them. Here they are narrowed to what matters (`narrow`), so that those which get the
    same are built once.
    """

    def __init__(
        self,
        world: World,
        techniques: Techniques = ALL,
        *,
        built_at_once: int = BUILT_AT_ONCE,
        max_scopes: int = MAX_SCOPES,
    ) -> None:
        self.world = world
        self._max_scopes = max_scopes
        self._built_at_once = built_at_once
        self._techniques = techniques
        self.ready = False
        self.counters = PublisherCounters()
        self.debounce = Debounce(self.publish)
        self._server: SnapshotServer | None = None
        self._pool = ResourcePool()
        self.memo = Memo()
        self._instances = InstanceIndex()
        self._narrowed: dict[Scope, Scope] = {}  # as a node says it: what matters of it
        # By narrowed scope.
        self._translations: dict[Scope, Translation] = {}
        self._snapshots: dict[Scope, Snapshot] = {}
        self._causes: list[str] = []
        self._losses: asyncio.TimerHandle | None = None
        self._aside: asyncio.Task[None] | None = None  # builds in a thread; nothing else is built meanwhile
        self._supplement: Supplement = NOTHING
        self._secret_names = SecretNames()
        self._publications = 0
        self._changed: dict[ObjectKey, int] = {}  # number of the publication that changed an object last
        self._whole = False  # the next publication translates everything again
        self._again = False  # a publication became due meanwhile
        self._needed: set[Scope] = set()  # scopes that were asked for meanwhile

    def attach(self, server: SnapshotServer) -> None:
        """Name the server to publish to; must come before `start`."""
        self._server = server

    def take(self, state: StoreState) -> None:
        """Take a store's new state. Changes of instances go out at once, others when the burst is over."""
        self._note(*self.world.take(state))
        self._await_losses()

    def take_supplement(self, supplement: Supplement) -> None:
        """Take what joins every translation; goes out with the next publication, which this makes due."""
        self._supplement = supplement
        self._whole = True
        self._note("configuration", "resources and secrets from files")

    def _note(self, change: Change, names: str) -> None:
        if change == "none":
            return
        self.counters.changes += 1
        if len(self._causes) < MAX_CAUSES and names not in self._causes:
            self._causes.append(names)
        if not self.ready:
            return
        if change == "endpoints":
            self.debounce.flush()
        else:
            self.debounce.touch()

    def _await_losses(self) -> None:
        """Come back when lost instances were kept long enough."""
        due = self.world.guard.next_due()
        if self._losses is not None:
            self._losses.cancel()
        self._losses = None if due is None else asyncio.get_running_loop().call_at(due, self._believe_losses)

    def _believe_losses(self) -> None:
        self._note(*self.world.believe_losses())
        self._await_losses()

    def stop(self) -> None:
        """Forget what was to be done later."""
        self.debounce.cancel()
        for pending in (self._losses, self._aside):
            if pending is not None:
                pending.cancel()

    def start(self) -> None:
        """Begin to serve: every store was read, or we no longer wait for it."""
        self.ready = True
        self.debounce.flush()

    def publish(self) -> None:
        """Admit the objects and give every scope in use its resources; what takes long is built in a thread first."""
        assert self._server is not None
        if self._aside is not None:
            self._again = True
            return
        before = self.world.admission
        admission = self.world.admit()
        self._note_changed(before.in_use, admission.in_use)
        for problem in admission.problems:
            if problem not in before.problems:
                log.warning("%s", problem)
        cause, self._causes = "; ".join(self._causes) or "start", []
        self._narrow_all(self._server.scopes_in_use())
        scopes = sorted(set(self._narrowed.values()), key=str)
        known: Mapping[Scope, Translation] = self._translations
        whole, self._whole = self._whole, False
        if whole or admission.hosts is None or not self._techniques.incremental:
            known = {}
            self.memo.forget(admission.model.services, scopes)
        if not self._techniques.incremental:
            self.memo = Memo()
        self._keep(scopes)
        self._make({scope: known.get(scope) for scope in scopes}, cause)

    def _note_changed(self, before: Mapping[ObjectKey, ConfigObject], now: Mapping[ObjectKey, ConfigObject]) -> None:
        """Remember which objects this publication changes; instances that come and go are not looked at."""
        if self.world.admission.hosts is not None:
            return
        self._publications += 1
        changed = {key: self._publications for key, obj in now.items() if before.get(key) is not obj}
        self._changed = {key: number for key, number in (self._changed | changed).items() if key in now}

    def _narrow_all(self, said: Iterable[Scope]) -> None:
        """Narrow the scopes of all nodes; those beyond the limit are not served."""
        model = self.world.admission.model
        self._instances.follow(model.services)
        found = {scope: narrow(model, scope, self._instances) for scope in said}
        served = frozenset(sorted(set(found.values()), key=str)[: self._max_scopes])
        self._narrowed = {scope: narrowed for scope, narrowed in found.items() if narrowed in served}

    def _keep(self, scopes: Iterable[Scope]) -> None:
        kept = frozenset(scopes)
        self._translations = {scope: each for scope, each in self._translations.items() if scope in kept}
        self._snapshots = {scope: each for scope, each in self._snapshots.items() if scope in kept}

    def scope_needed(self, scope: Scope) -> None:
        """Serve the first client of a scope."""
        assert self._server is not None
        if not self.ready:
            return
        if self._aside is not None:
            self._needed.add(scope)
            return
        self._serve([scope], "new kind of client")

    def _serve(self, said: Iterable[Scope], cause: str) -> None:
        """Publish to scopes, as nodes say them, that have nothing yet."""
        assert self._server is not None
        if len(self._narrowed) >= MAX_KNOWN:
            self._forget_unused()
        model = self.world.admission.model
        self._instances.follow(model.services)
        jobs: dict[Scope, Translation | None] = {}
        for scope in said:
            narrowed = narrow(model, scope, self._instances)
            if not self._has_room(narrowed):
                self.counters.refused_scopes += 1
                log.error(
                    "%d different kinds of nodes are connected, the limit: %s is not served", self._max_scopes, scope
                )
                continue
            self._narrowed[scope] = narrowed
            if narrowed in self._snapshots:  # of scopes in use, which every publication brings up to date
                self._server.publish_all({scope: self._snapshots[narrowed]}, cause)
            else:
                jobs[narrowed] = None
        if jobs:
            self._make(jobs, cause)

    def _has_room(self, scope: Scope) -> bool:
        if scope not in self._translations and len(self._translations) >= self._max_scopes:
            self._forget_unused()
        return scope in self._translations or len(self._translations) < self._max_scopes

    def _forget_unused(self) -> None:
        assert self._server is not None
        used = self._server.scopes_in_use()
        self._narrowed = {scope: narrowed for scope, narrowed in self._narrowed.items() if scope in used}
        self._keep(self._narrowed.values())

    def _make(self, jobs: Jobs, cause: str) -> None:
        """Build snapshots, each from the translation before or from nothing, and publish them as one push."""
        work = len(self.world.admission.model.services) * sum(previous is None for previous in jobs.values())
        if work <= self._built_at_once:
            self._publish_built({scope: self._build(scope, previous) for scope, previous in jobs.items()}, cause)
        else:
            self._aside = asyncio.get_running_loop().create_task(self._make_aside(jobs, cause))

    async def _make_aside(self, jobs: Jobs, cause: str) -> None:
        """Do so in a thread, so that streams are served meanwhile; then do what became due."""
        try:
            built = {scope: await asyncio.to_thread(self._build, scope, old) for scope, old in jobs.items()}
            self._publish_built(built, cause)
        finally:
            self._aside = None
        needed, self._needed = self._needed, set()
        if self._again:
            self._again = False
            self.debounce.flush()
        elif needed:
            self._serve(sorted(needed, key=str)[: self._max_scopes], "new kinds of clients")

    def _publish_built(self, built: Mapping[Scope, tuple[Translation, Snapshot]], cause: str) -> None:
        assert self._server is not None
        self._pool.forget_messages()
        self._translations |= {scope: translation for scope, (translation, _) in built.items()}
        self._snapshots |= {scope: snapshot for scope, (_, snapshot) in built.items()}
        snapshots = {said: built[scope][1] for said, scope in self._narrowed.items() if scope in built}
        if self._server.publish_all(snapshots, cause) is not None:
            self.counters.pushes += 1

    def _build(self, scope: Scope, previous: Translation | None) -> tuple[Translation, Snapshot]:
        """Build the snapshot of a scope, from its translation before where only instances changed since."""
        started = time.perf_counter()
        translation = self._translate(scope, previous)
        before = self._snapshots.get(scope)
        # The names that changed say everything only about the translation that the snapshot was built from.
        same = before is not None and previous is not None and before.sources is previous.messages
        snapshot = build(translation.messages, before, self._pool, translation.changed if same else None)
        self.counters.translation_seconds += time.perf_counter() - started
        return translation, snapshot

    def _translate(self, scope: Scope, previous: Translation | None) -> Translation:
        admission = self.world.admission
        if previous is None or admission.hosts is None:
            self.counters.translations += 1
            return self._whole_translation(scope)
        self.counters.patches += 1
        return translate_instances(admission.model, scope, self.memo, previous, admission.hosts)

    def _whole_translation(self, scope: Scope) -> Translation:
        translation = translate(self.world.admission.model, scope, self.memo)
        if scope.virtual_hosts_on_demand:
            translation = on_demand(translation)
        return self._supplement.join(translation, scope, self._secret_names)

    @property
    def settled(self) -> bool:
        """Whether every change that was taken is published."""
        return self.ready and not self._causes and not self.debounce.pending and self._aside is None

    def origins(self, scope: Scope | None, type_url: str, resources: tuple[str, ...]) -> tuple[ObjectKey, ...]:
        """Name the user objects behind resources of a scope, such as those that a client rejected."""
        translation = self.translation(scope) if scope is not None else None
        if translation is None:
            return ()
        return tuple(sorted({key for name in resources for key in translation.origins.get((type_url, name), ())}))

    def causes(self, scope: Scope | None, type_url: str, nack: Nack, *, acknowledged: bool) -> tuple[Cause, ...]:
        """Name what users wrote that a client of a scope rejects: objects, and fields where its words tell.

        Args:
            scope: of the client.
            type_url: of what it rejects.
            nack: its words.
            acknowledged: whether it accepted an earlier version, so that it is about what changed since.
        """
        translation = self.translation(scope) if scope is not None else None
        if scope is None or translation is None:
            return ()
        admission = self.world.admission
        return causes(
            Rejected(
                type_url,
                nack.resources,
                nack.message,
                translation.messages.get(type_url, {}),
                translation.origins,
                admission.in_use,
                functools.partial(route_sources, admission.model, scope),
                self._changed if acknowledged else {},
            )
        )

    def translation(self, scope: Scope) -> Translation | None:
        """Return what the clients of a scope are given; None while it is not in use."""
        narrowed = self._narrowed.get(scope)
        return self._translations.get(narrowed) if narrowed is not None else None

    def problems(self) -> tuple[Problem, ...]:
        """Everything that a user has to mend, sorted."""
        translated = (problem for translation in self._translations.values() for problem in translation.problems)
        return tuple(sorted({*self.world.problems(), *self._supplement.problems, *translated}))
