"""Groups of requests: which stats a request is counted in, and how long these live."""

from __future__ import annotations

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderMatch,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualCluster,
    VirtualHost,
)
from isthmus_proxy.route.table import RouteHandles, RouteTable

POSTS = VirtualCluster("posts", (HeaderMatch(b":method", StringMatch("exact", b"POST")),))
ACTION = ForwardAction((ClusterWeight("c"),), 1)


def configuration(stat_prefix: str = "", *clusters: VirtualCluster, content: str = "") -> RouteConfiguration:
    route = Route(RouteMatch(StringMatch("prefix", b"/")), ACTION, stat_prefix=stat_prefix)
    return RouteConfiguration("r", (VirtualHost("v", (b"*",), (route,), virtual_clusters=clusters),), content)


def names(store: StatsStore, config: RouteConfiguration, method: bytes = b"GET") -> list[str]:
    table = RouteTable(config, scope=store.scope)
    request = RequestHead(method, b"/", b"a", [])
    decision = table.decide(request)
    assert decision is not None
    assert table.groups is not None
    groups = table.groups.of(decision, request)
    for group in groups:
        group.charge(200)
    return [group.name for group in groups]


def test_a_configuration_without_groups_counts_nothing() -> None:
    store = StatsStore()
    assert RouteTable(configuration(), scope=store.scope).groups is None
    assert RouteTable(configuration("p", POSTS)).groups is None
    assert store.scopes() == []


def test_a_request_is_counted_for_its_route_and_its_virtual_cluster() -> None:
    store = StatsStore()
    assert names(store, configuration("p", POSTS), b"POST") == ["", "posts"]
    assert names(store, configuration("p", POSTS)) == ["", ""]
    assert store.value("vhost.v.route.p.upstream_rq_200") == 2
    assert store.value("vhost.v.vcluster.posts.upstream_rq_2xx") == 1
    assert store.value("vhost.v.vcluster.other.upstream_rq_completed") == 1


def test_statuses_that_do_not_exist_share_one_counter() -> None:
    store = StatsStore()
    table = RouteTable(configuration("p"), scope=store.scope)
    request = RequestHead(b"GET", b"/", b"a", [])
    decision = table.decide(request)
    assert decision is not None
    assert table.groups is not None
    (group,) = table.groups.of(decision, request)
    for status in (999, 600, 42):
        group.charge(status)
    assert store.value("vhost.v.route.p.upstream_rq_unknown") == 3
    assert store.value("vhost.v.route.p.upstream_rq_5xx") == 3


def test_counters_survive_an_update_and_leave_with_the_configuration() -> None:
    store = StatsStore()
    handles = RouteHandles(scope=store.scope)
    handles.update(configuration("p", content="1"))
    store.scope("vhost.v.route.p").counter("upstream_rq_total").value = 7
    store.scopes()[0].close()
    handles.update(configuration("p", POSTS, content="2"))
    assert store.value("vhost.v.route.p.upstream_rq_total") == 7
    handles.update(configuration(content="3"))
    assert store.scopes() == []
    handles.update(configuration("p", content="4"))
    handles.remove("r")
    assert store.scopes() == []
