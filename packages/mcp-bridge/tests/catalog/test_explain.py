"""The explanation agrees with the merge and names who decided what."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.difference import pending_change
from isthmus_mcp_bridge.catalog.explain import explain
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort
from isthmus_mcp_bridge.query import explanation_text

KEY = ServiceKey("d", "reviews")


def report(*endpoints: EndpointClaim, stated: bool = True, number: int = 8080) -> OriginReport:
    return OriginReport(
        (ServiceClaim(KEY, (ServicePort("http", number, "HTTP", stated),), endpoints),), revision=f"r{number}"
    )


def at(port: int, **more: object) -> EndpointClaim:
    return EndpointClaim("http", "10.0.0.1", port, **more)  # type: ignore[arg-type]


def test_winners_are_named() -> None:
    catalog = Catalog(["files", "zoo"])
    catalog.apply(SourceListed("files", {"a.yaml": report(at(1, weight=300))}))
    zoo = report(
        at(1, weight=50, locality="eu/a", raw_id="/dubbo/x"), at(2, presence=Presence.OFFLINE), stated=False, number=80
    )
    catalog.apply(SourceListed("zoo", {"/dubbo": zoo}))
    catalog.take_changes(10)
    found = explain(catalog, KEY, 0.0)
    assert found is not None
    assert found["ports"][0]["number"] == 8080
    assert found["ports"][0]["claims"] == ["files: http 8080 HTTP (stated)", "zoo: http 80 HTTP (guessed)"]
    first, second = found["endpoints"]
    assert first["weight"] == {"value": 300, "winner": "files"}
    assert first["locality"] == {"value": "eu/a", "winner": "zoo"}
    assert (second["published"], second["rule"]) == (
        False,
        "taken offline explicitly, which outweighs every other claim",
    )
    assert found["sources"][1]["origins"] == [{"origin": "/dubbo", "revision": "r80"}]
    assert not found["differs_from_what_registries_say_now"]
    text = explanation_text({"services": [found]})
    assert "+ 10.0.0.1:1: up" in text
    assert "- 10.0.0.1:2: taken offline" in text
    assert "/dubbo/x" in text


def test_a_hold_is_explained_and_shown_as_a_difference() -> None:
    catalog = Catalog(["a"], {"a": SourceLimits(guard=GuardLimits(50, 2, 30, 90))})
    catalog.apply(SourceListed("a", {"x": report(at(1), at(2), at(3))}))
    catalog.take_changes(10)
    assert pending_change(catalog, KEY, 0.0) is None
    catalog.apply(OriginChanged("a", "x", report(at(1))), 1.0)
    catalog.take_changes(10)
    found = explain(catalog, KEY, 1.0)
    assert found is not None
    assert found["sources"][0]["held"] == ["x"]
    assert found["endpoints"][1]["rule"] == "held: its registry lacks it, but is not believed yet"
    assert found["differs_from_what_registries_say_now"]
    change = pending_change(catalog, KEY, 1.0)
    assert change is not None
    assert change["endpoints_removed"] == {"count": 2, "first": ["10.0.0.1:2", "10.0.0.1:3"]}


def test_nobody_claims_it() -> None:
    assert explain(Catalog(["a"]), KEY, 0.0) is None


claims = st.lists(
    st.builds(
        EndpointClaim,
        service_port=st.just("http"),
        address=st.just("10.0.0.1"),
        port=st.integers(1, 4),
        presence=st.sampled_from(Presence),
        weight=st.sampled_from([None, 50, 200]),
    ),
    max_size=4,
)


@given(claims, claims)
def test_what_is_explained_is_what_is_published(mine: list[EndpointClaim], other: list[EndpointClaim]) -> None:
    catalog = Catalog(["a", "b"])
    catalog.apply(SourceListed("a", {"x": report(*mine)}))
    catalog.apply(SourceListed("b", {"x": report(*other)}))
    catalog.take_changes(10)
    found = explain(catalog, KEY, 0.0)
    assert found is not None
    shown = {one["address"] for one in found["endpoints"] if one["published"]}
    assert shown == {f"{one.address}:{port}" for one in catalog.services[KEY].workloads for _, port in one.ports}
    assert json.loads(json.dumps(found)) == found
    assert explanation_text({"services": [found]})
