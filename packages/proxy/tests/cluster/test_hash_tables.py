"""Ring hash, maglev and bounded loads. That the tables are Envoy's is shown by ``integration/test_load_balancing.py``."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_proxy.cluster.bounded_load import BoundedLoad, HashTable
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.hashing import murmur_hash_2, xx_hash_64
from isthmus_proxy.cluster.host_set import HostSet
from isthmus_proxy.cluster.lb_policy import Maglev, RingHash
from isthmus_proxy.cluster.maglev import MaglevTable
from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints
from isthmus_proxy.cluster.ring_hash import Ring, Weighted
from isthmus_proxy.cluster.shares import shares

WEIGHTS = st.lists(st.integers(1, 30), min_size=1, max_size=12)
KEYS = [xx_hash_64(b"%d" % number) for number in range(4000)]
ALL_ONES = (1 << 64) - 1


def hosts(weights: list[int], first: int = 1) -> list[Endpoint]:
    place = LocalityEndpoints(())
    return [Endpoint(EndpointConfig("10.0.0.1", first + i, weight=weight), place) for i, weight in enumerate(weights)]


def weighted(endpoints: list[Endpoint]) -> list[tuple[Endpoint, float]]:
    return shares(HostSet(endpoints), panic=False)


def test_known_hashes() -> None:
    assert xx_hash_64(b"") == 0xEF46DB3751D8E999
    assert xx_hash_64(b"foo") == 0x33BF00A859C4BA3F
    assert murmur_hash_2(b"foo") == 9631199822919835226
    assert [murmur_hash_2(b"12345678"[:size]) != murmur_hash_2(b"12345679"[:size]) for size in (7, 8)] == [False, True]


@settings(max_examples=25)
@given(weights=WEIGHTS)
def test_a_ring_gives_each_endpoint_its_share_of_points(weights: list[int]) -> None:
    endpoints = hosts(weights)
    ring = Ring(weighted(endpoints), RingHash(1024))
    assert list(ring.hashes) == sorted(ring.hashes)
    assert len(ring.hashes) >= 1024
    owners = Counter(ring.choose(point, 0) for point in ring.hashes)
    for endpoint, weight in zip(endpoints, weights, strict=True):
        assert abs(owners[endpoint] - len(ring.hashes) * weight / sum(weights)) < 2


@settings(max_examples=25)
@given(weights=WEIGHTS)
def test_a_maglev_table_gives_each_endpoint_its_share_of_entries(weights: list[int]) -> None:
    endpoints = hosts(weights)
    table = MaglevTable(weighted(endpoints), Maglev(1009))
    owners = Counter(table.choose(entry, 0) for entry in range(1009))
    for endpoint, weight in zip(endpoints, weights, strict=True):
        assert abs(owners[endpoint] - 1009 * weight / sum(weights)) <= len(weights)


@pytest.mark.parametrize(("policy", "part"), [(RingHash(1), 0.0), (RingHash(4096), 0.4), (Maglev(4099), 0.15)])
@settings(max_examples=15, deadline=None)
@given(size=st.integers(3, 12), gone=st.integers(0, 11))
def test_one_endpoint_less_moves_few_other_keys(policy: RingHash | Maglev, part: float, size: int, gone: int) -> None:
    """A ring of as many points a host as before moves nothing else; of 4096 points in all, the others get some more."""

    def make(weighted: Weighted) -> HashTable:
        return Ring(weighted, policy) if isinstance(policy, RingHash) else MaglevTable(weighted, policy)

    endpoints = hosts([1] * size)
    before = make(weighted(endpoints))
    lost = endpoints.pop(gone % size)
    after = make(weighted(endpoints))
    stayed = [key for key in KEYS if before.choose(key, 0) is not lost]
    moved = sum(before.choose(key, 0) is not after.choose(key, 0) for key in stayed)
    assert moved <= len(stayed) * part


@given(key=st.integers(0, ALL_ONES), attempt=st.integers(0, 5000))
def test_any_key_and_attempt_finds_an_endpoint(key: int, attempt: int) -> None:
    assert RING.choose(key, attempt) in FIVE
    assert TABLE.choose(key, attempt) in FIVE


FIVE = hosts([1, 2, 3, 1, 1])
RING = Ring(weighted(FIVE), RingHash(50))
TABLE = MaglevTable(weighted(FIVE), Maglev(101))


def test_the_ring_is_closed_at_both_ends() -> None:
    first, last = RING.hashes[0], RING.hashes[-1]
    assert RING.choose(last + 1, 0) is RING.choose(first, 0) is RING.choose(0, 0)
    assert RING.choose(last, 1) is RING.choose(first, 0)


def test_the_table_does_not_depend_on_the_order_of_the_assignment() -> None:
    shuffled = list(FIVE)
    Random(3).shuffle(shuffled)
    other = MaglevTable(weighted(shuffled), Maglev(101))
    assert [TABLE.choose(key, 0) for key in range(101)] == [other.choose(key, 0) for key in range(101)]


def test_an_endpoint_with_room_keeps_its_keys() -> None:
    endpoints = hosts([1] * 4)
    bounded = BoundedLoad(Ring(weighted(endpoints), RingHash()), weighted(endpoints), 150, lambda: 0)
    plain = Ring(weighted(endpoints), RingHash())
    assert all(bounded.choose(key, 0) is plain.choose(key, 0) for key in KEYS[:200])


@given(loads=st.lists(st.integers(0, 40), min_size=2, max_size=8), key=st.integers(0, ALL_ONES))
def test_no_endpoint_above_its_bound_is_chosen_while_another_has_room(loads: list[int], key: int) -> None:
    endpoints = hosts([1] * len(loads))
    for endpoint, load in zip(endpoints, loads, strict=True):
        endpoint.rq_active = load
    total = sum(loads)
    bounded = BoundedLoad(Ring(weighted(endpoints), RingHash(64)), weighted(endpoints), 120, lambda: total)
    chosen = bounded.choose(key, 0)
    assert chosen is bounded.choose(key, 0)
    slots = max(1.0, -(-((total + 1) * 120 + 99) // 100 // len(loads)))
    if min(loads) <= slots - 1:
        assert chosen.rq_active <= slots
