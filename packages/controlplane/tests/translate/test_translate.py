"""Whole translations: listeners per kind of node, and what holds for every input."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service, split, virtual_service
from isthmus_controlplane.snapshot.snapshot import build
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

EXPLICIT = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)
BOUND = Scope(interception="NONE", bind="127.0.0.1")
SCOPES = [
    Scope(),
    Scope(namespace="other"),
    Scope(interception="TPROXY"),
    EXPLICIT,
    BOUND,
    Scope(kind="grpc"),
    Scope(kind="gateway"),
]
DATABASE = service("db.shop", "v1", port=3306, protocol="MYSQL", addresses=["240.0.0.9"])
QUEUE = service("queue.shop", "v1", port=5672, protocol="TCP")
WEB = service("web.shop", "v1")


def translated(*objects: ConfigObject, scope: Scope | None = None) -> Translation:
    return translate(admitted(objects).model, scope or Scope())


def listeners(*objects: ConfigObject, scope: Scope | None = None) -> dict[str, Any]:
    return dict(translated(*objects, scope=scope).messages[LISTENER_TYPE])


def where(listener: Any) -> tuple[str, int]:
    return listener.address.socket_address.address, listener.address.socket_address.port_value


def test_a_redirected_sidecar_has_a_listener_per_http_port_and_per_tcp_address() -> None:
    found = listeners(WEB, service("other.shop"), DATABASE, QUEUE)
    assert {name: where(listener) for name, listener in found.items()} == {
        "0.0.0.0_5672": ("0.0.0.0", 5672),
        "0.0.0.0_8080": ("0.0.0.0", 8080),
        "240.0.0.9_3306": ("240.0.0.9", 3306),
        "virtualOutbound": ("0.0.0.0", 15001),
    }
    assert not any(listener.bind_to_port.value for listener in found.values())
    assert found["0.0.0.0_8080"].HasField("bind_to_port")
    assert found["virtualOutbound"].use_original_dst.value


def test_tproxy_is_transparent() -> None:
    assert listeners(scope=Scope(interception="TPROXY"))["virtualOutbound"].transparent.value
    assert not listeners()["virtualOutbound"].HasField("transparent")


def test_a_sidecar_without_redirection_binds_to_loopback() -> None:
    found = listeners(WEB, QUEUE, scope=BOUND)
    assert {name: where(listener) for name, listener in found.items()} == {
        "127.0.0.1_5672": ("127.0.0.1", 5672),
        "127.0.0.1_8080": ("127.0.0.1", 8080),
    }
    assert not any(listener.HasField("bind_to_port") for listener in found.values())


def test_tcp_services_that_share_a_port_conflict_where_addresses_do_not_tell_them_apart() -> None:
    rival = service("db2.shop", "v1", port=3306, protocol="TCP", addresses=["240.0.0.10"])
    assert translated(DATABASE, rival).problems == ()
    (problem,) = translated(DATABASE, rival, scope=BOUND).problems
    assert (problem.origin, problem.path) == (str(rival.key), "spec.ports")


def test_an_explicit_proxy_has_one_listener() -> None:
    found = listeners(WEB, service("b.shop", port=81), DATABASE, scope=EXPLICIT)
    assert {name: where(listener) for name, listener in found.items()} == {"http_proxy": ("127.0.0.1", 15001)}


def test_a_proxyless_client_asks_for_host_and_port() -> None:
    translation = translated(WEB, scope=Scope(kind="grpc"))
    assert list(translation.messages[LISTENER_TYPE]) == ["web.shop:8080"]
    listener: Any = translation.messages[LISTENER_TYPE]["web.shop:8080"]
    assert listener.HasField("api_listener")
    assert not listener.HasField("address")
    assert list(translation.messages[ROUTE_TYPE]) == ["web.shop:8080"]


def test_a_gateway_has_clusters_only() -> None:
    translation = translated(WEB, scope=Scope(kind="gateway"))
    assert "outbound|8080||web.shop" in translation.messages[CLUSTER_TYPE]
    assert translation.messages[LISTENER_TYPE] == {}


def test_routes_and_listeners_name_their_objects() -> None:
    route = virtual_service("web.shop", {"directResponse": {"status": 404}})
    translation = translated(WEB, DATABASE, route)
    assert translation.origins[LISTENER_TYPE, "240.0.0.9_3306"] == (DATABASE.key,)
    assert translation.origins[ROUTE_TYPE, "8080"] == (WEB.key, route.key)


HOSTS = ["a.shop", "b.shop", "c.default.svc.cluster.local", "c"]
VERSIONS = ["v1", "v2", "v3"]
POLICIES: list[dict[str, Any]] = [
    {},
    {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
    {"loadBalancer": {"consistentHash": {"useSourceIp": True}}, "connectionPool": {"tcp": {"idleTimeout": "9s"}}},
]


@st.composite
def worlds(draw: st.DrawFn) -> list[ConfigObject]:
    """Objects that agree or do not: services, rules and routes over few hosts."""
    hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=5))
    objects: list[ConfigObject] = []
    for number, host in enumerate(hosts):
        versions = draw(st.lists(st.sampled_from(VERSIONS), max_size=3))
        port, protocol = draw(st.sampled_from([(80, "HTTP"), (81, "HTTP"), (80, "TCP"), (82, "GRPC")]))
        name = f"n{number}"
        objects.append(service(host, *versions, port=port, protocol=protocol, name=name))
        if draw(st.booleans()):
            policy = draw(st.sampled_from(POLICIES))
            objects.append(rule(host, *draw(st.sets(st.sampled_from(VERSIONS))), name=name, trafficPolicy=policy))
        if draw(st.booleans()):
            weights = draw(st.dictionaries(st.sampled_from(VERSIONS), st.integers(1, 100), min_size=1))
            objects.append(split(draw(st.sampled_from(HOSTS)), weights, name=name))
        elif draw(st.booleans()):
            mirrors = [
                {"destination": {"host": draw(st.sampled_from(HOSTS)), "subset": draw(st.sampled_from(VERSIONS))}}
            ]
            objects.append(
                virtual_service(host, {"route": [{"destination": {"host": host}}], "mirrors": mirrors}, name=name)
            )
    return objects


def named_clusters(translation: Translation) -> set[str]:
    found: set[str] = set()
    for configuration in translation.messages[ROUTE_TYPE].values():
        for host in configuration.virtual_hosts:  # type: ignore[attr-defined]
            for route in host.routes:
                found.update(weight.name for weight in route.route.weighted_clusters.clusters)
                found.update(mirror.cluster for mirror in route.route.request_mirror_policies)
                if route.route.cluster:
                    found.add(route.route.cluster)
    return found


@settings(max_examples=60, deadline=None)
@given(worlds(), worlds(), st.sampled_from(SCOPES), st.sampled_from(["REGISTRY_ONLY", "ALLOW_ANY"]))
def test_no_route_names_a_cluster_that_does_not_exist(
    first: list[ConfigObject], second: list[ConfigObject], scope: Scope, policy: Any
) -> None:
    mesh = MeshSettings(policy)
    state = admitted(second, admitted(first, mesh=mesh), mesh)
    translation = translate(state.model, scope)
    assert named_clusters(translation) <= translation.messages[CLUSTER_TYPE].keys()
    assert build(translation.messages).missing_references() == ()


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from(SCOPES), st.integers())
def test_the_order_of_inputs_does_not_change_a_byte(objects: list[ConfigObject], scope: Scope, seed: int) -> None:
    shuffled = random.Random(seed).sample(objects, len(objects))
    one, two = (build(translate(admitted(each).model, scope).messages) for each in (objects, shuffled))
    assert one.version == two.version


@settings(max_examples=60, deadline=None)
@given(st.lists(worlds(), min_size=2, max_size=4), st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3))
def test_a_memo_changes_speed_and_nothing_else(steps: list[list[ConfigObject]], scopes: list[Scope]) -> None:
    memo, state = Memo(), admitted([])
    for objects in steps:
        state = admitted(objects, state)
        fresh = dataclasses.replace(state, built={})
        again = admitted(objects, fresh)
        memo.forget(state.model.services, scopes)
        for scope in scopes:
            assert translate(state.model, scope, memo) == translate(again.model, scope)


def test_what_did_not_change_is_the_same_message() -> None:
    memo, scope = Memo(), Scope()
    first = admitted([WEB, service("other.shop", "v1")])
    second = admitted([WEB, service("other.shop", "v1", "v2")], first)
    one, two = translate(first.model, scope, memo), translate(second.model, scope, memo)
    name = "outbound|8080||web.shop"
    assert one.messages[CLUSTER_TYPE][name] is two.messages[CLUSTER_TYPE][name]
    assert one.messages[ROUTE_TYPE]["8080"] is two.messages[ROUTE_TYPE]["8080"]


def test_a_changed_route_makes_one_virtual_host_again() -> None:
    services = [service(f"s{number}.shop", "v1", "v2") for number in range(5)]
    rules = [rule("s1.shop", "v1", "v2")]
    memo, misses = Memo(), []
    for weight in (90, 80, 80):
        state = admitted([*services, *rules, split("s1.shop", {"v1": weight, "v2": 100 - weight})])
        before = memo.misses
        made = translate(state.model, Scope(), memo)
        misses.append(memo.misses - before)
        assert made.messages == translate(state.model, Scope()).messages
    assert misses[1:] == [2, 0]  # the virtual host, and the route configuration that holds it


def test_a_memo_forgets_what_is_gone() -> None:
    memo, model = Memo(), admitted([WEB]).model
    translate(model, Scope(), memo)
    memo.forget([], [])
    hits = memo.hits
    translate(model, Scope(), memo)
    assert memo.hits == hits


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from(SCOPES))
def test_domains_are_unique_in_a_route_configuration(objects: list[ConfigObject], scope: Scope) -> None:
    for configuration in translate(admitted(objects).model, scope).messages[ROUTE_TYPE].values():
        domains = [domain for host in configuration.virtual_hosts for domain in host.domains]  # type: ignore[attr-defined]
        assert len(set(domains)) == len(domains)


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_every_resource_has_an_origin_entry(scope: Scope) -> None:
    translation = translated(WEB, DATABASE, QUEUE, scope=scope)
    names = {(type_url, name) for type_url, found in translation.messages.items() for name in found}
    assert translation.origins.keys() == names
