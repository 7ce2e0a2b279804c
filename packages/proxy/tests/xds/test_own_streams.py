"""Types that come by streams of their own, beside the aggregated one."""

from __future__ import annotations

import pytest

from isthmus_proxy.xds.apply import MAX_SOURCES, Sources
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.source import ApiSource, ManagementServer
from isthmus_proxy.xds.testing import Proxy, cluster, endpoints, listener, routes

ONE = ApiSource((ManagementServer("one"),))
BOTH: list[Variant] = ["sotw", "delta"]


@pytest.mark.parametrize("variant", BOTH)
def test_endpoints_come_from_the_server_that_their_cluster_names(variant: Variant) -> None:
    proxy = Proxy(variant)
    proxy.start()
    said = proxy.send(CLUSTER, "1", cluster("A"), cluster("B", "own:one"), cluster("C", "own:two"))
    assert [line.split()[:2] for line in said if line.startswith("eds")] in ([["eds", "A"]], [["eds", "+A"]])
    one, two = proxy.own(ENDPOINT, "one"), proxy.own(ENDPOINT, "two")
    assert (proxy.said(one), proxy.said(two)) == (["eds B v n"], ["eds C v n"])
    proxy.send(ENDPOINT, "7", endpoints("A", 1))
    assert proxy.send(ENDPOINT, "7", endpoints("B", 2), session=one) == ["eds B v7 n3"]
    ready = [proxy.discovery.clusters_ready]
    proxy.send(ENDPOINT, "9", endpoints("C", 3), session=two)
    assert [proxy.ports(name) for name in "ABC"] == [[1], [2], [3]]
    assert [*ready, proxy.discovery.clusters_ready] == [False, True]
    assert sorted(proxy.discovery.sessions.accepted(ENDPOINT)) == ["A", "B", "C"]


def test_a_stream_takes_nothing_that_was_asked_for_elsewhere() -> None:
    proxy = Proxy()
    proxy.start()
    proxy.send(CLUSTER, "1", cluster("A"), cluster("B", "own:one"))
    one = proxy.own(ENDPOINT, "one")
    proxy.send(ENDPOINT, "1", endpoints("A", 66), session=one)
    assert proxy.ports("A") == []
    assert proxy.send(CLUSTER, "2", session=one) == []
    assert sorted(proxy.discovery.clusters.warming) == ["A", "B"]


def test_a_stream_goes_with_the_last_who_needs_it_and_serves_all_till_then() -> None:
    proxy = Proxy()
    proxy.start()
    proxy.send(CLUSTER, "1", cluster("A", "own:one"), cluster("B", "own:one"))
    one = proxy.own(ENDPOINT, "one")
    assert proxy.said(one) == ["eds A,B v n"]
    proxy.send(CLUSTER, "2", cluster("A", "own:one"))
    assert proxy.said(one) == ["eds A v n"]
    proxy.send(CLUSTER, "3")
    assert not proxy.discovery.sessions.own


def test_a_cluster_may_change_its_source_and_serves_on_until_the_new_one_answers() -> None:
    proxy = Proxy()
    proxy.start()
    proxy.send(CLUSTER, "1", cluster("A"))
    proxy.send(ENDPOINT, "1", endpoints("A", 1))
    proxy.send(CLUSTER, "2", cluster("A", "own:two"))
    two = proxy.own(ENDPOINT, "two")
    assert (proxy.ports("A"), list(proxy.discovery.clusters.warming)) == ([1], ["A"])
    proxy.send(ENDPOINT, "1", endpoints("A", 2), session=two)
    assert (proxy.ports("A"), list(proxy.discovery.clusters.warming)) == ([2], [])


def test_routes_come_from_the_server_that_their_listener_names_and_hold_it_up() -> None:
    proxy = Proxy()
    proxy.start()
    proxy.send(CLUSTER, "1")
    said = proxy.send(LISTENER, "1", listener("L", "R@own:one"))
    assert not [line for line in said if line.startswith("rds")]
    one = proxy.own(ROUTE, "one")
    assert proxy.said(one) == ["rds R v n"]
    assert not proxy.listeners.open
    proxy.discovery.disconnected(one)
    proxy.discovery.connected(one)
    proxy.send(ROUTE, "1", routes("R"), session=one)
    assert list(proxy.listeners.open) == ["L"]
    assert proxy.stats.value("http.in.rds.R.update_success") == 1
    assert proxy.stats.value("http.in.rds.R.update_failure") == 1
    assert proxy.stats.value("listener_manager.lds.update_failure") == 0


