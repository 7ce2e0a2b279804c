"""Priorities by labels that client and endpoints share (``failoverPriority``); vectors by hand from Istio's documentation.

"Endpoints matching all N labels have priority 0, those matching the first N-1 labels 1, ... all others N"; a label counts only
if the ones before it match. Numbers without endpoints are left out, since clients refuse gaps.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, translate
from isthmus_controlplane.translate.translation import ENDPOINT_TYPE

HOST = "reviews.shop"
NAME = f"outbound|8080||{HOST}"
Labels = dict[str, str]
N, R, Z = "topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
NETWORKS: list[Labels] = [
    {N: "n1", "version": "v1"},
    {N: "n1", "version": "v2"},
    {N: "n2", "version": "v1"},
    {"version": "v1"},
]


def ranked(*labels: str, enabled: bool | None = None) -> ConfigObject:
    setting: dict[str, Any] = {"failoverPriority": list(labels)}
    if enabled is not None:
        setting["enabled"] = enabled
    balancer = {"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": {}}
    return rule(HOST, trafficPolicy=balancer)


def spread(endpoints: list[Labels], places: list[str] | None = None) -> ConfigObject:
    return service(HOST, endpoints=[
        {"address": f"10.0.0.{number}", "labels": labels, "locality": (places or [""] * len(endpoints))[number]}
        for number, labels in enumerate(endpoints)
    ])  # fmt: skip


def seen(
    governing: ConfigObject,
    client: Labels,
    endpoints: list[Labels],
    places: list[str] | None = None,
    locality: str = "",
) -> list[int]:
    """The priority of each endpoint."""
    model = admitted([spread(endpoints, places), governing]).model
    scope = narrow(model, Scope(labels=tuple(sorted(client.items())), locality=locality), InstanceIndex())
    made: Any = translate(model, scope).messages[ENDPOINT_TYPE][NAME]
    found = {
        int(each.endpoint.address.socket_address.address.rpartition(".")[2]): group.priority
        for group in made.endpoints
        for each in group.lb_endpoints
    }
    return [found[number] for number in range(len(endpoints))]


@pytest.mark.parametrize(
    ("labels", "client", "endpoints", "expected"),
    [
        ([N], {N: "n1"}, NETWORKS, [0, 0, 1, 1]),
        ([N, "version"], {N: "n1", "version": "v1"}, NETWORKS, [0, 1, 2, 2]),
        (["version", N], {N: "n1", "version": "v1"}, NETWORKS, [0, 2, 1, 1]),
        # The first label does not match, so the second does not count: all have the last priority.
        ([N, "version"], {N: "n9", "version": "v1"}, NETWORKS, [0, 0, 0, 0]),
        # A label that neither side has is one that they share.
        ([N, "version"], {"version": "v1"}, NETWORKS, [1, 1, 1, 0]),
        # KEY=VALUE puts VALUE in the place of what the client has.
        (["version=v2"], {"version": "v1"}, NETWORKS, [1, 0, 1, 1]),
        (["version=v2", N], {N: "n2"}, NETWORKS, [1, 0, 1, 1]),
        ([N, "version=v2"], {N: "n1"}, NETWORKS, [1, 0, 2, 2]),
        (["a", "b", "c"], {"a": "1", "b": "1", "c": "1"},
         [{"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "1"}, {"a": "1", "c": "1"}, {"b": "1", "c": "1"}], [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_priorities(labels: list[str], client: Labels, endpoints: list[Labels], expected: list[int]) -> None:
    assert seen(ranked(*labels), client, endpoints) == expected


def test_places_are_labels_too() -> None:
    places = ["eu/a", "eu/b", "us/a", "eu/a"]
    endpoints: list[Labels] = [{}, {}, {}, {R: "us"}]
    assert seen(ranked(R, Z), {}, endpoints, places, "eu/a") == [0, 1, 2, 0]
    assert seen(ranked(R), {R: "us"}, endpoints, places) == [1, 1, 0, 1]


def test_one_place_may_have_several_priorities() -> None:
    model = admitted([spread(NETWORKS, ["eu"] * 4), ranked(N)]).model
    made: Any = translate(model, Scope(labels=((N, "n1"),))).messages[ENDPOINT_TYPE][NAME]
    assert [(each.locality.region, each.priority, len(each.lb_endpoints)) for each in made.endpoints] == [
        ("eu", 0, 2), ("eu", 1, 2)
    ]  # fmt: skip
    assert [each.load_balancing_weight.value for each in made.endpoints] == [2, 2]


def test_labels_instead_of_places() -> None:
    assert seen(ranked("version"), {"version": "v1"}, NETWORKS[:2], ["us", "eu"], "eu") == [0, 1]
    assert seen(ranked("version", enabled=False), {"version": "v1"}, NETWORKS[:2], ["us", "eu"], "eu") == [0, 0]


def test_only_the_labels_that_are_compared_tell_clients_apart() -> None:
    model = admitted([spread(NETWORKS), ranked(N, "version=v1")]).model
    one, two, other = (
        narrow(model, Scope(labels=tuple(sorted(labels.items()))), InstanceIndex())
        for labels in ({N: "n1", "version": "v1"}, {N: "n1", "version": "v2", "x": "y"}, {N: "n2"})
    )
    assert one == two == Scope(labels=((N, "n1"),))
    assert other != one


def test_a_memo_keeps_clients_apart_and_forgets_those_that_are_gone() -> None:
    model, memo = admitted([spread(NETWORKS), ranked(N)]).model, Memo()
    first, second = Scope(labels=((N, "n1"),)), Scope(labels=((N, "n2"),))
    for scope in (first, second, first):
        assert translate(model, scope, memo).messages == translate(model, scope).messages
    memo.forget([HOST], [first])
    misses = memo.misses
    translate(model, second, memo)
    assert memo.misses > misses


VALUES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2"]))


@given(VALUES, st.lists(VALUES, min_size=1, max_size=6), st.permutations(["a", "b", "c"]))
def test_priorities_have_no_gaps_and_follow_the_number_of_shared_labels(
    client: Labels, endpoints: list[Labels], order: list[str]
) -> None:
    def shared(labels: Labels) -> int:
        return next((n for n, key in enumerate(order) if labels.get(key) != client.get(key)), len(order))

    found = seen(ranked(*order), client, endpoints)
    assert sorted(set(found)) == list(range(len(set(found))))
    for one, first in zip(endpoints, found, strict=True):
        for other, second in zip(endpoints, found, strict=True):
            assert (first < second) == (shared(one) > shared(other))
