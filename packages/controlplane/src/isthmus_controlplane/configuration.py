"""Reading and changing the configuration on behalf of users: parse, check against everything else, write."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from isthmus_controlplane.errors import ControlPlaneError
from isthmus_controlplane.model.document import DocumentError, parse_document
from isthmus_controlplane.model.kinds import KINDS, find_kind
from isthmus_controlplane.model.world import Foreseen
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.stores.base import ConfigObject, ConflictError, ObjectKey, Problem, WritableStore
from isthmus_controlplane.stores.yaml_text import Document, YamlError, load_documents

MAX_OBJECTS = 1_000
SYNC_WAIT_S = 15.0


class RefusedError(ControlPlaneError):
    """A change was refused and nothing was written; ``problems`` says why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class NotReadyError(ControlPlaneError):
    """The stores are not read yet, so a change cannot be checked."""


class NotFoundError(ControlPlaneError):
    """There is no such object or kind, or it belongs to a source that cannot be written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What became of one object of an apply."""

    key: ObjectKey
    version: str
    result: Literal["created", "configured", "unchanged"]


class Configuration:
    """The configuration API without its transport."""

    def __init__(self, store: WritableStore, publisher: Publisher, ready: asyncio.Event) -> None:
        """Prepare.

        Args:
            store: where objects are written.
            publisher: knows the world they must fit into.
            ready: set once the world is known.
        """
        self._store = store
        self._publisher = publisher
        self._ready = ready
        self._changing = asyncio.Lock()
        # What was written and the stores have not told back yet: key to version, None for what was deleted.
        self._unseen: dict[ObjectKey, str | None] = {}

    def find(self, kind: str = "", name: str = "", namespace: str = "") -> list[ConfigObject]:
        """Return the objects that match; empty arguments match everything.

        Raises:
            NotFoundError: there is no such kind.
        """
        wanted = self._kind(kind) if kind else ""
        return [
            obj
            for key, obj in sorted(self._publisher.world.objects.items())
            if wanted in {"", key.kind} and name in {"", key.name} and namespace in {"", key.namespace}
        ]

    async def apply(self, texts: Mapping[str, str]) -> tuple[list[Applied], tuple[Problem, ...]]:
        """Write the objects of YAML texts, all or none.

        Args:
            texts: by name (for messages), one or more documents each; ``metadata.resourceVersion`` is the version
                that the user has seen.

        Returns:
            What became of each object, and warnings about them.

        Raises:
            RefusedError: an object is wrong, or would break what works.
            ConflictError: an object has changed since the user saw it.
            StoreError: it cannot be written.
            NotReadyError: the stores are not read yet.
        """
        objects, expected = _parse(texts)
        await self._wait_ready()
        async with self._changing:
            self._check_owned(objects)
            foreseen = self._publisher.world.foresee(objects)
            if foreseen.refusals:
                raise RefusedError(foreseen.refusals)
            before = self._publisher.world.objects
            results = [Applied(obj.key, obj.version, _result(before.get(obj.key), obj)) for obj in objects]
            changed = [obj for obj, done in zip(objects, results, strict=True) if done.result != "unchanged"]
            _check_seen(before, expected)
            if changed:
                self._publisher.world.guard.allow(obj.key for obj in changed)
                await self._store.apply(changed, expected)
                self._unseen |= {obj.key: obj.version for obj in changed}
        return results, foreseen.warnings

    async def delete(self, kind: str, namespace: str, name: str) -> ObjectKey:
        """Delete one object.

        Raises:
            NotFoundError: there is none that can be deleted.
            RefusedError: something in use needs it.
            StoreError: it cannot be deleted.
            NotReadyError: the stores are not read yet.
        """
        key = ObjectKey(self._kind(kind), namespace, name)
        await self._wait_ready()
        async with self._changing:
            self._check_deletable(key)
            problems = self._publisher.world.preview((), (key,))
            if problems:
                raise RefusedError(problems)
            self._publisher.world.guard.allow((key,))
            await self._store.delete(key)
            self._unseen[key] = None
        return key

    async def analyze(self, texts: Mapping[str, str]) -> Foreseen:
        """Say what an apply of these texts would be refused for, and warned about, without writing anything.

        Raises:
            RefusedError: an object is wrong on its own.
            NotReadyError: the stores are not read yet.
        """
        objects, _ = _parse(texts)
        await self._wait_ready()
        self._check_owned(objects)
        return self._publisher.world.foresee(objects)

    @property
    def published(self) -> bool:
        """Whether everything that was written through here came back from the store and was published."""
        held = self._publisher.world.objects
        seen = {key for key, version in self._unseen.items() if _version(held.get(key)) == version}
        for key in seen:
            del self._unseen[key]
        return not self._unseen and self._publisher.settled

    def _kind(self, text: str) -> str:
        kind = find_kind(text)
        if kind is None:
            raise NotFoundError(f"there is no kind {text!r}: use one of {', '.join(KINDS)}")
        return kind.name

    async def _wait_ready(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), SYNC_WAIT_S)
        except TimeoutError as error:
            waiting = ", ".join(state.source for state in self._publisher.world.states if not state.synced)
            raise NotReadyError(f"still waiting for {waiting}; nothing was changed: try again") from error

    def _check_owned(self, objects: list[ConfigObject]) -> None:
        """Refuse what another source defines: two definitions would compete."""
        for obj in objects:
            source = self._source_of(obj.key)
            if source not in {None, self._store.source}:
                message = f"{obj.key} comes from {source}: change it there, or choose another name"
                raise RefusedError((Problem(obj.origin, "metadata.name", message),))

    def _check_deletable(self, key: ObjectKey) -> None:
        source = self._source_of(key)
        if source is None:
            raise NotFoundError(f"there is no {key}")
        if source != self._store.source:
            raise NotFoundError(f"{key} comes from {source}: delete it there")

    def _source_of(self, key: ObjectKey) -> str | None:
        return next((state.source for state in self._publisher.world.states if key in state.objects), None)


