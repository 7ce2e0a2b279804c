from __future__ import annotations

from typing import Any

import pytest

from isthmus_proxy.cluster.lb_policy import (
    LbPolicy,
    LeastRequest,
    Maglev,
    Random,
    RingHash,
    RoundRobin,
    SlowStart,
    Subset,
    SubsetSelector,
    ZoneAware,
)
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError

PACKAGE = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def compiled(**fields: Any) -> LbPolicy:
    from envoy.config.cluster.v3.cluster_pb2 import Cluster

    proto = Cluster()
    fill(proto, {"name": "c", "type": "STATIC", **fields})
    return compile_cluster(proto).lb_policy


def extension(kind: str, message: str, **fields: Any) -> dict[str, Any]:
    config = {"@type": f"{PACKAGE}.{kind}.v3.{message}", **fields}
    return {"policies": [{"typed_extension_config": {"name": kind, "typed_config": config}}]}


SLOW = {
    "slow_start_window": "30s",
    "aggression": {"default_value": 2.0, "runtime_key": "x"},
    "min_weight_percent": {"value": 25},
}
WEIGHTED: dict[str, Any] = {"locality_weighted_lb_config": {}}
ZONED: dict[str, Any] = {
    "zone_aware_lb_config": {"routing_enabled": {"value": 50}, "min_cluster_size": 3, "fail_traffic_on_panic": True}
}
BOUNDED: dict[str, Any] = {"consistent_hashing_lb_config": {"hash_balance_factor": 125}}


@pytest.mark.parametrize(
    ("legacy", "newer", "policy"),
    [
        ({}, extension("round_robin", "RoundRobin"), RoundRobin()),
        (
            {"round_robin_lb_config": {"slow_start_config": SLOW}, "common_lb_config": WEIGHTED},
            extension("round_robin", "RoundRobin", slow_start_config=SLOW, locality_lb_config=WEIGHTED),
            RoundRobin(SlowStart(30.0, 2.0, 0.25), locality_weighted=True),
        ),
        (
            {"lb_policy": "RANDOM", "common_lb_config": ZONED},
            extension("random", "Random", locality_lb_config=ZONED),
            Random(zone_aware=ZoneAware(50, 3, fail_traffic_on_panic=True)),
        ),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 5, "slow_start_config": SLOW}},
            extension("least_request", "LeastRequest", choice_count=5, slow_start_config=SLOW),
            LeastRequest(5, slow_start=SlowStart(30.0, 2.0, 0.25)),
        ),
        (
            {
                "lb_policy": "RING_HASH",
                "ring_hash_lb_config": {
                    "minimum_ring_size": 8,
                    "maximum_ring_size": 9,
                    "hash_function": "MURMUR_HASH_2",
                },
                "common_lb_config": {**BOUNDED, **WEIGHTED},
            },
            extension(
                "ring_hash",
                "RingHash",
                minimum_ring_size=8,
                maximum_ring_size=9,
                hash_function="MURMUR_HASH_2",
                **BOUNDED,
                **WEIGHTED,
            ),
            RingHash(8, 9, "MURMUR_HASH_2", balance_factor=125, locality_weighted=True),
        ),
        ({"lb_policy": "RING_HASH"}, extension("ring_hash", "RingHash", hash_function="XX_HASH"), RingHash()),
        (
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 101}, "common_lb_config": BOUNDED},
            extension("maglev", "Maglev", table_size=101, **BOUNDED),
            Maglev(101, balance_factor=125),
        ),
        (
            {"lb_subset_config": {"subset_selectors": [{"keys": ["b", "a"]}], "fallback_policy": "ANY_ENDPOINT"}},
            extension(
                "subset",
                "Subset",
                subset_selectors=[{"keys": ["b", "a"]}],
                fallback_policy="ANY_ENDPOINT",
                subset_lb_policy=extension("round_robin", "RoundRobin"),
            ),
            Subset(RoundRobin(), (SubsetSelector(("a", "b")),), "ANY_ENDPOINT"),
        ),
    ],
)
def test_older_and_newer_fields_say_the_same(legacy: dict[str, Any], newer: dict[str, Any], policy: LbPolicy) -> None:
    assert compiled(**legacy) == policy
    assert compiled(load_balancing_policy=newer) == policy
    assert compiled(**legacy) is compiled(**legacy)


def test_what_only_the_extensions_have() -> None:
    scan = extension("least_request", "LeastRequest", selection_method="FULL_SCAN")
    assert compiled(load_balancing_policy=scan) == LeastRequest(full_scan=True)
    older = extension("ring_hash", "RingHash", hash_balance_factor=200)
    assert compiled(load_balancing_policy=older) == RingHash(balance_factor=200)


SELECTOR = {"keys": ["a", "b"]}


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65536}}, "maglev_lb_config.table_size", "prime"),
        ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 5000321}}, "maglev_lb_config.table_size", "prime"),
        (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 9, "maximum_ring_size": 8}},
            "ring_hash_lb_config.minimum_ring_size",
            "more than maximum",
        ),
        (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 8388609}},
            "ring_hash_lb_config.minimum_ring_size",
            "at most 8388608",
        ),
        (
            {
                "lb_policy": "RING_HASH",
                "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 99}},
            },
            "hash_balance_factor",
            "at least 100",
        ),
        (
            {
                "lb_policy": "MAGLEV",
                "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
            },
            "use_hostname_for_hashing",
            "STRICT_DNS",
        ),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "lb_policy", "load_balancing_policy"),
        ({"load_balancing_policy": {}}, "load_balancing_policy.policies", "at least one"),
        (
            {"load_balancing_policy": extension("random", "Random"), "lb_subset_config": {}},
            "lb_subset_config",
            "load_balancing_policy",
        ),
        (
            {"load_balancing_policy": extension("random", "Random"), "common_lb_config": WEIGHTED},
            "common_lb_config.locality_weighted_lb_config",
            "load_balancing_policy",
        ),
        (
            {"load_balancing_policy": extension("subset", "Subset", allow_redundant_keys=True)},
            "allow_redundant_keys",
            "only false",
        ),
        (
            {"lb_subset_config": {"subset_selectors": [{**SELECTOR, "fallback_policy": "KEYS_SUBSET"}]}},
            "subset_selectors[0].fallback_keys_subset",
            "must not be empty",
        ),
        (
            {"lb_subset_config": {"subset_selectors": [{**SELECTOR, "fallback_keys_subset": ["a"]}]}},
            "subset_selectors[0].fallback_keys_subset",
            "KEYS_SUBSET only",
        ),
        (
            {
                "lb_subset_config": {
                    "subset_selectors": [
                        {**SELECTOR, "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a", "b"]}
                    ]
                }
            },
            "subset_selectors[0].fallback_keys_subset",
            "not all",
        ),
        (
            {"lb_subset_config": {"subset_selectors": [{**SELECTOR, "single_host_per_subset": True}]}},
            "subset_selectors[0].single_host_per_subset",
            "exactly one key",
        ),
        (
            {
                "round_robin_lb_config": {
                    "slow_start_config": {"slow_start_window": "1s", "min_weight_percent": {"value": 101}}
                }
            },
            "min_weight_percent.value",
            "from 0 to 100",
        ),
    ],
)
def test_bad_policies_are_refused_by_path(fields: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(**fields)
    assert path in caught.value.path
    assert reason in str(caught.value)
