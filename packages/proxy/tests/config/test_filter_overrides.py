"""typed_per_filter_config: what each level says of a filter, and which level counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from isthmus_proxy.config.filter_overrides import compile_overrides
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.filter_overrides import FilterOverride, FilterOverrides, names_filtered, override, overrides
from isthmus_proxy.route.model import ForwardAction
from isthmus_proxy.route.table import RouteTable

ANY = "type.googleapis.com/"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
WRAPPED = ANY + "envoy.config.route.v3.FilterConfig"
COMPILERS = {ROUTER: (__name__, "start_child_span")}


def start_child_span(message: Any, path: str) -> tuple[bool, str]:
    """Stands for the compiler of a filter's per-route message: the table names it."""
    return message.start_child_span, path


def compiled(entries: Mapping[str, object]) -> FilterOverrides:
    host = VirtualHost()
    fill(host, {"typed_per_filter_config": entries})
    return compile_overrides(host, "host", COMPILERS)


def test_a_message_of_the_filter_itself() -> None:
    path = 'host.typed_per_filter_config["f"]'
    assert compiled({"f": {"@type": ANY + ROUTER}}) == {"f": FilterOverride((False, path))}


def test_a_wrapped_message() -> None:
    path = 'host.typed_per_filter_config["f"].config'
    entry = {"@type": WRAPPED, "config": {"@type": ANY + ROUTER}}
    assert compiled({"f": entry}) == {"f": FilterOverride((False, path))}


def test_a_disabled_filter_needs_no_message() -> None:
    assert compiled({"f": {"@type": WRAPPED, "disabled": True}}) == {"f": FilterOverride(disabled=True)}


def test_an_unknown_message_is_left_out_if_it_is_optional() -> None:
    unknown = {"@type": ANY + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}
    assert compiled({"f": {"@type": WRAPPED, "is_optional": True, "config": unknown}}) == {}
    with pytest.raises(ConfigError, match=r'typed_per_filter_config\["f"\].config.*no per-route configuration'):
        compiled({"f": {"@type": WRAPPED, "config": unknown}})


@pytest.mark.parametrize("entry", [{"@type": WRAPPED}, {"@type": WRAPPED, "is_optional": True}])
def test_an_entry_that_says_nothing_is_refused(entry: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError, match=r'typed_per_filter_config\["f"\].config'):
        compiled({"f": entry})


def test_what_the_filter_does_not_support_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'typed_per_filter_config\["f"\]\.upstream_log'):
        compiled({"f": {"@type": ANY + ROUTER, "upstream_log": [{}]}})


OFF = {"@type": WRAPPED, "disabled": True}


def configuration(**levels: Mapping[str, object]) -> RouteTable:
    proto = RouteConfiguration()
    cluster = {"name": "c", "weight": 1, "typed_per_filter_config": levels.get("cluster", {})}
    route = {
        "match": {"prefix": "/"},
        "route": {"weighted_clusters": {"clusters": [cluster]}},
        "typed_per_filter_config": levels.get("route", {}),
    }
    host = {"name": "h", "domains": ["*"], "routes": [route], "typed_per_filter_config": levels.get("host", {})}
    fill(proto, {"virtual_hosts": [host], "typed_per_filter_config": levels.get("configuration", {})})
    return RouteTable(compile_route_configuration(proto))


@pytest.mark.parametrize("level", ["cluster", "route", "host", "configuration"])
def test_every_level_is_asked(level: str) -> None:
    decision = configuration(**{level: {"f": OFF}}).decide(RequestHead(b"GET", b"/", b"a", []))
    assert decision is not None
    assert isinstance(decision.route.action, ForwardAction)
    target = decision.route.action.clusters[0]
    assert override(decision, target, "f") == FilterOverride(disabled=True)
    assert override(decision, target, "other") is None
    assert overrides(decision, target, "f") == (FilterOverride(disabled=True),)
    assert names_filtered(decision, target) == {"f"}
    assert (override(decision, None, "f") is None) == (level == "cluster")


def test_the_most_specific_level_counts() -> None:
    entry = FilterOverride("of the route")
    table = configuration(host={"f": OFF}, configuration={"g": OFF})
    decision = table.decide(RequestHead(b"GET", b"/", b"a", []))
    assert decision is not None
    decision.route.filters["f"] = entry  # type: ignore[index]
    assert override(decision, None, "f") == entry
    assert overrides(decision, None, "f") == (FilterOverride(disabled=True), entry)
    assert names_filtered(decision, None) == {"f", "g"}
