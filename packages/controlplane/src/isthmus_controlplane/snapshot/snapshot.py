"""Immutable snapshots: everything one scope of clients gets, versioned per type and per resource."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection as Names
from collections.abc import Mapping
from types import MappingProxyType

from isthmus_controlplane.snapshot.resource import Content, Resource, ResourcePool, content_version
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE

Messages = Mapping[str, Mapping[str, Content]]
# How far back a collection knows what changed, in pushes and in names: a stream that slept longer compares what it has.
HISTORY_PUSHES = 16
HISTORY_NAMES = 1_000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """All resources of one type.

    Attributes:
        resources: by name, sorted.
        version: hash over the names and versions, whatever way led there.
        digest: sum of the hashes of names and versions, which one change moves without a look at the others.
        history: (version before, names added, changed or removed since) of the latest steps, the newest first.
    """

    resources: Mapping[str, Resource]
    version: str
    digest: int
    history: tuple[tuple[str, frozenset[str]], ...] = ()

    def changed_since(self, version: str | None) -> frozenset[str] | None:
        """Name what a client in step with an earlier version has to be told; None when that is too long ago."""
        if version == self.version:
            return frozenset()
        names: frozenset[str] = frozenset()
        for before, changed in self.history:
            names |= changed
            if before == version:
                return names
        return None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What one scope of clients gets.

    Attributes:
        collections: per type URL; types without resources are absent.
        version: hash over all types.
        sources: the messages it was built from, to find what did not change by identity.
    """

    collections: Mapping[str, Collection]
    version: str
    sources: Messages = dataclasses.field(repr=False)

    def collection(self, type_url: str) -> Collection:
        """Return the resources of one type, an empty collection where there are none."""
        return self.collections.get(type_url, EMPTY_COLLECTION)

    def missing_references(self) -> tuple[tuple[str, str, str], ...]:
        """Name what is asked for but absent, as (type URL, name, name of the resource that asks), sorted.

        Clusters name EDS resources and listeners name RDS resources. Such a snapshot is served (clients get empty
        answers), but it is worth a warning.
        """
        return tuple(
            sorted(
                (target, name, resource.name)
                for source, target in ((CLUSTER, ENDPOINT), (LISTENER, ROUTE))
                for resource in self.collection(source).resources.values()
                for name in resource.references
                if name not in self.collection(target).resources
            )
        )


def build(
    messages: Messages,
    previous: Snapshot | None = None,
    pool: ResourcePool | None = None,
    changed: Mapping[str, Names[str]] | None = None,
) -> Snapshot:
    """Build a snapshot.

    Messages must not be changed afterwards: one that is the same object as in ``previous`` counts as unchanged.

    Args:
        messages: resources per type URL and name.
        previous: the snapshot that this one follows; what did not change is taken from it.
        pool: where resources of equal content are found; give one pool to all scopes so that they share bytes.
        changed: names per type that may differ from the messages of ``previous``, where the caller knows that all
            others are the same objects; None to compare all.
    """
    pool = pool if pool is not None else ResourcePool()
    type_urls = {*messages, *(previous.collections if previous else ())}
    collections = {
        type_url: _collection(
            type_url, messages, previous, pool, None if changed is None else changed.get(type_url, ())
        )
        for type_url in sorted(type_urls)
    }
    if previous is not None and all(previous.collections.get(url) is made for url, made in collections.items()):
        return dataclasses.replace(previous, sources=messages)
    filled = ((url, made.version) for url, made in collections.items() if made.resources)
    version = content_version(*(text.encode() for pair in filled for text in pair))
    return Snapshot(MappingProxyType(collections), version, messages)


def _collection(
    type_url: str, messages: Messages, previous: Snapshot | None, pool: ResourcePool, changed: Names[str] | None
) -> Collection:
    new = messages.get(type_url, {})
    old = previous.collection(type_url) if previous else EMPTY_COLLECTION
    before = previous.sources.get(type_url, {}) if previous else {}
    if new is before:
        return old
    looked_at = {*new, *before} if changed is None else changed
    moved = {
        name: pool.shared(type_url, name, new[name]) if name in new else None
        for name in looked_at
        if new.get(name) is not before.get(name)
    }
    differing = {name: made for name, made in moved.items() if not _same(made, old.resources.get(name))}
    if not differing:
        return old
    return _follow(old, differing, first=previous is None)


def _same(first: Resource | None, second: Resource | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.version == second.version


def _follow(old: Collection, changes: Mapping[str, Resource | None], *, first: bool) -> Collection:
    """Return the collection that follows ``old``; None stands for a resource that is gone."""
    digest = old.digest
    resources = dict(old.resources)
    for name, made in changes.items():
        gone = resources.pop(name, None) if made is None or name not in resources else resources[name]
        digest += (_weight(made) if made is not None else 0) - (_weight(gone) if gone is not None else 0)
        if made is not None:
            resources[name] = made
    digest %= DIGEST_RANGE
    if any(name not in old.resources for name in changes):
        resources = dict(sorted(resources.items()))
    history = () if first else ((old.version, frozenset(changes)), *old.history)[:HISTORY_PUSHES]
    while sum(len(names) for _, names in history[1:]) > HISTORY_NAMES:
        history = history[:-1]
    return Collection(MappingProxyType(resources), _version(digest), digest, history)


DIGEST_RANGE = 2**256


def _weight(resource: Resource) -> int:
    """Hash one name and version. The sum of such hashes says which are in a collection, in whatever order they came."""
    raw = f"{len(resource.name)}:{resource.name}{resource.version}".encode()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=32).digest(), "big")


def _version(digest: int) -> str:
    return content_version(digest.to_bytes(32, "big"))


EMPTY_COLLECTION = Collection(MappingProxyType({}), _version(0), 0)
