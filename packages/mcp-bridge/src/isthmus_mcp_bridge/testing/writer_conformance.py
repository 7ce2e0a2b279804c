"""What every registry that can be written must do, whatever it is: subclass, give it a ``subject`` fixture, run by pytest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from isthmus_mcp_bridge.backsync.layouts import Layout, folder
from isthmus_mcp_bridge.backsync.leadership import Leadership
from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.backsync.write_back import wanted_of
from isthmus_mcp_bridge.backsync.writer import Writer, WriterSettings
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.show import Show, mesh_else_native
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.model import InstanceKey, Offer, Registered, SdkService, registered
from isthmus_mcp_bridge.testing.eventually import eventually

INTERFACE = "com.x.Foo"
CLUSTER = "here"
MESH, NATIVE = Address("10.0.0.1", 12200), Address("10.0.0.1", 20880)


class WritableSubject(Protocol):
    """A registry under test, empty at first. Actions are those of others than the writers."""

    layout: Layout
    root: str

    def store(self) -> EntryStore:
        """A new client."""
        ...

    async def names(self, place: str) -> frozenset[str]:
        """What stands in a folder."""
        ...

    async def put(self, place: str, name: str, data: bytes) -> None:
        """An SDK registers something."""
        ...

    async def read(self, place: str, name: str) -> tuple[bytes, int]:
        """An entry's data, and something that differs when it was written again."""
        ...

    async def remove(self, place: str, name: str) -> None:
        """An SDK takes back what it has registered."""
        ...

    async def lose_session(self, store: EntryStore) -> None:
        """The client's session ends, and it gets another one."""
        ...


def held(layout: Layout, epoch: int, *, up: tuple[bool, bool] = (True, True), weight: str = "100") -> Registered:
    """The instance that the suite writes."""
    protocol = min(layout.protocols)
    key = InstanceKey(SdkService(protocol, INTERFACE, version="1.0"), str(NATIVE))
    offer = Offer(key, MESH, NATIVE, "shop", (("weight", weight),))
    return registered(offer, ServiceKey("default", "com.x.foo"), up=up, epoch=epoch)


class Hand:
    """A writer that runs, with the client that it has."""

    def __init__(self, subject: WritableSubject, overlap_s: float = 0.0, writes_per_s: float = 1000.0) -> None:
        loop = asyncio.get_running_loop()
        self.subject = subject
        self.store = subject.store()
        settings = WriterSettings("it", subject.root, CLUSTER, overlap_s, writes_per_s)
        self.writer = Writer(settings, subject.layout, self.store, loop.time, lambda: 0.5)
        self.outdone: list[int] = []
        self.writer.outdone = lambda _key, epoch: self.outdone.append(epoch)

    def want(self, one: Registered, show: Show = mesh_else_native) -> None:
        """The instance is held like this, and consumers shall be shown this of it."""
        self.writer.want(one.key, wanted_of(one, show, self.subject.layout, CLUSTER))

    def leave(self, one: Registered) -> None:
        """The instance is held no more."""
        self.writer.want(one.key, None)


