from __future__ import annotations

import asyncio
from urllib.parse import quote_plus

import pytest

from isthmus_mcp_bridge.events import OriginChanged, SourceListed, SourceState
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.client import Children, ZooKeeperFault
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry
from isthmus_mcp_bridge.testing.fake_zookeeper import FakeClient, FakeZooKeeper
from isthmus_mcp_bridge.testing.follower import Follower, follow

pytestmark = pytest.mark.asyncio


def registry(server: FakeZooKeeper, resync_interval_s: float = 300) -> ZooKeeperRegistry:
    directory = Directory("zoo", NamingRule(), {})
    return ZooKeeperRegistry("zoo", "/dubbo", server.client, directory, Pace(resync_interval_s), lambda: 0.5)


def node(interface: str, url: str, folder: str = "providers") -> str:
    return f"/dubbo/{interface}/{folder}/{quote_plus(url)}"


def live(follower: Follower) -> bool:
    return follower.state is SourceState.LIVE


def shop() -> FakeZooKeeper:
    server = FakeZooKeeper()
    server.create(node("reviews", "rest://10.0.0.1:1/reviews"))
    server.create(node("ratings", "rest://10.0.0.1:2/ratings"))
    return server


async def test_an_expired_session_wipes_nothing_and_nothing_is_missed() -> None:
    server = shop()
    async with follow(registry(server)) as follower:
        await follower.until(live)
        server.partition()
        server.delete("/dubbo/ratings")
        server.heal()
        await follower.until(lambda one: live(one) and list(one.published) == ["reviews"])
        assert [type(event) for event in follower.events].count(SourceListed) == 2
        assert not any(isinstance(event, OriginChanged) for event in follower.events)


async def test_an_interruption_that_was_over_before_it_was_noticed_is_not_overlooked() -> None:
    server = shop()
    async with follow(registry(server)) as follower:
        await follower.until(live)
        server.create(node("reviews", "rest://10.0.0.1:9/reviews"))
        server.partition()
        server.delete("/dubbo/ratings")
        server.heal()
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:1", "10.0.0.1:9"]})


async def test_a_root_that_vanishes_takes_nothing_with_it() -> None:
    server = shop()
    async with follow(registry(server)) as follower:
        await follower.until(live)
        before = follower.published
        server.delete("/dubbo")
        await follower.until(lambda one: one.state is SourceState.SUSPECT)
        assert "/dubbo does not exist" in follower.catalog.sources["zoo"].reason
        assert follower.published == before
        server.create(node("details", "rest://10.0.0.1:3/details"))
        await follower.until(lambda one: live(one) and list(one.published) == ["details"])


async def test_only_what_changed_is_reported() -> None:
    server = shop()
    async with follow(registry(server)) as follower:
        await follower.until(live)
        server.create(node("reviews", "rest://10.0.0.1:9/reviews"))
        await follower.until(lambda one: one.published["reviews"] == ["10.0.0.1:1", "10.0.0.1:9"])
        changes = [event.origin for event in follower.events if isinstance(event, OriginChanged)]
        assert changes == ["/dubbo/reviews"]


async def test_configurators_are_watched() -> None:
    server = shop()
    async with follow(registry(server)) as follower:
        await follower.until(live)
        path = node("reviews", "override://10.0.0.1/reviews?disabled=true", "configurators")
        server.create(path)
        await follower.until(lambda one: one.published["reviews"] == [])
        server.delete(path)
        await follower.until(lambda one: one.published["reviews"] == ["10.0.0.1:1"])


async def test_interfaces_without_providers_are_watched_for_them() -> None:
    server = shop()
    server.create("/dubbo/details/consumers")
    async with follow(registry(server)) as follower:
        await follower.until(live)
        assert "details" not in follower.published
        server.create(node("details", "rest://10.0.0.1:3/details"))
        await follower.until(lambda one: "details" in one.published)


async def test_a_lost_watch_is_repaired_by_the_next_listing() -> None:
    server = shop()
    async with follow(registry(server, resync_interval_s=0.05)) as follower:
        await follower.until(live)
        server.forget_watches()
        server.create(node("reviews", "rest://10.0.0.1:9/reviews"))
        await follower.until(lambda one: one.published["reviews"] == ["10.0.0.1:1", "10.0.0.1:9"])


async def test_config_mapping_and_metadata_are_no_interfaces() -> None:
    server = shop()
    for name in ("config", "mapping", "metadata"):
        server.create(node(name, "rest://10.0.0.1:3/x"))
    async with follow(registry(server)) as follower:
        await follower.until(live)
        assert sorted(follower.published) == ["ratings", "reviews"]


class Flaky(FakeClient):
    """A client whose reads fail a number of times."""

    failures = 3

    async def children(self, path: str) -> Children | None:
        if path.endswith("/providers") and self.failures:
            self.failures -= 1
            raise ZooKeeperFault("session expired while listing")
        return await super().children(path)


async def test_a_fault_in_the_middle_of_a_listing_is_no_listing() -> None:
    server = shop()

    def connect(handover: HandOver) -> Flaky:
        return Flaky(server, handover)

    directory = Directory("zoo", NamingRule(), {})
    subject = ZooKeeperRegistry("zoo", "/dubbo", connect, directory, Pace(), lambda: 0.999)
    async with follow(subject) as follower:
        await follower.until(lambda one: "expired" in one.catalog.sources["zoo"].reason)
        assert follower.published == {}
        await follower.until(lambda one: live(one) and sorted(one.published) == ["ratings", "reviews"])


async def test_the_handover_coalesces_and_is_bounded() -> None:
    handover = HandOver(limit=2)
    for path in ("a", "a", "b", "a"):
        handover.path_changed(path)
    notices = await handover.wait(5)
    assert notices.paths == {"a", "b"}
    assert not notices.overflowed
    for path in ("a", "b", "c", "d"):
        handover.path_changed(path)
    notices = await handover.wait(5)
    assert notices.overflowed
    assert handover.overflows == 1
    assert (await handover.wait(0)).paths == frozenset()


async def test_the_handover_remembers_an_interruption_that_is_over() -> None:
    handover = HandOver()
    handover.connection_changed(connected=True)
    assert not (await handover.wait(5)).interrupted
    handover.connection_changed(connected=False)
    handover.connection_changed(connected=True)
    notices = await handover.wait(5)
    assert notices.connected
    assert notices.interrupted
    assert not (await handover.wait(0)).interrupted


async def test_the_handover_takes_notices_from_any_thread() -> None:
    handover = HandOver()
    names = {str(number) for number in range(100)}
    await asyncio.gather(*(asyncio.to_thread(handover.path_changed, name) for name in names))
    seen: set[str] = set()
    while seen != names:
        seen |= (await handover.wait(5)).paths


async def test_a_burst_beyond_the_bound_ends_in_a_listing() -> None:
    server = shop()
    directory = Directory("zoo", NamingRule(), {})
    subject = ZooKeeperRegistry("zoo", "/dubbo", server.client, directory, Pace(max_notices=1), lambda: 0.5)
    async with follow(subject) as follower:
        await follower.until(live)
        server.create(node("reviews", "rest://10.0.0.1:7/reviews"))
        server.create(node("ratings", "rest://10.0.0.1:8/ratings"))
        both = {"reviews": ["10.0.0.1:1", "10.0.0.1:7"], "ratings": ["10.0.0.1:2", "10.0.0.1:8"]}
        await follower.until(lambda one: one.published == both)
        assert [type(event) for event in follower.events].count(SourceListed) == 2
