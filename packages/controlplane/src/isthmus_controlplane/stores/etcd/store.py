"""A store in etcd: list at a revision, watch from the next one, list again when that cannot be continued."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
from collections.abc import Mapping, Sequence

import grpc

from isthmus_controlplane.errors import StoreError
from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.stores.base import ConfigObject, ConflictError, ObjectKey, Publish, StoreState
from isthmus_controlplane.stores.etcd.address import parse_address
from isthmus_controlplane.stores.etcd.client import CompactedError, EtcdClient, Write
from isthmus_controlplane.stores.etcd.mirror import Mirror

log = logging.getLogger(__name__)

FIRST_WAIT_S, MOST_WAIT_S = 0.25, 15.0
# A watch can miss events (compaction during a partition, defects of old servers); a list finds what it missed.
RELIST_EVERY_S = 300.0
MAX_WRITES = 128  # etcd's --max-txn-ops


class EtcdStore:
    """Implements `isthmus_controlplane.stores.base.WritableStore`; objects are JSON at ``PREFIX/KIND/NAMESPACE/NAME``.

    While etcd does not answer, the last state stays, with a problem that says so.
    """

    def __init__(
        self, source: str, *, randomness: random.Random | None = None, relist_every: float = RELIST_EVERY_S
    ) -> None:
        """Prepare a store.

        Args:
            source: ``etcd://HOST:PORT[,HOST:PORT...][/PREFIX]``.
            randomness: source of jitter.
            relist_every: seconds between lists that check what the watch told.

        Raises:
            ConfigError: ``source`` is not such a URL.
        """
        self.source = source
        self._address = parse_address(source)
        self._targets = itertools.cycle(self._address.targets)
        self._target = next(self._targets)
        self._mirror = Mirror(source, self._address.prefix)
        self._random = randomness or random.Random()
        self._relist_every = relist_every
        self._published: StoreState | None = None
        self._failures = 0

    @property
    def drifts(self) -> int:
        """Changes that a list found and the watch had not told."""
        return self._mirror.drifts

    async def run(self, publish: Publish) -> None:
        """Follow etcd until cancelled; see `Store.run`."""
        while True:
            try:
                await self._follow(publish)
                why = "it ended the watch"
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
            self._failures += 1
            self._mirror.disconnected(why)
            self._publish(publish)
            if self._failures == 1:
                log.warning("%s: %s; keeping the last configuration, trying again", self.source, why)
            self._target = next(self._targets)
            bound = min(MOST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 16))
            await asyncio.sleep(bound * self._random.uniform(0.5, 1.0))

    async def _follow(self, publish: Publish) -> None:
        """List, then watch; list again after a compaction and every now and then."""
        async with EtcdClient(self._target) as client:
            while True:
                listed, revision = await client.list(self._address.prefix)
                self._mirror.take_list(listed, revision)
                self._mirror.connected()
                self._failures = 0
                self._publish(publish)
                try:
                    async with asyncio.timeout(self._relist_every * self._random.uniform(0.8, 1.2)):
                        await self._watch(client, publish)
                    return
                except CompactedError:
                    log.warning("%s: revision %d is compacted; listing again", self.source, self._mirror.revision + 1)
                except TimeoutError:
                    continue

    async def _watch(self, client: EtcdClient, publish: Publish) -> None:
        async for response in client.watch(self._address.prefix, self._mirror.revision + 1):
            self._mirror.take_events(response.events, response.revision)
            if response.events:
                self._publish(publish)

    def _publish(self, publish: Publish) -> None:
        state = self._mirror.state()
        if state != self._published:
            self._published = state
            publish(state)

    async def apply(self, objects: Sequence[ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
        """Write all objects in one transaction, or none; see `WritableStore.apply`."""
        if len(objects) > MAX_WRITES:
            raise StoreError(f"{len(objects)} objects at once; etcd takes {MAX_WRITES}: apply them in parts")
        held = self._mirror.state().objects
        for key, version in expected.items():
            current = held[key].version if key in held else None
            if current != version:
                raise ConflictError(
                    f"{key} is at version {current}, not {version}; read it again and repeat the change"
                )
        writes = [
            Write(
                self._mirror.key_of(obj.key),
                json.dumps(to_document(obj), indent=1).encode(),
                self._mirror.revision_of(obj.key),
            )
            for obj in objects
        ]
        await self._write(writes, ", ".join(str(obj.key) for obj in objects))

    async def delete(self, key: ObjectKey) -> None:
        """Delete one object; see `WritableStore.delete`."""
        revision = self._mirror.revision_of(key)
        if not revision:
            raise KeyError(key)
        await self._write([Write(self._mirror.key_of(key), None, revision)], str(key))

    async def _write(self, writes: Sequence[Write], names: str) -> None:
        try:
            async with EtcdClient(self._target) as client:
                done = await client.write(writes)
        except grpc.aio.AioRpcError as error:
            raise StoreError(f"{self.source}: {error.code().name}: {error.details()}; nothing was written") from error
        if not done:
            raise ConflictError(f"somebody else changed {names} meanwhile; read it again and repeat the change")
