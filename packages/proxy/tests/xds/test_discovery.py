"""What the proxy says to a scripted control plane, in which order, and what is in service after each step."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as discovery

from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.testing import Proxy, cluster, compile_listener, endpoints, listener, live, routes


def test_the_order_of_messages_is_envoys() -> None:
    # As traced from a live Envoy (integration/test_xds_trace.py): endpoints are asked for before the clusters' ACK, listeners
    # once the clusters are there and before the endpoints' ACK, routes before the listeners' ACK.
    proxy = Proxy()
    assert proxy.start() == ["cds * v n"]
    assert proxy.send(CLUSTER, "c1", cluster("A"), cluster("B")) == ["eds A,B v n", "cds * vc1 n1"]
    assert not proxy.discovery.clusters_ready
    assert proxy.send(ENDPOINT, "e1", endpoints("A", 1), endpoints("B", 2)) == ["lds * v n", "eds A,B ve1 n2"]
    assert proxy.send(LISTENER, "l1", listener("L", "R")) == ["rds R v n", "lds * vl1 n3"]
    assert proxy.listeners.open == {}
    assert proxy.send(ROUTE, "r1", routes("R")) == ["rds R vr1 n4"]
    assert list(proxy.listeners.open) == ["L"]
    assert proxy.discovery.initialized
    # Removing B: the endpoints' interest goes out with its old nonce, then the ACK.
    assert proxy.send(CLUSTER, "c2", cluster("A")) == ["eds A ve1 n2", "cds * vc2 n5"]
    assert proxy.clusters.names() == ["A"]


def test_the_order_of_messages_in_delta() -> None:
    proxy = Proxy("delta")
    assert proxy.start() == ["cds n"]
    assert proxy.send(CLUSTER, "1", cluster("A"), cluster("B")) == ["eds +A +B n", "cds n1"]
    assert proxy.send(ENDPOINT, "1", endpoints("A", 1), endpoints("B", 2)) == ["lds n", "eds n2"]
    assert proxy.send(LISTENER, "1", listener("L", "R")) == ["rds +R n", "lds n3"]
    assert proxy.send(ROUTE, "1", routes("R")) == ["rds n4"]
    assert proxy.send(CLUSTER, "", removed=("B",)) == ["eds -B n", "cds n5"]
    assert proxy.clusters.names() == ["A"]


def test_a_nack_names_resource_and_field_and_the_rest_applies() -> None:
    proxy = live()
    assert proxy.send(CLUSTER, "2", cluster("A", "2"), cluster("B", "bad"), cluster("C")) == [
        "eds A,B,C v1 n2",
        "cds * v1 n5 NACK B: alt_stat_name = bad: is refused",
    ]
    proxy.send(ENDPOINT, "2", endpoints("C", 3))
    contents = {config.name: config.content for config in proxy.clusters.configs()}
    assert contents == {"A": "2", "B": "1", "C": "1"}, "the old B stays in service"
    assert proxy.session.rejected(CLUSTER)["B"].reason == "alt_stat_name = bad: is refused"
    assert proxy.stats.value("cluster_manager.cds.update_rejected") == 1
    assert proxy.send(CLUSTER, "3", cluster("A", "2"), cluster("B", "3"), cluster("C")) == ["cds * v3 n7"]
    assert not proxy.session.rejected(CLUSTER)


def test_a_resource_that_cannot_be_read_removes_nothing() -> None:
    proxy = live()
    response = discovery.DiscoveryResponse(type_url=CLUSTER, version_info="2", nonce="x")
    response.resources.add(type_url=CLUSTER, value=b"\xff\xff")
    response.resources.add(type_url="type.googleapis.com/other.Type")
    assert proxy.discovery.receive(response) is False
    (answer,) = proxy.said()
    assert answer.startswith("cds * v1 nx NACK resources[0]: ")
    assert "type type.googleapis.com/other.Type in a response of" in answer
    assert proxy.clusters.names() == ["A", "B"]


def test_a_name_twice_in_one_response_is_refused() -> None:
    proxy = live()
    assert proxy.send(CLUSTER, "2", cluster("A"), cluster("B"), cluster("C", "1"), cluster("C", "2")) == [
        "cds * v1 n5 NACK C: duplicate resource C in one response"
    ]
    assert proxy.clusters.names() == ["A", "B"]


def test_a_changed_cluster_uses_the_endpoints_that_are_known() -> None:
    proxy = live()
    proxy.send(CLUSTER, "2", cluster("A", "2"), cluster("B"))
    assert proxy.cds.warming == {}
    assert next(proxy.clusters.configs()).content == "2"
    assert proxy.ports("A") == [1]


def test_a_new_cluster_waits_for_its_endpoints_then_goes_live_empty() -> None:
    proxy = live()
    proxy.send(CLUSTER, "2", cluster("A"), cluster("B"), cluster("C"))
    assert proxy.clusters.names() == ["A", "B"]
    assert proxy.stats.value("cluster_manager.warming_clusters") == 1
    proxy.wait(14.9)
    assert proxy.clusters.names() == ["A", "B"]
    proxy.wait(0.2)
    assert proxy.clusters.names() == ["A", "B", "C"]
    assert proxy.ports("C") == []
    assert proxy.stats.value("cluster.C.init_fetch_timeout") == 1
    proxy.send(ENDPOINT, "2", endpoints("C", 3))
    assert proxy.ports("C") == [3]
    proxy.send(CLUSTER, "3", cluster("A"), cluster("B"))
    assert proxy.stats.value("cluster.C.init_fetch_timeout") is None


def test_a_control_plane_that_says_there_are_none_ends_the_wait() -> None:
    proxy = live("delta")
    proxy.send(CLUSTER, "2", cluster("C"))
    proxy.send(ENDPOINT, "", removed=("C",))
    assert proxy.clusters.names() == ["A", "B", "C"]
    proxy.send(ENDPOINT, "", removed=("A",))
    assert proxy.ports("A") == [1], "endpoints in service stay"


def test_each_wait_ends_connection_or_not() -> None:
    proxy = Proxy()
    assert proxy.start() == ["cds * v n"]
    proxy.discovery.disconnected()
    assert proxy.wait(15) == []
    assert proxy.stats.value("cluster_manager.cds.init_fetch_timeout") == 1
    assert (proxy.discovery.clusters_ready, proxy.discovery.initialized) == (True, False)
    proxy.wait(15)
    assert (proxy.discovery.clusters_ready, proxy.discovery.initialized) == (True, True)
    assert not proxy.discovery.complete, "nobody has said anything"
    assert proxy.discovery.next_deadline() == float("inf")
    proxy.discovery.connected()
    assert proxy.said() == ["cds * v n", "lds * v n"]
    proxy.send(CLUSTER, "1")
    assert not proxy.discovery.complete
    proxy.send(LISTENER, "1")
    assert proxy.discovery.complete


def test_a_listener_opens_with_empty_routes_after_its_wait() -> None:
    proxy = live()
    proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "S"))
    assert list(proxy.listeners.open) == ["L"]
    assert proxy.stats.value("listener_manager.total_listeners_warming") == 1
    proxy.wait(15)
    assert list(proxy.listeners.open) == ["L", "M"]
    table = proxy.routes.get_or_create("S").table
    assert table is not None
    assert table.configuration.virtual_hosts == ()
    proxy.send(ROUTE, "2", routes("S"))
    found = proxy.routes.get_or_create("S").table
    assert found is not None
    assert found.configuration.content == "S"


def test_a_changed_listener_stays_as_it_is_until_its_new_routes_are_here() -> None:
    proxy = live()
    assert proxy.send(LISTENER, "2", listener("L", "S")) == ["rds S v1 n4", "lds * v2 n5"]
    assert proxy.listeners.open["L"].content == "R"
    proxy.send(ROUTE, "2", routes("S"))
    assert proxy.listeners.open["L"].content == "S"


def test_removed_listeners_close_and_their_routes_are_given_up() -> None:
    proxy = live()
    assert proxy.send(LISTENER, "2") == ["rds * v1 n4", "lds * v2 n5"]
    assert proxy.listeners.open == {}
    assert proxy.routes.names() == []


def test_a_taken_address_is_a_nack() -> None:
    proxy = live()
    proxy.listeners.taken.add("M")
    proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "R"))
    assert proxy.session.rejected(LISTENER)["M"].reason.endswith("Address already in use")
    assert list(proxy.listeners.open) == ["L"]


def test_a_taken_address_is_a_nack_before_the_listener_warms() -> None:
    proxy = live()
    proxy.listeners.taken.add("M")
    said = proxy.send(LISTENER, "2", listener("L", "R"), listener("M", "S"))
    assert proxy.session.rejected(LISTENER)["M"].reason.endswith("Address already in use")
    assert not any("rds" in request for request in said)


@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_a_new_stream_asks_for_everything_with_what_is_there(variant: Variant) -> None:
    proxy = live(variant)
    proxy.discovery.disconnected()
    assert proxy.clusters.names() == ["A", "B"]
    assert list(proxy.listeners.open) == ["L"]
    proxy.discovery.connected()
    if variant == "sotw":
        assert proxy.said() == ["cds * v1 n", "eds A,B v1 n", "lds * v1 n", "rds R v1 n"]
    else:
        assert proxy.said() == ["cds A=1 B=1 n", "eds +A +B A=1 B=1 n", "lds L=1 n", "rds +R R=1 n"]


def test_the_node_goes_into_the_first_request_or_all() -> None:
    for in_all, expected in ((True, [True, True, True]), (False, [True, False, False])):
        proxy = Proxy()
        proxy.session._node_in_all = in_all
        proxy.discovery.start(proxy.cds, proxy.lds, (), ())
        proxy.discovery.connected()
        requests = proxy.discovery.take_requests()
        response = discovery.DiscoveryResponse(type_url=CLUSTER, version_info="1", nonce="1")
        response.resources.add().Pack(cluster("A"))
        proxy.discovery.receive(response)
        requests += proxy.discovery.take_requests()
        assert [request.HasField("node") for request in requests] == expected


def test_resources_of_the_bootstrap_are_not_replaced_and_listeners_wait_for_clusters() -> None:
    proxy = Proxy(lds=False)
    static = ClusterConfig("A", "EDS", content="file")
    opened = compile_listener(listener("F", "R"))
    assert proxy.start((static,), (opened,)) == ["cds * v n", "eds A v n"]
    assert proxy.send(ENDPOINT, "1", endpoints("A", 1)) == ["eds A v1 n1"]
    assert proxy.listeners.open == {}
    assert (
        proxy.send(CLUSTER, "1", cluster("A"))
        == [
            "rds R v n",
            "cds * v n2 NACK A: name = A: the bootstrap file has a cluster of this name",
        ]
        or proxy.lds.warming
    )
    proxy.send(ROUTE, "1", routes("R"))
    assert list(proxy.listeners.open) == ["F"]


def test_versions_and_times_are_counted_as_envoy_names_them() -> None:
    proxy = live()
    proxy.discovery.disconnected()
    assert proxy.stats.value("cluster_manager.cds.update_success") == 1
    assert proxy.stats.value("cluster_manager.cds.update_attempt") == 1
    assert proxy.stats.value("cluster_manager.cds.update_failure") == 1
    assert proxy.stats.value("cluster_manager.cds.update_time") == 1_000_000
    assert proxy.stats.value("listener_manager.lds.update_success") == 1
    assert proxy.stats.value("http.in.rds.R.update_success") == 1
    assert proxy.stats.scope("cluster_manager.cds").text("version_text").value == "1"


def test_a_response_of_a_type_never_asked_for_is_ignored() -> None:
    proxy = live()
    response = discovery.DiscoveryResponse(type_url="type.googleapis.com/other.Type", nonce="1")
    assert proxy.discovery.receive(response) is None
    assert proxy.said() == []


def test_long_errors_are_cut() -> None:
    proxy = live()
    (_, answer) = proxy.send(CLUSTER, "2", *(cluster(f"{i:0500d}", "bad") for i in range(20)))
    assert len(answer) < 4200
    assert answer.endswith(" ...")
