"""The interface of stores and the values that cross it.

A store publishes its whole state each time something changed. States are immutable, and objects that did not change keep
their identity, so that a reader can find the difference by comparing references.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from google.protobuf.message import Message

from isthmus_controlplane.errors import ControlPlaneError

VERSION_HEX_DIGITS = 16


class ObjectKey(NamedTuple):
    """Names one object: ``kind`` as in Istio's YAML (``VirtualService``), with namespace and name of its metadata."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigObject:
    """One user object that passed the schema check.

    Attributes:
        key: kind, namespace and name.
        spec: the ``istio.networking.v1alpha3`` message; treated as immutable by everyone.
        labels: ``metadata.labels``.
        annotations: ``metadata.annotations``.
        create_time: seconds since the epoch, None when the source does not say.
        version: hash of the content, the same on every replica and after every restart (see `content_version`).
        origin: where it was read, for messages: ``conf/reviews.yaml#2`` or ``xds://127.0.0.1:15020``.
    """

    key: ObjectKey
    spec: Message
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    create_time: float | None
    version: str
    origin: str


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something a user has to mend.

    Attributes:
        origin: file and document, or the address of the source, or the object's key.
        path: field path inside it, such as ``spec.http[0].route[1].destination.subset``; empty for the whole.
        message: what is wrong, with the value, and what to do about it.
    """

    origin: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.path}: {self.message}" if self.path else f"{self.origin}: {self.message}"


@dataclasses.dataclass(frozen=True, slots=True)
class StoreState:
    """Everything a store knows at one moment.

    Attributes:
        source: the store's name, as given on the command line (``dir:conf``, ``xds://127.0.0.1:15020``).
        synced: whether the source was read whole at least once; stays true when it is lost later.
        objects: all good objects by key; read-only.
        problems: what was refused, sorted.
    """

    source: str
    synced: bool
    objects: Mapping[ObjectKey, ConfigObject]
    problems: tuple[Problem, ...] = ()


Publish = Callable[[StoreState], None]


class Store(Protocol):
    """A source of configuration."""

    source: str

    async def run(self, publish: Publish) -> None:
        """Run until cancelled; call ``publish`` with a full state after the first read and after every change."""
        ...


class ConflictError(ControlPlaneError):
    """An object was changed by someone else since the caller read it."""


@runtime_checkable
class WritableStore(Protocol):
    """A store that also takes objects from the configuration API."""

    source: str

    async def run(self, publish: Publish) -> None:
        """See `Store.run`."""
        ...

    async def apply(self, objects: Sequence[ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
        """Write all objects or none.

        Args:
            objects: validated objects to create or replace.
            expected: for the keys it holds, the version the caller has seen (None: must not exist yet).

        Raises:
            ConflictError: a version is not the one expected.
            StoreError: the objects cannot be written.
        """
        ...

    async def delete(self, key: ObjectKey) -> None:
        """Remove one object.

        Raises:
            KeyError: this store does not hold it.
            StoreError: it cannot be removed.
        """
        ...


def content_version(key: ObjectKey, spec: Message, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Hash the content of an object: equal content gives equal text everywhere."""
    digest = hashlib.sha256()
    parts = [*key, *(text for pairs in (labels, annotations) for pair in sorted(pairs.items()) for text in pair)]
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    digest.update(spec.SerializeToString(deterministic=True))
    return digest.hexdigest()[:VERSION_HEX_DIGITS]


def config_object(
    key: ObjectKey,
    spec: Message,
    *,
    origin: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    create_time: float | None = None,
) -> ConfigObject:
    """Build a `ConfigObject` and compute its version."""
    labels = MappingProxyType(dict(labels or {}))
    annotations = MappingProxyType(dict(annotations or {}))
    version = content_version(key, spec, labels, annotations)
    return ConfigObject(key, spec, labels, annotations, create_time, version, origin)


def keep_identity(
    old: Mapping[ObjectKey, ConfigObject], new: Mapping[ObjectKey, ConfigObject]
) -> Mapping[ObjectKey, ConfigObject]:
    """Return ``new`` with every object that did not change replaced by the one of ``old``."""
    return MappingProxyType({key: kept if (kept := old.get(key)) == obj else obj for key, obj in new.items()})


def check_expected(held: Mapping[ObjectKey, ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
    """Compare the versions a caller has seen with what is held.

    Raises:
        ConflictError: one of them is another.
    """
    for key, version in expected.items():
        current = held[key].version if key in held else None
        if current != version:
            message = f"{key} is at version {current}, not {version}: read it again and repeat the change"
            raise ConflictError(message)
