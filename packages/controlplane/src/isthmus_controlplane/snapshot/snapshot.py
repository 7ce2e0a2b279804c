"""Immutable snapshots: everything one scope of clients gets, versioned per type and per resource."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from isthmus_controlplane.snapshot.resource import Resource, ResourcePool, content_version
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE

Messages = Mapping[str, Mapping[str, Message]]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """All resources of one type.

    Attributes:
        resources: by name, sorted.
        version: hash over the names and versions.
        base: version of the collection that `changed` was computed against, None for the first.
        changed: names added, changed or removed since `base`; what a client in step with `base` has to be told.
    """

    resources: Mapping[str, Resource]
    version: str
    base: str | None = None
    changed: frozenset[str] = frozenset()


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


def build(messages: Messages, previous: Snapshot | None = None, pool: ResourcePool | None = None) -> Snapshot:
    """Build a snapshot.

    Messages must not be changed afterwards: one that is the same object as in ``previous`` counts as unchanged.

    Args:
        messages: resources per type URL and name.
        previous: the snapshot that this one follows; what did not change is taken from it.
        pool: where resources of equal content are found; give one pool to all scopes so that they share bytes.
    """
    pool = pool if pool is not None else ResourcePool()
    type_urls = {*messages, *(previous.collections if previous else ())}
    collections = {
        type_url: _collection(type_url, messages.get(type_url, {}), previous, pool) for type_url in sorted(type_urls)
    }
    if previous is not None and all(previous.collections.get(url) is made for url, made in collections.items()):
        return dataclasses.replace(previous, sources=messages)
    version = _hash_pairs((type_url, made.version) for type_url, made in collections.items())
    return Snapshot(MappingProxyType(collections), version, messages)


def _collection(
    type_url: str, messages: Mapping[str, Message], previous: Snapshot | None, pool: ResourcePool
) -> Collection:
    old = previous.collections.get(type_url) if previous else None
    old_resources = old.resources if old else {}
    old_messages = previous.sources.get(type_url, {}) if previous else {}
    resources = {
        name: old_resources[name]
        if name in old_resources and old_messages.get(name) is messages[name]
        else pool.shared(type_url, name, messages[name])
        for name in sorted(messages)
    }
    changed = _changed(old_resources, resources)
    if old is not None and not changed:
        return old
    version = _hash_pairs((name, resource.version) for name, resource in resources.items())
    return Collection(MappingProxyType(resources), version, old.version if old else None, changed)


def _changed(old: Mapping[str, Resource], new: Mapping[str, Resource]) -> frozenset[str]:
    gone = (name for name in old if name not in new)
    return frozenset((*gone, *(n for n, made in new.items() if n not in old or old[n].version != made.version)))


def _hash_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return content_version(*(text.encode() for pair in pairs for text in pair))


EMPTY_COLLECTION = Collection(MappingProxyType({}), _hash_pairs(()))
