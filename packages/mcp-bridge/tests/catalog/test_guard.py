"""Mass removals are doubted for a bounded time; nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.events import (
    OriginChanged,
    OriginReport,
    RegistryEvent,
    SourceListed,
    SourceState,
    SourceSuspected,
)
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort

LIMITS = GuardLimits(max_lost_percent=50, min_lost=4, window_s=30, hold_s=90)
ORIGINS = ("o0", "o1", "o2", "o3")


def report(origin: str, count: int, presence: Presence = Presence.UP) -> OriginReport:
    endpoints = tuple(
        EndpointClaim("http", f"10.0.{ORIGINS.index(origin)}.{n + 1}", 80, presence=presence) for n in range(count)
    )
    return OriginReport((ServiceClaim(ServiceKey("d", origin), (ServicePort("http", 80, "HTTP"),), endpoints),))


def guarded(counts: dict[str, int]) -> Catalog:
    catalog = Catalog(["a"], {"a": SourceLimits(guard=LIMITS)})
    catalog.apply(SourceListed("a", {origin: report(origin, count) for origin, count in counts.items()}), 0.0)
    return catalog


def next_hold(catalog: Catalog) -> float | None:
    source = catalog.sources["a"]
    return source.guard.deadline if source.state is SourceState.LIVE else None


def published(catalog: Catalog) -> dict[str, int]:
    catalog.take_changes(1000)
    return {key.host: len(merged.workloads) for key, merged in catalog.services.items()}


def test_an_empty_listing_of_a_restarted_registry_takes_nothing_until_it_is_over() -> None:
    catalog = guarded({"o0": 4, "o1": 4})
    catalog.apply(SourceSuspected("a", "restart"), 10.0)
    catalog.apply(SourceListed("a", {}), 11.0)
    assert published(catalog) == {"o0": 4, "o1": 4}
    assert next_hold(catalog) == 101.0
    catalog.apply(SourceListed("a", {"o0": report("o0", 4), "o1": report("o1", 3)}), 20.0)
    assert published(catalog) == {"o0": 4, "o1": 4}
    assert catalog.sources["a"].held == {"o1"}
    catalog.apply(OriginChanged("a", "o1", report("o1", 4)), 21.0)
    assert next_hold(catalog) is None
    assert published(catalog) == {"o0": 4, "o1": 4}


def test_what_is_really_gone_goes_when_the_hold_ends() -> None:
    catalog = guarded({"o0": 4, "o1": 4})
    catalog.apply(SourceListed("a", {"o0": report("o0", 1)}), 5.0)
    assert catalog.tick(94.9) == {}
    assert published(catalog) == {"o0": 4, "o1": 4}
    catalog.tick(95.0)
    assert published(catalog) == {"o0": 1}
    assert next_hold(catalog) is None


def test_losing_and_finding_the_connection_does_not_prolong_a_hold() -> None:
    catalog = guarded({"o0": 8})
    for second in range(10, 100, 10):
        catalog.apply(SourceListed("a", {}), float(second))
        catalog.apply(SourceSuspected("a", "flaps"), second + 1.0)
    assert next_hold(catalog) is None
    catalog.apply(SourceListed("a", {}), 101.0)
    assert next_hold(catalog) == 100.0
    catalog.tick(101.0)
    assert published(catalog) == {}


def test_many_small_losses_within_the_window_are_one_big_loss() -> None:
    catalog = guarded(dict.fromkeys(ORIGINS, 2))
    for second, origin in enumerate(ORIGINS):
        catalog.apply(OriginChanged("a", origin, OriginReport()), float(second))
    assert published(catalog) == {"o2": 2, "o3": 2}


def test_a_slow_retreat_and_a_small_one_are_believed() -> None:
    catalog = guarded(dict.fromkeys(ORIGINS, 2))
    for number, origin in enumerate(ORIGINS):
        catalog.apply(OriginChanged("a", origin, OriginReport()), number * 31.0)
    assert published(catalog) == {}


def test_taking_everything_out_of_service_explicitly_is_no_loss() -> None:
    catalog = guarded({"o0": 8})
    catalog.apply(OriginChanged("a", "o0", report("o0", 8, Presence.OFFLINE)), 1.0)
    assert published(catalog) == {"o0": 0}
    assert next_hold(catalog) is None


steps = st.lists(
    st.one_of(
        st.just("suspect"),
        st.tuples(st.sampled_from(ORIGINS), st.integers(0, 6)),
        st.dictionaries(st.sampled_from(ORIGINS), st.integers(0, 6)),
    ),
    max_size=12,
)


def event(step: object) -> RegistryEvent:
    if isinstance(step, tuple):
        return OriginChanged("a", step[0], report(*step))
    if isinstance(step, dict):
        return SourceListed("a", {origin: report(origin, count) for origin, count in step.items()})
    return SourceSuspected("a", "gone")


@given(
    steps,
    st.lists(st.floats(0, 40), min_size=12, max_size=12),
    st.dictionaries(st.sampled_from(ORIGINS), st.integers(0, 6)),
)
def test_a_hold_always_ends_and_then_the_registry_is_right(
    story: list[object], gaps: list[float], last: dict[str, int]
) -> None:
    catalog, now = guarded(dict.fromkeys(ORIGINS, 6)), 0.0
    for step, gap in zip(story, gaps, strict=False):
        now += gap
        catalog.apply(event(step), now)
        catalog.tick(now)
        due = next_hold(catalog)
        assert due is None or due <= now + LIMITS.hold_s
    catalog.apply(event(last), now)
    catalog.tick(now + LIMITS.hold_s)
    unguarded = Catalog(["a"])
    unguarded.apply(event(last))
    assert published(catalog) == published(unguarded)
    assert catalog.sources["a"].sockets == sum(last.values())
    assert not catalog.sources["a"].held


@given(steps)
def test_within_the_limit_nothing_is_held(story: list[object]) -> None:
    """Protection never shows anything that neither stood before nor stands now."""
    catalog = guarded(dict.fromkeys(ORIGINS, 6))
    for second, step in enumerate(story):
        before = published(catalog)
        catalog.apply(event(step), float(second))
        for host, count in published(catalog).items():
            said = step.get(host, 0) if isinstance(step, dict) else step[1] if isinstance(step, tuple) else 0
            assert count <= max(before.get(host, 0), said)