def _version(obj: ConfigObject | None) -> str | None:
    return obj.version if obj is not None else None


def _parse(texts: Mapping[str, str]) -> tuple[list[ConfigObject], dict[ObjectKey, str | None]]:
    objects: dict[ObjectKey, ConfigObject] = {}
    expected: dict[ObjectKey, str | None] = {}
    problems: list[Problem] = []
    for where, document in _load(texts):
        try:
            obj = parse_document(document.value, where)
        except DocumentError as error:
            problems.extend(error.problems)
            continue
        if obj.key in objects:
            message = f"{obj.key} stands in {objects[obj.key].origin} already: remove or rename one"
            problems.append(Problem(where, "metadata.name", message))
        objects[obj.key] = obj
        seen = document.value["metadata"].get("resourceVersion")
        if seen:
            expected[obj.key] = str(seen)
    if problems:
        raise RefusedError(tuple(problems))
    return list(objects.values()), expected


def _load(texts: Mapping[str, str]) -> list[tuple[str, Document]]:
    documents: list[tuple[str, Document]] = []
    for name, text in texts.items():
        try:
            documents.extend((f"{name}#{document.number}", document) for document in load_documents(text))
        except YamlError as error:
            raise RefusedError((Problem(name, "", str(error)),)) from error
    if not 0 < len(documents) <= MAX_OBJECTS:
        message = f"{len(documents)} objects were given: give 1 to {MAX_OBJECTS}"
        raise RefusedError((Problem(", ".join(texts) or "request", "", message),))
    return documents


def _check_seen(before: Mapping[ObjectKey, ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
    for key, version in expected.items():
        held: Any = before.get(key)
        if held is None or held.version != version:
            current = held.version if held is not None else "gone"
            raise ConflictError(f"{key} is {current}, not {version}: read it again and repeat the change")


def _result(before: ConfigObject | None, now: ConfigObject) -> Literal["created", "configured", "unchanged"]:
    if before is None:
        return "created"
    return "unchanged" if before.version == now.version else "configured"
