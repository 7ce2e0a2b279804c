"""Compiles how a cluster balances load: ``load_balancing_policy``, or the older ``lb_policy`` and the fields that go with it.

The extensions have the fields of the older messages and more, so one function reads both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from isthmus_proxy.cluster.lb_policy import (
    DEFAULT_TABLE_SIZE,
    MAX_RING_SIZE,
    MAX_TABLE_SIZE,
    Inner,
    LbPolicy,
    LeastRequest,
    Maglev,
    Random,
    RingHash,
    RoundRobin,
    SlowStart,
    ZoneAware,
)
from isthmus_proxy.config.extensions import name_of, unpack
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.subset import compile_subset
from isthmus_proxy.config.values import enum_name, number, seconds
from isthmus_proxy.errors import ConfigError

EXTENSIONS = "envoy.extensions.load_balancing_policies"
_INNER = {
    f"{EXTENSIONS}.round_robin.v3.RoundRobin": "ROUND_ROBIN",
    f"{EXTENSIONS}.least_request.v3.LeastRequest": "LEAST_REQUEST",
    f"{EXTENSIONS}.random.v3.Random": "RANDOM",
    f"{EXTENSIONS}.ring_hash.v3.RingHash": "RING_HASH",
    f"{EXTENSIONS}.maglev.v3.Maglev": "MAGLEV",
}
_SUBSET = f"{EXTENSIONS}.subset.v3.Subset"


def compile_load_balancing(cluster: Any, path: str, *, names: bool) -> LbPolicy:
    """Compile the policy of a checked cluster, whose endpoints have host names if ``names``. Raises ConfigError."""
    if not cluster.HasField("load_balancing_policy"):
        policy = _legacy(cluster, path)
    else:
        for field in ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config"):
            if cluster.common_lb_config.HasField(field):
                raise ConfigError(join(path, f"common_lb_config.{field}"), "", "belongs into load_balancing_policy")
        if cluster.HasField("lb_subset_config"):
            raise ConfigError(join(path, "lb_subset_config"), "", "belongs into load_balancing_policy")
        policy = _extension(cluster.load_balancing_policy, join(path, "load_balancing_policy"))
    inner = policy.inner if not isinstance(policy, Inner) else policy
    if isinstance(inner, RingHash | Maglev) and inner.use_hostname and not names:
        place = join(path, "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing")
        raise ConfigError(place, "true", "needs a cluster of type STRICT_DNS or LOGICAL_DNS")
    return _shared(policy)


@lru_cache(maxsize=256)
def _shared(policy: LbPolicy) -> LbPolicy:
    """Return the first of all equal policies, so that thousands of clusters hold one."""
    return policy


def _legacy(cluster: Any, path: str) -> LbPolicy:
    name = enum_name(cluster, "lb_policy")
    if name == "CLUSTER_PROVIDED":
        raise ConfigError(join(path, "lb_policy"), shown(name), "is for ORIGINAL_DST clusters only")
    own = f"{name.lower()}_lb_config"
    common = cluster.common_lb_config
    config = getattr(cluster, own, None)
    inner = _inner(name, config, join(path, own), _Localities(common, join(path, "common_lb_config")))
    if cluster.HasField("lb_subset_config") and cluster.lb_subset_config.subset_selectors:
        return compile_subset(cluster.lb_subset_config, join(path, "lb_subset_config"), inner)
    return inner


def _extension(proto: Any, path: str) -> LbPolicy:
    """The first policy of the list; each must be known, as in a file."""
    path = join(path, "policies")
    if not proto.policies:
        raise ConfigError(path, "", "needs at least one policy")
    path = f"{path}[0].typed_extension_config.typed_config"
    packed = proto.policies[0].typed_extension_config.typed_config
    config: Any = unpack(packed, path)
    name = name_of(packed.type_url)
    if name == _SUBSET:
        place = join(path, "subset_lb_policy")
        inner = _extension(config.subset_lb_policy, place)
        if not isinstance(inner, Inner):
            raise ConfigError(place, "", "a subset policy within another is not supported")
        return compile_subset(config, path, inner)
    kind = _INNER.get(name)
    if kind is None:
        raise ConfigError(path, name, "is no load balancing policy")
    return _inner(kind, config, path, _Localities.of_extension(config, path))


class _Localities:
    """Where one policy says how it treats localities and how it hashes: ``common_lb_config``, or parts of the extension."""

    def __init__(self, common: Any, path: str) -> None:
        fields = common.DESCRIPTOR.fields_by_name
        self.weighted = common.HasField("locality_weighted_lb_config")
        self.hashing: Any = common.consistent_hashing_lb_config if "consistent_hashing_lb_config" in fields else None
        self.hashing_path = join(path, "consistent_hashing_lb_config")
        self.zone_aware = _zone_aware(common, path)

    @classmethod
    def of_extension(cls, config: Any, path: str) -> _Localities:
        fields = config.DESCRIPTOR.fields_by_name
        if "locality_lb_config" in fields:
            return cls(config.locality_lb_config, join(path, "locality_lb_config"))
        return cls(config, path)


def _zone_aware(common: Any, path: str) -> ZoneAware:
    if "zone_aware_lb_config" not in common.DESCRIPTOR.fields_by_name:
        return ZoneAware()
    zone, path = common.zone_aware_lb_config, join(path, "zone_aware_lb_config")
    routing = round(zone.routing_enabled.value) if zone.HasField("routing_enabled") else 100
    by_weight = "locality_basis" in zone.DESCRIPTOR.fields_by_name and zone.locality_basis == zone.HEALTHY_HOSTS_WEIGHT
    return ZoneAware(routing, number(zone, "min_cluster_size", 6, path), zone.fail_traffic_on_panic, by_weight)


def _inner(name: str, config: Any, path: str, localities: _Localities) -> Inner:
    if name == "ROUND_ROBIN":
        return RoundRobin(_slow_start(config, path), localities.weighted, localities.zone_aware)
    if name == "LEAST_REQUEST":
        return _least_request(config, path, localities)
    if name == "RANDOM":
        return Random(localities.weighted, localities.zone_aware)
    if name == "RING_HASH":
        return _ring_hash(config, path, localities)
    if name == "MAGLEV":
        return _maglev(config, path, localities)
    raise ConfigError(
        path.removesuffix(f"{name.lower()}_lb_config") + "lb_policy", name, "goes with load_balancing_policy"
    )


def _slow_start(config: Any, path: str) -> SlowStart | None:
    slow, path = config.slow_start_config, join(path, "slow_start_config")
    window = seconds(slow, "slow_start_window", 0.0, path)
    if window == 0:
        return None
    aggression = float(slow.aggression.default_value) if slow.HasField("aggression") else 1.0
    least = float(slow.min_weight_percent.value) if slow.HasField("min_weight_percent") else 10.0
    if not 0.0 <= least <= 100.0:
        raise ConfigError(join(path, "min_weight_percent.value"), str(least), "must be from 0 to 100")
    return SlowStart(window, aggression if aggression > 0 else 1.0, least / 100)


def _least_request(config: Any, path: str, localities: _Localities) -> LeastRequest:
    bias = float(config.active_request_bias.default_value) if config.HasField("active_request_bias") else 1.0
    if not 0.0 <= bias <= 1000.0:
        raise ConfigError(join(path, "active_request_bias.default_value"), str(bias), "must be from 0 to 1000")
    full_scan = "selection_method" in config.DESCRIPTOR.fields_by_name and (
        enum_name(config, "selection_method") == "FULL_SCAN" or config.enable_full_scan.value
    )
    return LeastRequest(
        number(config, "choice_count", 2, path, low=2),
        bias,
        full_scan,
        _slow_start(config, path),
        localities.weighted,
        localities.zone_aware,
    )


def _ring_hash(config: Any, path: str, localities: _Localities) -> RingHash:
    minimum = number(config, "minimum_ring_size", 1024, path)
    maximum = number(config, "maximum_ring_size", MAX_RING_SIZE, path, low=1)
    for field, size in (("minimum_ring_size", minimum), ("maximum_ring_size", maximum)):
        if size > MAX_RING_SIZE:
            raise ConfigError(join(path, field), str(size), f"must be at most {MAX_RING_SIZE}")
    if minimum > maximum:
        raise ConfigError(join(path, "minimum_ring_size"), str(minimum), f"is more than maximum_ring_size, {maximum}")
    function = enum_name(config, "hash_function")
    use_hostname, factor = _hashing(config, path, localities)
    return RingHash(
        minimum,
        maximum,
        "MURMUR_HASH_2" if function == "MURMUR_HASH_2" else "XX_HASH",
        use_hostname,
        factor,
        localities.weighted,
    )


def _maglev(config: Any, path: str, localities: _Localities) -> Maglev:
    size = number(config, "table_size", DEFAULT_TABLE_SIZE, path)
    if size > MAX_TABLE_SIZE or not _is_prime(size):
        raise ConfigError(join(path, "table_size"), str(size), f"must be a prime number up to {MAX_TABLE_SIZE}")
    use_hostname, factor = _hashing(config, path, localities)
    return Maglev(size, use_hostname, factor, localities.weighted)


def _hashing(config: Any, path: str, localities: _Localities) -> tuple[bool, int]:
    """(use_hostname_for_hashing, hash_balance_factor); RingHash also has older fields for them."""
    hashing, place = localities.hashing, localities.hashing_path
    use_hostname = hashing.use_hostname_for_hashing
    factor = number(hashing, "hash_balance_factor", 0, place, low=100)
    if "hash_balance_factor" in config.DESCRIPTOR.fields_by_name and not config.HasField(
        "consistent_hashing_lb_config"
    ):
        use_hostname = config.use_hostname_for_hashing
        factor = number(config, "hash_balance_factor", 0, path, low=100)
    return use_hostname, factor


def _is_prime(value: int) -> bool:
    return value > 1 and all(value % divisor for divisor in range(2, int(value**0.5) + 1))
