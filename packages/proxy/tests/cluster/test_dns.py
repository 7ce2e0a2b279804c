from __future__ import annotations

from typing import Literal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.dns import DnsClusters, resolve_by_system
from isthmus_proxy.cluster.dns_targets import expand, names_of
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints

pytestmark = pytest.mark.trio


class Zone:
    """Names and their addresses; a name that is not there fails. Remembers when it was asked."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked: list[tuple[float, str, str]] = []

    async def resolve(self, name: str, family: str) -> list[str]:
        self.asked.append((trio.current_time(), name, family))
        await trio.lowlevel.checkpoint()
        if name not in self.addresses:
            raise OSError("no such name")
        return self.addresses[name]


def dns_cluster(discovery: Literal["STRICT_DNS", "LOGICAL_DNS"] = "STRICT_DNS", *hosts: str) -> ClusterConfig:
    endpoints = tuple(EndpointConfig(host, 80) for host in hosts or ("web",))
    assignment = Assignment("web", (LocalityEndpoints(endpoints),))
    return ClusterConfig(
        "web", discovery, assignment=assignment, dns_refresh_rate=5.0, dns_failure_refresh_rate=(1.0, 4.0)
    )


def hosts(manager: ClusterManager) -> list[str]:
    cluster = manager.get("web")
    return [] if cluster is None else [host for host, _ in cluster.endpoints]


async def test_strict_dns_takes_all_addresses_and_follows_changes(
    manager: ClusterManager, autojump_clock: MockClock
) -> None:
    zone = Zone(web=["10.0.0.1", "10.0.0.2"])
    manager.add_or_update(dns_cluster())
    dns = DnsClusters(manager, lambda: 0.5, zone.resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        assert hosts(manager) == ["10.0.0.1", "10.0.0.2"]
        zone.addresses["web"] = ["10.0.0.2", "10.0.0.3"]
        await trio.sleep(5.5)
        assert hosts(manager) == ["10.0.0.2", "10.0.0.3"]
        nursery.cancel_scope.cancel()


async def test_logical_dns_makes_one_endpoint_of_all_addresses(
    manager: ClusterManager, autojump_clock: MockClock
) -> None:
    zone = Zone(web=["10.0.0.1", "10.0.0.2"])
    manager.add_or_update(dns_cluster("LOGICAL_DNS"))
    dns = DnsClusters(manager, lambda: 0.5, zone.resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        assert hosts(manager) == ["10.0.0.1"]
        cluster = manager.get("web")
        assert cluster is not None
        (endpoint,) = cluster.endpoints.values()
        assert endpoint.config.additional_addresses == (("10.0.0.2", 80),)
        nursery.cancel_scope.cancel()


async def test_a_failure_keeps_the_last_addresses_and_backs_off(
    manager: ClusterManager, autojump_clock: MockClock
) -> None:
    zone = Zone(web=["10.0.0.1"])
    manager.add_or_update(dns_cluster())
    cluster = manager.get("web")
    assert cluster is not None
    dns = DnsClusters(manager, lambda: 1.0 - 2**-53, zone.resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        del zone.addresses["web"]
        await trio.sleep(17)
        times = [round(at - zone.asked[0][0]) for at, _, _ in zone.asked]
        assert times == [0, 5, 6, 8, 12, 16]  # 5 s when well, then 1, 2, 4, 4
        assert hosts(manager) == ["10.0.0.1"]
        assert cluster.stats.update_failure.value == 5
        assert cluster.stats.update_success.value == 1
        nursery.cancel_scope.cancel()


async def test_a_failing_name_does_not_take_the_others_along(
    manager: ClusterManager, autojump_clock: MockClock
) -> None:
    manager.add_or_update(dns_cluster("STRICT_DNS", "gone", "web", "127.0.0.1"))
    dns = DnsClusters(manager, lambda: 0.5, Zone(web=["10.0.0.1"]).resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        assert hosts(manager) == ["10.0.0.1", "127.0.0.1"]
        nursery.cancel_scope.cancel()


async def test_clusters_that_come_and_go_later(manager: ClusterManager, autojump_clock: MockClock) -> None:
    zone = Zone(web=["10.0.0.1"])
    dns = DnsClusters(manager, lambda: 0.5, zone.resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        manager.add_or_update(dns_cluster())
        await dns.wait_resolved()
        assert hosts(manager) == ["10.0.0.1"]
        manager.remove("web")
        await wait_all_tasks_blocked()
        asked = len(zone.asked)
        await trio.sleep(60)
        assert len(zone.asked) == asked
        nursery.cancel_scope.cancel()


async def test_a_hanging_lookup_ends(manager: ClusterManager, autojump_clock: MockClock) -> None:
    async def hang(name: str, family: str) -> list[str]:
        await trio.sleep(float("inf"))
        return []

    manager.add_or_update(dns_cluster())
    dns = DnsClusters(manager, lambda: 0.5, hang)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        assert hosts(manager) == []
        nursery.cancel_scope.cancel()


async def test_literals_need_no_lookup(manager: ClusterManager, autojump_clock: MockClock) -> None:
    zone = Zone()
    manager.add_or_update(dns_cluster("STRICT_DNS", "127.0.0.1"))
    dns = DnsClusters(manager, lambda: 0.5, zone.resolve)
    async with trio.open_nursery() as nursery:
        await nursery.start(dns.run)
        await dns.wait_resolved()
        assert hosts(manager) == ["127.0.0.1"]
        assert zone.asked == []
        nursery.cancel_scope.cancel()


async def test_the_system_knows_localhost() -> None:
    assert await resolve_by_system("localhost", "V4_ONLY") == ["127.0.0.1"]
    assert await resolve_by_system("localhost", "V4_PREFERRED") == ["127.0.0.1"]
    with pytest.raises(OSError, match=r".+"):
        await resolve_by_system("a" * 64 + ".invalid", "AUTO")


async def test_expansion_keeps_what_the_endpoint_says() -> None:
    config = dns_cluster()
    expanded = expand(config, {"web": ["10.0.0.1"]})
    assert expanded.localities[0].endpoints == (EndpointConfig("10.0.0.1", 80, hostname="web"),)
    assert names_of(config.assignment or Assignment("")) == ["web"]
    assert expand(config, {}).localities[0].endpoints == ()
