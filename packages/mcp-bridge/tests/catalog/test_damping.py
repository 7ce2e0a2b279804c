"""Flapping endpoints: counted, damped for a bounded time, and then shown as they are."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.damping import Damper, DampingLimits, DampingPolicy
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort

KEEP = DampingLimits(half_life_s=10, suppress_above=2.5, reuse_below=1, longest_s=60)
DROP = dataclasses.replace(KEEP, policy=DampingPolicy.DROP)
KEY = ServiceKey("d", "one")


def report(*ports: int, presence: Presence = Presence.UP) -> OriginReport:
    if not ports:
        return OriginReport()
    endpoints = tuple(EndpointClaim("http", "10.0.0.1", port, presence=presence) for port in ports)
    return OriginReport((ServiceClaim(KEY, (ServicePort("http", 80, "HTTP"),), endpoints),))


def catalog(limits: DampingLimits = KEEP) -> Catalog:
    made = Catalog(["a", "b"], {"a": SourceLimits(damping=limits)})
    made.apply(SourceListed("a", {"x": report(1, 2)}), 0.0)
    return made


def say(one: Catalog, now: float, *ports: int) -> list[int] | None:
    one.apply(OriginChanged("a", "x", report(*ports)), now)
    return published(one)


def published(one: Catalog) -> list[int] | None:
    one.take_changes(100)
    merged = one.services.get(KEY)
    return None if merged is None else sorted(port for workload in merged.workloads for _, port in workload.ports)


def flap(one: Catalog) -> None:
    for second in (1, 2):
        assert say(one, second, 1) == [1]
        assert say(one, second + 0.5, 1, 2) == [1, 2]


def test_an_endpoint_that_flaps_stays_as_it_last_was_for_long() -> None:
    one = catalog()
    flap(one)
    assert say(one, 3, 1) == [1, 2]
    assert one.sources["a"].damper.damped_of(("x", KEY)).keys() == {("", "10.0.0.1", 2)}
    assert say(one, 3.5, 1, 2) == [1, 2]
    assert say(one, 4, 1) == [1, 2]
    one.tick(5)
    assert published(one) == [1, 2]
    one.tick(63)
    assert published(one) == [1]


def test_with_the_policy_drop_it_is_not_shown() -> None:
    one = catalog(DROP)
    flap(one)
    assert say(one, 3, 1) == [1]
    assert say(one, 3.5, 1, 2) == [1]
    one.tick(63)
    assert published(one) == [1, 2]


def test_another_registry_still_has_its_say_about_a_damped_endpoint() -> None:
    one = catalog(DROP)
    flap(one)
    say(one, 3, 1)
    one.apply(SourceListed("b", {"y": report(2)}), 3.1)
    assert published(one) == [1, 2]


def test_an_endpoint_that_was_down_for_long_before_it_flapped_is_not_shown() -> None:
    one = catalog()
    assert say(one, 1, 1) == [1]
    assert say(one, 30, 1, 2) == [1, 2]
    for second in (31, 32, 33):
        say(one, second, 1)
        shown = say(one, second + 0.5, 1, 2)
    assert shown == [1]


def test_the_last_endpoint_of_a_service_is_damped_too() -> None:
    one = catalog()
    for second in (1, 2, 3):
        assert say(one, second) == (None if second < 3 else [1, 2])
        assert say(one, second + 0.5, 1, 2) == [1, 2]


def test_taking_an_endpoint_offline_on_purpose_works_at_once() -> None:
    one = catalog()
    flap(one)
    say(one, 3, 1)
    one.apply(OriginChanged("a", "x", report(2, presence=Presence.OFFLINE)), 3.2)
    assert published(one) == []


def test_what_is_remembered_is_bounded_and_forgotten() -> None:
    damper = Damper(KEEP, max_tracked=3)
    old = report(*range(1, 6)).claims[0]
    damper.changed(("x", KEY), old, None, 0.0)
    assert damper.overflows == 2
    assert damper.next_end() is not None
    assert damper.tick(1000.0) == {}
    assert damper.next_end() is None


@given(st.lists(st.tuples(st.sets(st.integers(1, 3)), st.floats(0, 8)), max_size=30), st.sampled_from([KEEP, DROP]))
def test_a_damping_always_ends_and_then_the_registry_is_right(
    story: list[tuple[set[int], float]], limits: DampingLimits
) -> None:
    one, now = catalog(limits), 0.0
    last = {1, 2}
    for last, gap in story:
        now += gap
        one.tick(now)
        say(one, now, *sorted(last))
    one.tick(now + limits.longest_s)
    assert published(one) == (sorted(last) or None)
