"""Filters of listeners over xDS: what is asked for, who waits, and what serves."""

from __future__ import annotations

import pytest

from isthmus_proxy.xds.resources import EXTENSION, LISTENER, ROUTE
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.testing import Proxy, Stamp, extension, listener, live, routes

variants = pytest.mark.parametrize("variant", ["sotw", "delta"])


def serving(proxy: Proxy, name: str) -> str | None:
    newest = proxy.extensions.current(name)
    if newest is None:
        return None
    assert isinstance(newest.config, Stamp)
    return newest.config.value


def test_filters_are_asked_for_before_routes_and_before_the_ack() -> None:
    # As traced from a live Envoy (integration/test_extension_discovery.py).
    proxy = live()
    said = proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "S+a+b"))
    assert said == ["ecds a,b v n", "rds R,S v1 n4", "lds * v2 n5"]
    proxy.send(ROUTE, "2", routes("R"), routes("S"))
    assert list(proxy.listeners.open) == ["L"], "it waits for its filters"
    assert proxy.send(EXTENSION, "1", extension("a", "one")) == ["ecds a,b v1 n7"]
    assert list(proxy.listeners.open) == ["L"]
    proxy.send(EXTENSION, "2", extension("b", "two"))
    assert list(proxy.listeners.open) == ["L", "M"]
    assert (serving(proxy, "a"), serving(proxy, "b")) == ("one", "two")
    assert proxy.stats.value("extension_config_discovery.http_filter.a.update_success") == 2
    assert proxy.send(LISTENER, "3", listener("L", "R"), listener("M", "S+b")) == ["ecds b v2 n8", "lds * v3 n9"]
    assert serving(proxy, "a") is None
    assert proxy.stats.value("extension_config_discovery.http_filter.a.update_success") is None


def test_a_listener_opens_without_its_filter_after_its_wait() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "R+late"))
    assert proxy.wait(14.9) == []
    assert list(proxy.listeners.open) == ["L"]
    proxy.wait(0.2)
    assert list(proxy.listeners.open) == ["L", "M"]
    assert serving(proxy, "late") is None
    proxy.send(EXTENSION, "1", extension("late", "here"))
    assert serving(proxy, "late") == "here"


@variants
@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ("bad", "stamp", "late: typed_config.value = bad: is refused"),
        ("good", "other", "late: typed_config = other: is not among the type_urls of listener M: stamp"),
    ],
)
def test_a_refused_one_is_named_and_holds_nothing_up(variant: Variant, content: str, kind: str, reason: str) -> None:
    proxy = live(variant)
    proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "R+late"))
    (said,) = proxy.send(EXTENSION, "1", extension("late", content, kind))
    assert said.endswith("NACK " + reason)
    assert list(proxy.listeners.open) == ["L", "M"]
    assert proxy.stats.value("extension_config_discovery.http_filter.late.config_fail") == 1
    proxy.send(EXTENSION, "2", extension("late", "good"))
    assert serving(proxy, "late") == "good"
    proxy.send(EXTENSION, "3", extension("late", content, kind))
    assert serving(proxy, "late") == "good", "the last good one stays"


def test_one_that_is_removed_leaves_the_default() -> None:
    proxy = live("delta")
    proxy.send(LISTENER, "2", listener("M", "R+stamp"))
    proxy.send(EXTENSION, "1", extension("stamp", "one"))
    proxy.send(EXTENSION, "", removed=("stamp",))
    assert serving(proxy, "stamp") is None
    proxy.send(EXTENSION, "3", extension("stamp", "one"))
    assert serving(proxy, "stamp") == "one"


def test_what_did_not_change_goes_on_as_it_is() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("L", "R+a+b"))
    proxy.send(EXTENSION, "1", extension("a", "one"), extension("b", "one"))
    before = proxy.extensions.current("a")
    proxy.send(EXTENSION, "2", extension("a", "one"), extension("b", "two"))
    assert proxy.extensions.current("a") is before
    assert serving(proxy, "b") == "two"
    assert proxy.stats.value("extension_config_discovery.http_filter.a.config_reload") == 1


def test_they_come_by_a_stream_of_their_own_as_well() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "S+stamp@own:one"))
    own = proxy.own(EXTENSION, "one")
    assert proxy.said(own) == ["ecds stamp v n"]
    assert proxy.send(EXTENSION, "1", extension("stamp", "one"), session=own) == ["ecds stamp v1 n6"]
    said = proxy.send(LISTENER, "3", listener("L", "R+stamp"), listener("M", "S+stamp@own:one"))
    reason = "config_discovery.config_source = stamp: the same configuration is taken from another source as well"
    assert said[-1] == f"lds * v2 n7 NACK L: {reason}"