@contextlib.asynccontextmanager
async def running(hand: Hand) -> AsyncIterator[Hand]:
    """Run the writer for the length of the block; one that ends by itself fails the test."""
    task = asyncio.create_task(hand.writer.run())
    try:
        yield hand
        if task.done():
            task.result()
            raise AssertionError("the writer ended by itself")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class WriterConformance:
    """The suite."""

    async def stands(self, subject: WritableSubject, *expected: tuple[Address, int]) -> None:
        """Wait until the marked entries have these addresses and epochs."""
        found: list[tuple[Address, int]] = []

        async def look() -> bool:
            names = await subject.names(folder(subject.root, INTERFACE))
            entries = [subject.layout.read(name, INTERFACE) for name in names]
            found[:] = sorted((one.address, one.marks.epoch) for one in entries if one is not None and one.marks)
            return found == sorted(expected)

        for _ in range(1200):
            if await look():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{found} stand there, expected were {expected}")

    async def test_an_instance_is_written_changed_and_withdrawn(self, subject: WritableSubject) -> None:
        """An entry follows its instance, and goes with its writer."""
        async with running(Hand(subject)) as hand:
            hand.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            hand.want(held(subject.layout, 1, weight="50"))
            await eventually(lambda: hand.writer.counts.deleted == 1, hand.writer.status)
            await self.stands(subject, (MESH, 1))
            hand.leave(held(subject.layout, 1))
            await self.stands(subject)
            hand.want(held(subject.layout, 2))
            await self.stands(subject, (MESH, 2))
        await self.stands(subject)

    async def test_a_changed_address_stays_for_the_overlap(self, subject: WritableSubject) -> None:
        """The new one is written first; both are valid for a while."""
        async with running(Hand(subject, overlap_s=0.3)) as hand:
            hand.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            hand.want(held(subject.layout, 1), lambda _: (NATIVE,))
            await self.stands(subject, (MESH, 1), (NATIVE, 1))
            await self.stands(subject, (NATIVE, 1))

    async def test_an_address_that_is_down_is_replaced_at_once(self, subject: WritableSubject) -> None:
        """In one transaction, whatever the overlap."""
        async with running(Hand(subject, overlap_s=3600.0)) as hand:
            hand.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            hand.want(held(subject.layout, 1, up=(True, False)))
            await self.stands(subject, (NATIVE, 1))
            hand.want(held(subject.layout, 1, up=(False, False)))
            await self.stands(subject)
            assert (hand.writer.counts.created, hand.writer.counts.deleted) == (2, 2)

    async def test_a_greater_epoch_takes_over_and_the_smaller_one_stands_back(self, subject: WritableSubject) -> None:
        """Two replicas, one instance: the sidecar has moved."""
        async with running(Hand(subject)) as first, running(Hand(subject)) as second:
            first.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            second.want(held(subject.layout, 2))
            await self.stands(subject, (MESH, 2))
            await eventually(lambda: first.outdone == [2], first.writer.status)
            assert second.writer.counts.created == 1
            first.want(held(subject.layout, 1))
            await eventually(lambda: first.outdone == [2, 2], first.writer.status)
            assert first.writer.counts.created == 1
            await self.stands(subject, (MESH, 2))

    async def test_foreign_entries_are_never_touched(self, subject: WritableSubject) -> None:
        """An address that an SDK has registered is not written, and is written when the SDK takes it back."""
        place = folder(subject.root, INTERFACE)
        scheme = min(subject.layout.protocols)
        same = f"{scheme}%3A%2F%2F{MESH.host}%3A{MESH.port}%2F{INTERFACE}%3Fversion%3D1.0"
        other = f"{scheme}%3A%2F%2F10.9.9.9%3A1%2F{INTERFACE}%3Fversion%3D1.0"
        for name in (same, other, "no-url"):
            await subject.put(place, name, b"theirs")
        before = [await subject.read(place, name) for name in (same, other, "no-url")]
        async with running(Hand(subject)) as hand:
            hand.want(held(subject.layout, 1))
            await eventually(lambda: hand.writer.status()["registered_by_others"], hand.writer.status)
            await self.stands(subject)
            hand.want(held(subject.layout, 1, up=(True, False)))
            await self.stands(subject, (NATIVE, 1))
            hand.leave(held(subject.layout, 1))
            await self.stands(subject)
            assert [await subject.read(place, name) for name in (same, other, "no-url")] == before
            hand.want(held(subject.layout, 1))
            await subject.remove(place, same)
            await self.stands(subject, (MESH, 1))
            assert await subject.read(place, other) == before[1]

    async def test_after_a_lost_session_everything_is_written_again(self, subject: WritableSubject) -> None:
        """What belonged to the session is gone; what is wanted is written by the next one."""
        async with running(Hand(subject)) as hand:
            hand.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            await subject.lose_session(hand.store)
            await eventually(lambda: hand.writer.counts.created == 2, hand.writer.status)
            await self.stands(subject, (MESH, 1))

    async def test_a_lock_has_one_holder_and_growing_epochs(self, subject: WritableSubject) -> None:
        """Who resigns is followed by another one, with a greater epoch."""
        told: list[int | None] = []
        first = Leadership(subject.store(), f"{subject.root}-lock", lambda: 0.5)
        second = Leadership(subject.store(), f"{subject.root}-lock", lambda: 0.5)
        second.led = told.append
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(first.run())]
            await eventually(lambda: first.epoch, lambda: first.epoch)
            epoch = first.epoch or 0
            tasks.append(group.create_task(second.run()))
            await asyncio.sleep(0.1)
            assert (told, first.epoch) == ([], epoch)
            first.resign()
            await eventually(lambda: (second.epoch or 0) > epoch, lambda: second.epoch)
            assert first.epoch is None
            for task in tasks:
                task.cancel()
        assert told == [told[0], None]