def test_clusters_and_listeners_come_by_streams_of_their_own_without_any_other() -> None:
    sources = Sources(
        True, True, aggregated=False, clusters_source=ONE, listeners_source=ONE, servers=frozenset({"one"})
    )
    proxy = Proxy(sources=sources)
    assert proxy.start() == []
    cds = proxy.own(CLUSTER, "one")
    assert proxy.said(cds) == ["cds * v n"]
    said = proxy.send(CLUSTER, "1", cluster("A", "own:one"), cluster("B", "static"), cluster("C"), session=cds)
    assert said == ["cds * v n1 NACK C: ads: dynamic_resources.ads_config is not set"]
    proxy.send(ENDPOINT, "1", endpoints("A", 1), session=proxy.own(ENDPOINT, "one"))
    lds = proxy.own(LISTENER, "one")
    proxy.send(LISTENER, "1", listener("L", "R@own:one"), session=lds)
    proxy.send(ROUTE, "1", routes("R"), session=proxy.own(ROUTE, "one"))
    assert proxy.discovery.initialized
    assert proxy.stats.value("cluster_manager.cds.update_rejected") == 1
    assert proxy.stats.value("listener_manager.lds.update_success") == 1
    proxy.discovery.disconnected(cds)
    failures = [proxy.stats.value(f"{name}.update_failure") for name in ("cluster_manager.cds", "listener_manager.lds")]
    assert failures == [1, 0]


def test_a_stream_of_its_own_has_its_own_variant() -> None:
    source = ApiSource((ManagementServer("one"),), delta=True, set_node_on_first_message_only=True)
    proxy = Proxy("sotw", sources=Sources(True, False, clusters_source=source, servers=frozenset({"one"})))
    assert proxy.start() == []
    session = proxy.discovery.sessions.own[CLUSTER, source]
    proxy.discovery.connected(session)
    assert proxy.said(session) == ["cds n"]
    assert proxy.send(CLUSTER, "5", cluster("A", "static"), session=session) == ["cds n1"]
    proxy.discovery.disconnected(session)
    proxy.discovery.connected(session)
    assert proxy.said(session) == ["cds A=5 n"]
    assert proxy.clusters.names() == ["A"]


def test_what_cannot_be_asked_for_is_refused_by_name() -> None:
    proxy = Proxy()
    proxy.start()
    (nack,) = [line for line in proxy.send(CLUSTER, "1", cluster("A", "own:gone")) if line.startswith("cds")]
    assert 'NACK A: api_config_source.grpc_services[0].envoy_grpc.cluster_name = "gone"' in nack
    proxy.send(CLUSTER, "2")
    (nack,) = [
        line for line in proxy.send(LISTENER, "1", listener("L", "R"), listener("M", "R@own:one")) if "lds" in line
    ]
    assert "NACK M: rds.config_source" in nack
    (nack,) = [
        line for line in proxy.send(LISTENER, "2", listener("L", "R"), listener("N", "S@own:gone")) if "lds" in line
    ]
    assert "NACK N: api_config_source" in nack
    assert not proxy.discovery.sessions.own


def test_endpoints_of_one_name_come_from_one_source() -> None:
    proxy = Proxy()
    proxy.start()
    first, second = cluster("A"), cluster("B", "own:one")
    first.eds_cluster_config.service_name = second.eds_cluster_config.service_name = "shared"
    (nack,) = [line for line in proxy.send(CLUSTER, "1", first, second) if line.startswith("cds")]
    assert "NACK B: eds_cluster_config.eds_config = shared: cluster A takes" in nack
    # Alone it may.
    proxy.send(CLUSTER, "2", second)
    assert proxy.said(proxy.own(ENDPOINT, "one")) == ["eds shared v n"]


@pytest.mark.parametrize("variant", BOTH)
def test_all_who_share_a_name_may_change_its_source_together(variant: Variant) -> None:
    proxy = Proxy(variant)
    proxy.start()
    first, second = cluster("A"), cluster("B")
    first.eds_cluster_config.service_name = second.eds_cluster_config.service_name = "shared"
    proxy.send(CLUSTER, "1", first, second)
    proxy.send(ENDPOINT, "1", endpoints("shared", 1))
    proxy.send(LISTENER, "1", listener("L", "R"), listener("M", "R"))
    first.alt_stat_name = second.alt_stat_name = "own:two"
    assert not [line for line in proxy.send(CLUSTER, "2", first, second) if "NACK" in line]
    assert proxy.said(proxy.own(ENDPOINT, "two")) == ["eds shared v n"]
    said = proxy.send(LISTENER, "2", listener("L", "R@own:one"), listener("M", "R@own:one"))
    assert not [line for line in said if "NACK" in line]
    assert proxy.said(proxy.own(ROUTE, "one")) == ["rds R v n"]


def test_streams_are_bounded() -> None:
    names = [f"s{index}" for index in range(MAX_SOURCES + 1)]
    proxy = Proxy(sources=Sources(True, False, servers=frozenset(names)))
    proxy.start()
    said = proxy.send(CLUSTER, "1", *(cluster(name, f"own:{name}") for name in names))
    assert f"NACK {names[-1]}: api_config_source" in said[-1]
    assert len(proxy.discovery.sessions.own) == MAX_SOURCES
