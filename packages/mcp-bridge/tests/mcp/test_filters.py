"""Each sink gets what its filter lets through, kept up change by change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.mcp.filters import EVERYTHING, SinkFilter, Views, filter_for
from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, Snapshot, SnapshotResource

SHOP = SinkFilter("*.shop", namespaces=("shop",))
ZOO = SinkFilter("*", registries=("zoo",))


def test_the_first_filter_that_matches_counts() -> None:
    assert filter_for((SHOP, ZOO), "istiod-1.shop") == SHOP
    assert filter_for((SHOP, ZOO), "istiod-1.other") == ZOO
    assert filter_for((SHOP,), "istiod-1.other") == EVERYTHING
    assert filter_for((SHOP,), "ISTIOD.SHOP") == EVERYTHING


def test_withheld_services_are_withheld_from_everybody() -> None:
    assert Views().view(SHOP).service_entries is None


resources = st.builds(
    SnapshotResource,
    name=st.sampled_from(["shop/a", "shop/b", "other/a"]),
    version=st.sampled_from("12"),
    packed=st.just(b""),
    sources=st.sampled_from([("zoo",), ("nacos",), ("nacos", "zoo")]),
)
changes = st.dictionaries(st.sampled_from(["shop/a", "shop/b", "other/a"]), st.none() | resources).map(
    lambda found: {
        name: None if one is None else SnapshotResource(name, one.version, one.packed, one.sources)
        for name, one in found.items()
    }
)


@given(st.lists(st.tuples(changes, st.booleans()), max_size=80), st.sampled_from([SHOP, ZOO, EVERYTHING]))
def test_a_view_is_what_the_filter_lets_through_however_often_it_is_looked_at(
    story: list[tuple[dict[str, SnapshotResource | None], bool]], wanted: SinkFilter
) -> None:
    views, whole = Views(), EMPTY
    for change, look in story:
        whole = whole.changed(change)
        views.publish(Snapshot(whole))
        if look:
            seen = views.view(wanted).service_entries
            assert seen is not None
            fresh = Collection({name: one for name, one in whole.resources.items() if wanted.passes(one)})
            assert seen.resources == fresh.resources
            assert seen.version == fresh.version


@given(st.lists(changes, max_size=80), st.integers(0, 80))
def test_the_names_changed_since_are_all_that_changed(
    story: list[dict[str, SnapshotResource | None]], place: int
) -> None:
    collections = [EMPTY]
    for change in story:
        collections.append(collections[-1].changed(change))
    old, new = collections[min(place, len(story))], collections[-1]
    names = new.changed_since(old.version)
    differing = {
        name
        for name in old.resources.keys() | new.resources.keys()
        if old.resources.get(name) != new.resources.get(name)
    }
    assert names is None or differing <= names
