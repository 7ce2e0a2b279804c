"""A source that is not heard grows old, on time, and becomes young again only by a full listing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.freshness import Freshness, FreshnessLimits
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.events import OriginReport, SourceListed, SourceState, SourceSuspected
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort

LIMITS = FreshnessLimits(stale_after_s=10, expire_after_s=30)
KEY = ServiceKey("d", "one")
UP, DOWN, OFF = Presence.UP, Presence.UNHEALTHY, Presence.OFFLINE


def report(**presences: Presence) -> OriginReport:
    endpoints = tuple(
        EndpointClaim("http", "10.0.0.1", int(name[1:]), presence=presence) for name, presence in presences.items()
    )
    return OriginReport((ServiceClaim(KEY, (ServicePort("http", 80, "HTTP"),), endpoints),))


def catalog(**sources: OriginReport) -> Catalog:
    made = Catalog(list(sources), dict.fromkeys(sources, SourceLimits(freshness=LIMITS)))
    for name, one in sources.items():
        made.apply(SourceListed(name, {"x": one}), 0.0)
    return made


def published(one: Catalog) -> list[int] | None:
    one.take_changes(100)
    merged = one.services.get(KEY)
    return None if merged is None else sorted(port for workload in merged.workloads for _, port in workload.ports)


def test_the_states_follow_each_other_on_time() -> None:
    one = Freshness(LIMITS)
    assert one.next_change() is None
    one.listed(5)
    one.suspected("gone", 100)
    one.suspected("still gone", 105)
    assert (one.state, one.reason, one.next_change()) == (SourceState.SUSPECT, "still gone", 110)
    assert not one.tick(109.9)
    assert one.tick(110)
    assert (one.state, one.since, one.next_change()) == (SourceState.STALE, 110, 130)
    one.suspected("gone for good", 120)
    assert one.tick(500)
    assert (one.state, one.since, one.next_change()) == (SourceState.EXPIRED, 130, None)
    assert one.listed(600)
    assert one.state is SourceState.LIVE


def test_a_late_tick_passes_through_all_states() -> None:
    one = Freshness(LIMITS)
    one.listed(0)
    one.suspected("gone", 1)
    assert one.tick(1000)
    assert one.state is SourceState.EXPIRED


def test_zero_means_never_expired() -> None:
    one = Freshness(FreshnessLimits(10, 0))
    one.listed(0)
    one.suspected("gone", 1)
    one.tick(1e9)
    assert one.state is SourceState.STALE
    assert one.next_change() is None


def test_restored_claims_are_as_old_as_they_were() -> None:
    one = Freshness(LIMITS)
    one.restored(8, 100)
    assert (one.state, one.next_change()) == (SourceState.SYNCING, 102)
    one.tick(102)
    assert one.state is SourceState.STALE


def test_a_stale_source_yields_to_a_live_one_in_both_directions() -> None:
    one = catalog(a=report(p1=UP, p2=OFF, p3=UP), b=report(p1=DOWN, p2=UP))
    assert published(one) == [1, 3]
    one.apply(SourceSuspected("a", "gone"), 1.0)
    assert published(one) == [1, 3]
    one.tick(11.0)
    assert published(one) == [2, 3]
    one.apply(SourceListed("a", {"x": report(p1=UP, p2=OFF, p3=UP)}), 12.0)
    assert published(one) == [1, 3]


def test_an_expired_source_counts_for_nothing() -> None:
    one = catalog(a=report(p1=UP), b=report(p2=UP))
    one.apply(SourceSuspected("a", "gone"), 1.0)
    one.apply(SourceSuspected("b", "gone"), 1.0)
    one.tick(31.0)
    assert published(one) is None
    assert one.claims(KEY) == []
    one.apply(SourceListed("b", {"x": report(p2=UP)}), 40.0)
    assert published(one) == [2]


steps = st.lists(st.tuples(st.sampled_from(["suspect", "list", "tick"]), st.floats(0, 40)), max_size=20)


@given(steps)
def test_nothing_is_kept_longer_than_the_limit_and_a_live_source_loses_nothing(story: list[tuple[str, float]]) -> None:
    one, now, heard = catalog(a=report(p1=UP)), 0.0, 0.0
    suspected = False
    for step, gap in story:
        now += gap
        due = one.next_tick()
        while due is not None and due <= now:
            one.tick(due)
            due = one.next_tick()
        if step == "suspect":
            one.apply(SourceSuspected("a", "gone"), now)
            heard, suspected = (heard, True) if suspected else (now, True)
        elif step == "list":
            one.apply(SourceListed("a", {"x": report(p1=UP)}), now)
            suspected = False
        if not suspected or now - heard < LIMITS.expire_after_s - 1e-6:
            assert published(one) == [1]
        elif now - heard > LIMITS.expire_after_s + 1e-6:
            assert published(one) is None
