"""What every registry adapter must do, whatever the registry: subclass, give it a ``subject`` fixture, run by pytest.

The subject is the registry with the means to change what it holds. A service has one HTTP port; an instance is
``(address, port)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.testing.follower import Follower, follow

Instance = tuple[str, int]
A: Instance = ("10.0.0.1", 8001)
B: Instance = ("10.0.0.2", 8002)


class Subject(Protocol):
    """A registry under test."""

    def adapter(self) -> Registry:
        """A new adapter for the registry; several may follow it at once."""
        ...

    async def establish(self) -> None:
        """Make the registry exist, empty, if it does not."""
        ...

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        """Make the service have exactly these instances, those in ``offline`` explicitly taken out of service."""
        ...

    async def remove(self, host: str) -> None:
        """Remove the service with all its instances."""
        ...

    async def spoil(self, spoilt: bool) -> str:
        """Put an entry that no adapter could use next to the services, or remove it. Returns a part of it."""
        ...

    async def interrupt(self) -> None:
        """Make the registry unreachable; it may be changed meanwhile."""
        ...

    async def restore(self) -> None:
        """Make it reachable again."""
        ...


class RegistryConformance:
    """The suite. Each test leaves the subject as it is: the fixture makes a new one."""

    async def test_lists_what_is_there(self, subject: Subject) -> None:
        """An adapter that starts late learns everything and is LIVE."""
        await subject.establish()
        await subject.put("reviews", [A, B])
        await subject.put("ratings", [A])
        async with follow(subject.adapter()) as follower:
            await follower.until(_live)
            assert follower.published == {"reviews": ["10.0.0.1:8001", "10.0.0.2:8002"], "ratings": ["10.0.0.1:8001"]}

    async def test_waits_for_a_registry_that_does_not_exist_yet(self, subject: Subject) -> None:
        """Absence is no listing: the source stays SYNCING until there is something to list."""
        async with follow(subject.adapter()) as follower:
            await follower.until(lambda one: one.events)
            assert follower.state is SourceState.SYNCING
            await subject.establish()
            await subject.put("reviews", [A])
            await follower.until(lambda one: _live(one) and one.published == {"reviews": ["10.0.0.1:8001"]})

    async def test_follows_services_and_instances(self, subject: Subject) -> None:
        """Services and instances come and go."""
        await subject.establish()
        async with follow(subject.adapter()) as follower:
            await follower.until(_live)
            assert follower.published == {}
            await subject.put("reviews", [A])
            await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001"]})
            await subject.put("reviews", [A, B])
            await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001", "10.0.0.2:8002"]})
            await subject.put("ratings", [B])
            await subject.put("reviews", [B])
            both = {"reviews": ["10.0.0.2:8002"], "ratings": ["10.0.0.2:8002"]}
            await follower.until(lambda one: one.published == both)
            await subject.remove("reviews")
            await follower.until(lambda one: one.published == {"ratings": ["10.0.0.2:8002"]})

    async def test_takes_explicitly_disabled_instances_offline(self, subject: Subject) -> None:
        """A disabled instance is still claimed, but not published; enabled again it comes back."""
        await subject.establish()
        await subject.put("reviews", [A, B], offline=[B])
        async with follow(subject.adapter()) as follower:
            await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001"]})
            await subject.put("reviews", [A, B])
            await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:8001", "10.0.0.2:8002"]})

    async def test_reports_an_unusable_entry_and_changes_nothing_else(self, subject: Subject) -> None:
        """The problem names registry, path and value, and goes away with its cause."""
        await subject.establish()
        await subject.put("reviews", [A])
        async with follow(subject.adapter()) as follower:
            await follower.until(_live)
            value = await subject.spoil(spoilt=True)
            await follower.until(lambda one: one.problems)
            problem = follower.problems[0]
            assert problem.registry == follower.name
            assert problem.path
            assert value in problem.value + problem.message
            assert follower.published == {"reviews": ["10.0.0.1:8001"]}
            assert follower.state is SourceState.LIVE
            await subject.put("ratings", [B])
            await follower.until(lambda one: "ratings" in one.published)
            await subject.spoil(spoilt=False)
            await follower.until(lambda one: not one.problems)
            assert follower.published == {"reviews": ["10.0.0.1:8001"], "ratings": ["10.0.0.2:8002"]}

    async def test_keeps_everything_while_the_registry_is_unreachable(self, subject: Subject) -> None:
        """SUSPECT wipes nothing; after the next full listing, what is really gone goes."""
        await subject.establish()
        await subject.put("reviews", [A, B])
        await subject.put("ratings", [A])
        async with follow(subject.adapter()) as follower:
            await follower.until(_live)
            before = follower.published
            await subject.interrupt()
            await follower.until(lambda one: one.state is SourceState.SUSPECT)
            assert follower.published == before
            await subject.remove("ratings")
            await subject.put("reviews", [B])
            await subject.put("details", [A])
            await subject.restore()
            after = {"reviews": ["10.0.0.2:8002"], "details": ["10.0.0.1:8001"]}
            await follower.until(lambda one: _live(one) and one.published == after)

    async def test_goes_on_following_after_an_interruption(self, subject: Subject) -> None:
        """Watches work after the registry came back."""
        await subject.establish()
        await subject.put("reviews", [A])
        async with follow(subject.adapter()) as follower:
            await follower.until(_live)
            await subject.interrupt()
            await follower.until(lambda one: one.state is SourceState.SUSPECT)
            await subject.restore()
            await follower.until(_live)
            await subject.put("reviews", [A, B])
            await subject.put("ratings", [A])
            both = {"reviews": ["10.0.0.1:8001", "10.0.0.2:8002"], "ratings": ["10.0.0.1:8001"]}
            await follower.until(lambda one: one.published == both)

    async def test_two_adapters_report_the_same(self, subject: Subject) -> None:
        """Replicas of the bridge agree: one saw every change, the other only the result."""
        await subject.establish()
        await subject.put("ratings", [B])
        async with follow(subject.adapter()) as first:
            await first.until(_live)
            await subject.put("reviews", [B, A])
            await subject.put("reviews", [A])
            await first.until(lambda one: one.published.get("reviews") == ["10.0.0.1:8001"])
            async with follow(subject.adapter()) as second:
                await second.until(_live)
                assert second.catalog.services == first.catalog.services

    async def test_ends_when_cancelled(self, subject: Subject) -> None:
        """Cancellation ends the adapter, also while the registry cannot be reached."""
        await subject.establish()
        task = asyncio.create_task(subject.adapter().run(lambda _: None))
        await asyncio.sleep(0)
        await subject.interrupt()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        assert task in done
        assert task.cancelled()


def _live(follower: Follower) -> bool:
    return follower.state is SourceState.LIVE
