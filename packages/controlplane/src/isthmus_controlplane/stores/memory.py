"""A store in memory: for trying things out and for tests; its content ends with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from isthmus_controlplane.stores.base import (
    ConfigObject,
    ObjectKey,
    Publish,
    StoreState,
    check_expected,
    keep_identity,
)


class MemoryStore:
    """Implements `isthmus_controlplane.stores.base.WritableStore`."""

    def __init__(self, source: str = "memory:") -> None:
        self.source = source
        self._objects: Mapping[ObjectKey, ConfigObject] = MappingProxyType({})
        self._publish: Publish | None = None

    async def run(self, publish: Publish) -> None:
        """Publish the state, and again on every change, until cancelled."""
        self._publish = publish
        self._changed(self._objects)
        try:
            await asyncio.Event().wait()
        finally:
            self._publish = None

    async def apply(self, objects: Sequence[ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
        """See `WritableStore.apply`."""
        check_expected(self._objects, expected)
        self._changed({**self._objects, **{obj.key: obj for obj in objects}})

    async def delete(self, key: ObjectKey) -> None:
        """See `WritableStore.delete`."""
        if key not in self._objects:
            raise KeyError(key)
        self._changed({held: obj for held, obj in self._objects.items() if held != key})

    def _changed(self, objects: Mapping[ObjectKey, ConfigObject]) -> None:
        self._objects = keep_identity(self._objects, objects)
        if self._publish is not None:
            self._publish(StoreState(self.source, synced=True, objects=self._objects))
