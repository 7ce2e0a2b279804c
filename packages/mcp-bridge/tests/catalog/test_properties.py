"""What must hold for any events of any sources in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.claim_check import violations
from isthmus_mcp_bridge.catalog.fold import fold
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.convert.service_entry import to_service_entry
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, RegistryEvent, SourceListed, SourceSuspected
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort

SOURCES = ("a", "b", "c")
KEYS = [ServiceKey("default", "one"), ServiceKey("default", "two")]

ports = st.builds(
    ServicePort,
    name=st.sampled_from(["http", "grpc", "dubbo-tcp", "main"]),
    number=st.sampled_from([80, 81, 82]),
    protocol=st.sampled_from(["HTTP", "GRPC", "TCP"]),
    stated=st.booleans(),
)
labels = st.dictionaries(st.sampled_from(["app", "version"]), st.sampled_from(["v1", "v2", ""])).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def service_claims(draw: st.DrawFn, key: ServiceKey | None = None) -> ServiceClaim:
    chosen = draw(st.lists(ports, min_size=1, max_size=3, unique_by=(lambda one: one.name, lambda one: one.number)))
    endpoints = st.builds(
        EndpointClaim,
        service_port=st.sampled_from([one.name for one in chosen]),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2", "::1"]),
        port=st.integers(1, 4),
        raw_id=st.sampled_from(["x", "y"]),
        presence=st.sampled_from(Presence),
        weight=st.sampled_from([None, 100, 150]),
        labels=labels,
        locality=st.sampled_from(["", "eu/a"]),
    )
    return ServiceClaim(
        key=key or draw(st.sampled_from(KEYS)),
        ports=tuple(chosen),
        endpoints=tuple(draw(st.lists(endpoints, max_size=5))),
        addresses=draw(st.sampled_from([(), ("240.0.0.1",)])),
        raw_names=draw(st.sampled_from([(), ("raw",)])),
        created_ms=draw(st.sampled_from([None, 1, 2])),
    )


def spoilt(claim: ServiceClaim) -> ServiceClaim:
    return ServiceClaim(claim.key, claim.ports, (EndpointClaim(claim.ports[0].name, "no-ip", 1),))


reports = st.builds(
    OriginReport,
    claims=st.lists(
        st.one_of(service_claims(), service_claims().map(spoilt)), max_size=2, unique_by=lambda one: one.key
    ).map(tuple),
    unreadable=st.booleans(),
)


def events(source: str) -> st.SearchStrategy[list[RegistryEvent]]:
    origins = st.sampled_from(["x", "y"])
    event: st.SearchStrategy[RegistryEvent] = st.one_of(
        st.just(SourceSuspected(source, "gone")),
        st.builds(OriginChanged, st.just(source), origins, reports),
        st.builds(SourceListed, st.just(source), st.dictionaries(origins, reports)),
    )
    return st.lists(event, max_size=6)


@st.composite
def interleavings(draw: st.DrawFn) -> list[list[RegistryEvent]]:
    """Three ways to shuffle the same events of three sources, each source's own order kept."""
    by_source = {name: draw(events(name)) for name in SOURCES}
    turns = [name for name, found in by_source.items() for _ in found]
    orders = []
    for _ in range(3):
        left = {name: iter(found) for name, found in by_source.items()}
        orders.append([next(left[name]) for name in draw(st.permutations(turns))])
    return orders


def replica(order: Iterable[RegistryEvent], at_once: int) -> list[tuple[str, str, bytes]]:
    catalog, publication = Catalog(SOURCES), Publication()
    for event in order:
        catalog.apply(event)
        publication.take(catalog.take_changes(at_once))
    while catalog.pending:
        publication.take(catalog.take_changes(at_once))
    assert not publication.quarantined
    return [(one.name, one.version, one.packed) for one in publication.collection().ordered]


@given(interleavings())
def test_replicas_that_see_other_orders_publish_the_same_bytes(orders: list[list[RegistryEvent]]) -> None:
    first, second, third = orders
    assert replica(first, 1) == replica(second, 100) == replica(third, 2)


@given(st.lists(service_claims(KEYS[0]), min_size=1, max_size=4))
def test_a_merge_of_good_claims_is_a_good_entry(claims: Sequence[ServiceClaim]) -> None:
    good = [claim for claim in claims if not violations(claim)]
    if good:
        assert to_service_entry(fold(KEYS[0], good)).violations == ()


def sockets(catalog: Catalog) -> set[tuple[str, str, int]]:
    catalog.take_changes(1000)
    return {
        (key.host, workload.address, port)
        for key, merged in catalog.services.items()
        for workload in merged.workloads
        for _, port in workload.ports
    }


one_port = st.lists(
    st.builds(
        EndpointClaim,
        service_port=st.just("http"),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        port=st.integers(1, 3),
        presence=st.sampled_from(Presence),
        labels=labels,
    ),
    max_size=5,
).map(lambda found: OriginReport((ServiceClaim(KEYS[0], (ServicePort("http", 80, "HTTP"),), tuple(found)),)))


@given(one_port, one_port)
def test_removing_one_of_two_claims_loses_nothing_that_the_other_has(mine: OriginReport, other: OriginReport) -> None:
    alone = Catalog(SOURCES)
    alone.apply(SourceListed("b", {"x": other}))
    both = Catalog(SOURCES)
    both.apply(SourceListed("a", {"x": mine}))
    both.apply(SourceListed("b", {"x": other}))
    sockets(both)
    both.apply(SourceListed("a", {}))
    assert sockets(both) == sockets(alone)


@given(one_port, st.lists(one_port, max_size=3))
def test_a_source_that_is_not_live_takes_nothing_away_but_what_it_says(
    first: OriginReport, later: list[OriginReport]
) -> None:
    catalog = Catalog(SOURCES)
    catalog.apply(SourceListed("a", {"x": first}))
    before = sockets(catalog)
    catalog.apply(SourceSuspected("a", "gone"))
    said_down = set()
    for report in later:
        catalog.apply(OriginChanged("a", "x", report))
        said_down |= {
            (KEYS[0].host, one.address, one.port)
            for one in report.claims[0].endpoints
            if one.presence is not Presence.UP
        }
    assert before - said_down <= sockets(catalog)
