from __future__ import annotations

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.events import (
    OriginChanged,
    OriginReport,
    Problem,
    SourceListed,
    SourceSuspected,
)
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort

HTTP = ServicePort("http", 80, "HTTP")
REVIEWS = ServiceKey("default", "reviews")


def report(
    *ports: int, key: ServiceKey = REVIEWS, presence: Presence = Presence.UP, address: str = "10.0.0.1"
) -> OriginReport:
    endpoints = tuple(EndpointClaim("http", address, port, presence=presence) for port in ports)
    return OriginReport((ServiceClaim(key, (HTTP,), endpoints),))


def published(catalog: Catalog, key: ServiceKey = REVIEWS) -> list[int] | None:
    catalog.take_changes(1000)
    merged = catalog.services.get(key)
    return None if merged is None else sorted(port for one in merged.workloads for _, port in one.ports)


def state(catalog: Catalog) -> str:
    return catalog.sources["a"].state.value


def test_an_unchanged_service_is_no_change() -> None:
    catalog = Catalog(["a"])
    assert catalog.apply(SourceListed("a", {"one": report(1)})) == {REVIEWS}
    assert [change.key for change in catalog.take_changes(10)] == [REVIEWS]
    assert catalog.apply(SourceListed("a", {"one": report(1)})) == frozenset()
    assert catalog.take_changes(10) == []


def test_moving_a_claim_to_another_origin_changes_nothing() -> None:
    catalog = Catalog(["a"])
    catalog.apply(SourceListed("a", {"one": report(1)}))
    catalog.take_changes(10)
    catalog.apply(SourceListed("a", {"two": report(1)}))
    assert catalog.take_changes(10) == []
    assert published(catalog) == [1]


def test_an_endpoint_stays_while_one_live_source_claims_it() -> None:
    catalog = Catalog(["a", "b"])
    catalog.apply(SourceListed("a", {"one": report(1, 2)}))
    catalog.apply(SourceListed("b", {"one": report(2, 3)}))
    assert published(catalog) == [1, 2, 3]
    catalog.apply(OriginChanged("a", "one", OriginReport()))
    assert published(catalog) == [2, 3]
    catalog.apply(SourceListed("b", {}))
    assert published(catalog) is None
    assert catalog.claims(REVIEWS) == []


def test_explicit_offline_wins_over_another_source() -> None:
    catalog = Catalog(["a", "b"])
    catalog.apply(SourceListed("a", {"one": report(1)}))
    catalog.apply(SourceListed("b", {"one": report(1, presence=Presence.OFFLINE)}))
    assert published(catalog) == []
    catalog.apply(OriginChanged("b", "one", OriginReport()))
    assert published(catalog) == [1]


def test_only_a_live_source_deletes() -> None:
    catalog = Catalog(["a"])
    catalog.apply(SourceListed("a", {"one": report(1, 2)}))
    catalog.apply(SourceSuspected("a", "gone"))
    assert state(catalog) == "SUSPECT"
    catalog.apply(OriginChanged("a", "one", report(3)))
    assert published(catalog) == [1, 2, 3]
    catalog.apply(OriginChanged("a", "one", OriginReport()))
    assert published(catalog) == [1, 2, 3]
    assert catalog.sources["a"].held_deletions == 2
    catalog.apply(SourceListed("a", {"one": report(3)}))
    assert published(catalog) == [3]
    assert state(catalog) == "LIVE"


def test_a_source_that_was_never_listed_stays_syncing_but_adds() -> None:
    catalog = Catalog(["a"])
    catalog.apply(SourceSuspected("a", "not yet"))
    catalog.apply(OriginChanged("a", "one", report(1)))
    assert state(catalog) == "SYNCING"
    assert published(catalog) == [1]
    assert not catalog.sources["a"].complete


def test_an_invalid_claim_leaves_the_last_good_one() -> None:
    catalog = Catalog(["a", "b"])
    catalog.apply(SourceListed("a", {"one": report(1)}))
    catalog.apply(OriginChanged("a", "one", report(0)))
    catalog.apply(SourceListed("b", {"x": report(7)}))
    assert published(catalog) == [1, 7]
    problem = catalog.sources["a"].problems()[0]
    assert problem.registry == "a"
    assert problem.path == "one: default/reviews: endpoints[0].port"
    assert problem.value == "0"
    assert "last good" in problem.message
    catalog.apply(OriginChanged("a", "one", report(2)))
    assert published(catalog) == [2, 7]
    assert not catalog.sources["a"].problems()


def test_an_invalid_claim_without_a_good_one_is_left_out() -> None:
    catalog = Catalog(["a"])
    good = ServiceKey("default", "ratings")
    bad = report(1, address="not-an-ip").claims
    catalog.apply(SourceListed("a", {"one": OriginReport((*bad, *report(1, key=good).claims))}))
    assert published(catalog) is None
    assert published(catalog, good) == [1]
    assert "left out" in catalog.sources["a"].problems()[0].message


def test_an_unreadable_origin_keeps_its_claims_and_its_problem() -> None:
    problem = Problem("a", "one", "x", "broken")
    catalog = Catalog(["a"])
    catalog.apply(SourceListed("a", {"one": report(1)}))
    catalog.apply(OriginChanged("a", "one", OriginReport(problems=(problem,), unreadable=True)))
    assert published(catalog) == [1]
    assert catalog.sources["a"].problems() == [problem]
    assert catalog.sources["a"].complete


def test_an_origin_that_was_never_readable_keeps_the_source_incomplete() -> None:
    problem = Problem("a", "two", "x", "broken")
    bad = OriginReport(problems=(problem,), unreadable=True)
    catalog = Catalog(["a"])
    catalog.apply(SourceListed("a", {"one": report(1), "two": bad}))
    assert catalog.sources["a"].unreadable == {"two"}
    assert not catalog.sources["a"].complete
    catalog.apply(OriginChanged("a", "two", OriginReport()))
    assert catalog.sources["a"].complete


def test_changes_are_taken_in_bounded_portions() -> None:
    catalog = Catalog(["a"])
    keys = [ServiceKey("default", f"s{number}") for number in range(5)]
    catalog.apply(SourceListed("a", {key.host: report(1, key=key) for key in keys}))
    assert len(catalog.take_changes(2)) == 2
    assert catalog.pending == 3
    assert len(catalog.take_changes(9)) == 3


def test_claims_name_source_and_origin_in_order_of_precedence() -> None:
    catalog = Catalog(["b", "a"])
    catalog.apply(SourceListed("a", {"one": report(1)}))
    catalog.apply(SourceListed("b", {"two": report(1), "one": report(2)}))
    assert [(one.source, one.origin) for one in catalog.claims(REVIEWS)] == [("b", "one"), ("b", "two"), ("a", "one")]
