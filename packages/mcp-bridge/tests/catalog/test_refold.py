"""A big service folded again where it has changed is the service folded anew."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.claim_check import violations
from isthmus_mcp_bridge.catalog.fold import arranged, assembled, fold, reduced_workloads
from isthmus_mcp_bridge.catalog.narrow import BIG, changed_endpoints, narrowed, sharing
from isthmus_mcp_bridge.catalog.refold import folded, refold
from isthmus_mcp_bridge.catalog.retention import lost_endpoints
from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceSuspected
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Side, WarmUp
from isthmus_mcp_bridge.testing import messages

KEY = ServiceKey("default", "big.shop")
HTTP, GRPC = ServicePort("http", 80, "HTTP"), ServicePort("grpc", 81, "GRPC")
COUNT = BIG + 44


def endpoint(number: int, port: int = 8080, **more: object) -> EndpointClaim:
    address = f"10.0.{number >> 8}.{number & 255}"
    return EndpointClaim(more.pop("service_port", "http"), address, port, f"{number}", **more)  # type: ignore[arg-type]


def claim(endpoints: list[EndpointClaim], *ports: ServicePort) -> ServiceClaim:
    served = {one.service_port for one in endpoints}
    return ServiceClaim(KEY, ports or tuple(one for one in (HTTP, GRPC) if one.name in served), tuple(endpoints))


def whole() -> list[EndpointClaim]:
    return [endpoint(number, labels=(("app", "big"),)) for number in range(COUNT)]


places = st.integers(0, COUNT - 1)
others = st.one_of(
    st.builds(endpoint, st.integers(0, COUNT + 3), st.integers(8080, 8082)),
    st.builds(endpoint, places, weight=st.sampled_from([50, 100, 150])),
    st.builds(endpoint, places, presence=st.sampled_from(Presence), weight=st.sampled_from([None, 50, 100, 200])),
    st.builds(endpoint, places, service_port=st.just("grpc")),
    st.builds(endpoint, places, side=st.just(Side.MESH)),
    st.builds(endpoint, places, warm_up=st.just(WarmUp(0, 60_000))),
)
edits = st.lists(
    st.tuples(st.sampled_from(["set", "drop", "insert"]), places, others) | st.just(("renew", 0, endpoint(0))),
    max_size=3,
)


def edited(endpoints: list[EndpointClaim], changes: list[tuple[str, int, EndpointClaim]]) -> list[EndpointClaim]:
    """New objects throughout, as adapters make them, some endpoints others than before."""
    made = [dataclasses.replace(one) for one in endpoints]
    for what, place, other in changes:
        place = min(place, len(made) - 1)
        if what == "set":
            made[place] = other
        elif what == "drop":
            del made[place]
        elif what == "insert":
            made.insert(place, other)
        else:
            made = whole()
    return made


steps = st.lists(st.tuples(st.sampled_from(["a", "b"]), edits, st.booleans()), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from([(), (HTTP, GRPC)]))
def test_whatever_changes_the_catalog_publishes_what_a_new_fold_and_protobuf_make(
    found: list[tuple[str, list[tuple[str, int, EndpointClaim]], bool]], ports: tuple[ServicePort, ...]
) -> None:
    catalog, publication = Catalog(["a", "b"]), Publication()
    held = {"a": whole(), "b": whole()[:20]}
    for name in held:
        catalog.apply(SourceListed(name, {"x": OriginReport((claim(held[name], *ports),))}))
    for name, changes, suspected in found:
        held[name] = edited(held[name], changes)
        if suspected:
            catalog.apply(SourceSuspected(name, "gone"))
        report = OriginReport((claim(held[name], *ports),))
        catalog.apply(SourceListed(name, {"x": report}) if suspected else OriginChanged(name, "x", report))
        publication.take(catalog.take_changes(10))
        assert catalog.services.get(KEY) == catalog.merge_as_said(KEY)
        assert publication.collection().resources[KEY.name] == messages.resource(catalog.services[KEY])


def test_one_changed_endpoint_needs_no_whole_fold() -> None:
    before = [claim(whole()), claim(whole()[:3])]
    half = arranged(before, DEFAULT_RULES)
    kept = folded(before, assembled(KEY, before, half, reduced_workloads(half)), half)
    assert kept is not None
    for changed in (
        [*before[0].endpoints[:100], *before[0].endpoints[101:]],
        [*before[0].endpoints, endpoint(COUNT + 1)],
        [endpoint(0, 9090), *before[0].endpoints[1:]],
    ):
        after = [claim(changed), before[1]]
        again = refold(KEY, after, DEFAULT_RULES, kept)
        assert again is not None
        assert again[0] == fold(KEY, after)
        same = {id(one) for one in kept.merged.workloads} & {id(one) for one in again[0].workloads}
        assert len(same) >= COUNT - 1
    for other in (
        endpoint(7, weight=50),
        endpoint(7, side=Side.MESH),
        endpoint(7, warm_up=WarmUp(0, 60_000)),
        endpoint(7, service_port="grpc"),
    ):
        ports = [HTTP, GRPC] if other.service_port == "grpc" else [HTTP]
        after = [claim([*before[0].endpoints[:7], other, *before[0].endpoints[8:]], *ports), before[1]]
        assert refold(KEY, after, DEFAULT_RULES, kept) is None


def test_a_port_that_one_instance_lacks_needs_a_whole_fold() -> None:
    both = [endpoint(number, service_port=name) for number in range(COUNT) for name in ("http", "grpc")]
    before = [claim(both)]
    half = arranged(before, DEFAULT_RULES)
    kept = folded(before, assembled(KEY, before, half, reduced_workloads(half)), half)
    assert kept is not None
    assert refold(KEY, [claim(both[:-1])], DEFAULT_RULES, kept) is None
    again = refold(KEY, [claim(both[:-2])], DEFAULT_RULES, kept)
    assert again is not None
    assert again[0] == fold(KEY, [claim(both[:-2])])


@settings(max_examples=60, deadline=None)
@given(edits)
def test_what_is_narrowed_tells_what_the_whole_tells(changes: list[tuple[str, int, EndpointClaim]]) -> None:
    old, fresh = claim(whole(), HTTP, GRPC), claim(edited(whole(), changes), HTTP, GRPC)
    new = sharing(old, fresh)
    assert new == fresh
    few, now = narrowed(old, new)
    sockets = [{(one.network, one.address, one.port) for one in each.endpoints} for each in (old, new, few, now)]
    assert sockets[2] - sockets[3] == sockets[0] - sockets[1]
    assert lost_endpoints({KEY: old}, {KEY: new}) == len(sockets[0] - sockets[1])
    assert bool(violations(changed_endpoints(old, new))) == bool(violations(new))
    if not any(what == "renew" for what, _, _ in changes):
        assert len(changed_endpoints(old, new).endpoints) <= COUNT + 3
