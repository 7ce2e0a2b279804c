"""Supported fields of load balancing policies, older and newer."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_CLUSTER = "envoy.config.cluster.v3"
_EXTENSIONS = "envoy.extensions.load_balancing_policies"
_COMMON = f"{_EXTENSIONS}.common.v3"
_SLOW_START = "slow_start_window aggression min_weight_percent"
_SUBSET = (
    "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any list_as_any "
    "metadata_fallback_policy"
)
_SELECTOR = "keys single_host_per_subset fallback_policy fallback_keys_subset"
_ZONE_AWARE = "routing_enabled min_cluster_size fail_traffic_on_panic"

LOAD_BALANCING: dict[str, MessageRules] = {
    f"{_CLUSTER}.Cluster.RoundRobinLbConfig": message("slow_start_config"),
    f"{_CLUSTER}.Cluster.LeastRequestLbConfig": message("choice_count active_request_bias slow_start_config"),
    f"{_CLUSTER}.Cluster.SlowStartConfig": message(_SLOW_START),
    f"{_CLUSTER}.Cluster.RingHashLbConfig": message("minimum_ring_size maximum_ring_size hash_function"),
    f"{_CLUSTER}.Cluster.MaglevLbConfig": message("table_size"),
    f"{_CLUSTER}.Cluster.LbSubsetConfig": message(_SUBSET),
    f"{_CLUSTER}.Cluster.LbSubsetConfig.LbSubsetSelector": message(_SELECTOR),
    f"{_CLUSTER}.Cluster.CommonLbConfig.ZoneAwareLbConfig": message(_ZONE_AWARE),
    f"{_CLUSTER}.Cluster.CommonLbConfig.LocalityWeightedLbConfig": message(),
    f"{_CLUSTER}.Cluster.CommonLbConfig.ConsistentHashingLbConfig": message(
        "use_hostname_for_hashing hash_balance_factor"
    ),
    f"{_CLUSTER}.LoadBalancingPolicy": message("policies"),
    f"{_CLUSTER}.LoadBalancingPolicy.Policy": message("typed_extension_config"),
    f"{_EXTENSIONS}.round_robin.v3.RoundRobin": message("slow_start_config locality_lb_config"),
    f"{_EXTENSIONS}.least_request.v3.LeastRequest": message(
        "choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan selection_method"
    ),
    f"{_EXTENSIONS}.random.v3.Random": message("locality_lb_config"),
    f"{_EXTENSIONS}.ring_hash.v3.RingHash": message(
        "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor "
        "consistent_hashing_lb_config locality_weighted_lb_config"
    ),
    f"{_EXTENSIONS}.maglev.v3.Maglev": message("table_size consistent_hashing_lb_config locality_weighted_lb_config"),
    f"{_EXTENSIONS}.subset.v3.Subset": message(f"{_SUBSET} subset_lb_policy", only={"allow_redundant_keys": False}),
    f"{_EXTENSIONS}.subset.v3.Subset.LbSubsetSelector": message(_SELECTOR),
    f"{_COMMON}.SlowStartConfig": message(_SLOW_START),
    f"{_COMMON}.LocalityLbConfig": message("zone_aware_lb_config locality_weighted_lb_config"),
    f"{_COMMON}.LocalityLbConfig.ZoneAwareLbConfig": message(
        _ZONE_AWARE, only={"locality_basis": ("HEALTHY_HOSTS_NUM", "HEALTHY_HOSTS_WEIGHT")}
    ),
    f"{_COMMON}.LocalityLbConfig.LocalityWeightedLbConfig": message(),
    f"{_COMMON}.ConsistentHashingLbConfig": message("use_hostname_for_hashing hash_balance_factor"),
}
