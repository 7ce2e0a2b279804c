"""Scopes of routes over xDS: what is asked for, who waits for what, and which scopes are in use."""

from __future__ import annotations

from isthmus_proxy.xds.resources import LISTENER, ROUTE, SCOPE
from isthmus_proxy.xds.testing import Proxy, listener, live, routes, scope


def in_use(proxy: Proxy) -> dict[str, object]:
    return {each.name: each.route for each in proxy.routes.scopes().scopes()}


def test_scopes_then_their_routes_hold_the_listener_back() -> None:
    # As traced from a live Envoy (integration/test_scoped_routes.py).
    proxy = live()
    assert proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "scoped")) == ["srds * v n", "lds * v2 n5"]
    assert proxy.send(SCOPE, "1", scope("red", "red", "r1"), scope("blue", "blue", "R")) == [
        "rds R,r1 v1 n4",
        "srds * v1 n6",
    ]
    assert list(proxy.listeners.open) == ["L"]
    proxy.send(ROUTE, "2", routes("r1"))
    assert list(proxy.listeners.open) == ["L", "M"]
    assert proxy.stats.value("http.in.scoped_rds.tenants.update_success") == 1
    assert proxy.send(SCOPE, "2", scope("blue", "blue", "R")) == ["rds R v2 n7", "srds * v2 n8"]
    assert in_use(proxy) == {"blue": "R"}
    assert list(proxy.listeners.open) == ["L", "M"]


def test_a_listener_opens_without_scopes_after_its_wait() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("M", "scoped"))
    proxy.wait(14.9)
    assert "M" not in proxy.listeners.open
    proxy.wait(0.2)
    assert "M" in proxy.listeners.open
    proxy.send(SCOPE, "1", scope("red", "red", "r1"))
    assert in_use(proxy) == {"red": "r1"}


def test_a_key_twice_is_refused_by_name_and_the_rest_applies() -> None:
    proxy = live("delta")
    proxy.send(LISTENER, "2", listener("M", "scoped"))
    proxy.send(SCOPE, "1", scope("red", "red", "r1"), scope("blue", "blue", "r2"))
    said = proxy.send(SCOPE, "2", scope("again", "red", "r3"), scope("green", "green", "r1"))
    assert said == ["srds n7 NACK again: key: scope red has the same key"]
    assert in_use(proxy) == {"red": "r1", "blue": "r2", "green": "r1"}
    proxy.send(SCOPE, "3", scope("red", "blue", "r1"), scope("blue", "red", "r2"))
    assert {each.name: each.key for each in proxy.routes.scopes().scopes()} == {
        "green": (b"green",),
        "red": (b"blue",),
        "blue": (b"red",),
    }
    said = proxy.send(SCOPE, "4", scope("red", "", "r1"), scope("blue", "red", ""), removed=("green",))
    assert said == [
        "srds n9 NACK blue: route_configuration_name: is required and must not be empty",
    ]
    assert in_use(proxy) == {"red": "r1", "blue": "r2"}


def test_an_on_demand_scope_is_refused_by_path() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("M", "scoped"))
    lazy = scope("red", "red", "r1")
    lazy.on_demand = True
    (said,) = proxy.send(SCOPE, "1", lazy)
    assert said.endswith("NACK red: on_demand = True: is not supported; only false is")
    assert in_use(proxy) == {}
