"""Keys of requests, and scopes by key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.route.scopes import FragmentBuilder, Scope, ScopedRoutes, ScopeSet, key_of
from isthmus_proxy.route.table import RouteHandles


def head(*values: bytes) -> RequestHead:
    return RequestHead(b"GET", b"/p", b"a.b", [(b"x-key", value) for value in values])


# What a live Envoy makes of them: integration/test_scoped_routes.py.
@pytest.mark.parametrize(
    ("builder", "values", "expected"),
    [
        (FragmentBuilder(b"x-key", b";", 1), [b"a;b;c"], b"b"),
        (FragmentBuilder(b"x-key", b";", 1), [b"a"], None),
        (FragmentBuilder(b"x-key", b";", 1), [b";"], b""),
        (FragmentBuilder(b"x-key"), [b"a;b", b"c"], b"a;b"),
        (FragmentBuilder(b"x-key"), [], None),
        (FragmentBuilder(b"x-key", b",", element=(b"=", b"k")), [b"x=y,k=b=c,k=d"], b"b=c"),
        (FragmentBuilder(b"x-key", b",", element=(b"=", b"k")), [b"k,k=b"], b""),
        (FragmentBuilder(b"x-key", b",", element=(b"=", b"k")), [b"x, k=b"], None),
        (FragmentBuilder(b":authority"), [], b"a.b"),
        (FragmentBuilder(b"host"), [], b"a.b"),
        (FragmentBuilder(b":path"), [], b"/p"),
        (FragmentBuilder(b":unknown"), [], None),
    ],
)
def test_a_fragment(builder: FragmentBuilder, values: list[bytes], expected: bytes | None) -> None:
    assert builder.fragment(head(*values)) == expected


def test_a_key_needs_all_of_its_parts() -> None:
    builders = (FragmentBuilder(b"x-key"), FragmentBuilder(b":path"))
    assert key_of(builders, head(b"a")) == (b"a", b"/p")
    assert key_of(builders, head()) is None


@given(st.lists(st.binary(min_size=1, max_size=3).filter(lambda part: b"," not in part), min_size=1, max_size=5))
def test_every_part_of_a_value_has_its_index(parts: list[bytes]) -> None:
    for index, part in enumerate(parts):
        assert FragmentBuilder(b"x-key", b",", index).fragment(head(b",".join(parts))) == part
    assert FragmentBuilder(b"x-key", b",", len(parts)).fragment(head(b",".join(parts))) is None


def test_a_set_serves_what_it_was_given_last() -> None:
    routes = RouteHandles()
    scopes = ScopeSet(routes)
    chooser = ScopedRoutes((FragmentBuilder(b"x-key"),), scopes)
    own = RouteConfiguration("own", (), content="1")
    scopes.replace([Scope("red", (b"red",), "r"), Scope("blue", (b"blue",), own)])
    assert chooser.table_for(head(b"red")) is None, "its routes are not there"
    routes.update(RouteConfiguration("r", ()))
    assert chooser.table_for(head(b"red")) is routes.get_or_create("r").table is not None
    table = chooser.table_for(head(b"blue"))
    assert table is not None
    assert table.configuration is own
    scopes.replace([Scope("blue", (b"green",), own)])
    assert chooser.table_for(head(b"green")) is table, "what did not change keeps its memo"
    assert chooser.table_for(head(b"blue")) is chooser.table_for(head(b"red")) is chooser.table_for(head()) is None
    closed: list[object] = []
    table.retired = closed.append
    scopes.close()
    assert closed == [table]
