"""Compiled load balancing policies (envoy.extensions.load_balancing_policies). Immutable; built by ``config.load_balancing``.

A policy is shared by all clusters that have the same one; ``ROUND_ROBIN`` is what a cluster has that names none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from isthmus_proxy.cluster.metadata import Criteria

DEFAULT_TABLE_SIZE: Final = 65537
MAX_TABLE_SIZE: Final = 5000011
MAX_RING_SIZE: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlowStart:
    """Endpoints that are new get less: weight * max(min_weight, (age / window) ** (1 / aggression)) for ``window`` seconds.

    ``min_weight`` is a share, 0.1 for 10 %.
    """

    window: float
    aggression: float = 1.0
    min_weight: float = 0.1


@dataclass(frozen=True, slots=True)
class ZoneAware:
    """Requests stay in the proxy's own zone as far as its share of the local cluster allows; percentages are whole.

    Shares are of healthy endpoints, or of their weight with ``by_weight`` (locality_basis).
    """

    routing_enabled: int = 100
    min_cluster_size: int = 6
    fail_traffic_on_panic: bool = False
    by_weight: bool = False


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """In turn, by weight."""

    slow_start: SlowStart | None = None
    locality_weighted: bool = False
    zone_aware: ZoneAware = field(default_factory=ZoneAware)


@dataclass(frozen=True, slots=True)
class LeastRequest:
    """The idlest of ``choice_count`` draws, or of all with ``full_scan``; by weight / (active + 1) ** bias if weights differ."""

    choice_count: int = 2
    active_request_bias: float = 1.0
    full_scan: bool = False
    slow_start: SlowStart | None = None
    locality_weighted: bool = False
    zone_aware: ZoneAware = field(default_factory=ZoneAware)


@dataclass(frozen=True, slots=True)
class Random:
    """Any endpoint; weights do not count."""

    locality_weighted: bool = False
    zone_aware: ZoneAware = field(default_factory=ZoneAware)


@dataclass(frozen=True, slots=True)
class RingHash:
    """Ketama: each endpoint on many points of a ring. ``balance_factor`` in per cent of the mean load, 0 = unbounded."""

    minimum_ring_size: int = 1024
    maximum_ring_size: int = MAX_RING_SIZE
    hash_function: Literal["XX_HASH", "MURMUR_HASH_2"] = "XX_HASH"
    use_hostname: bool = False
    balance_factor: int = 0
    locality_weighted: bool = False


@dataclass(frozen=True, slots=True)
class Maglev:
    """The table of the Maglev paper. ``table_size`` is prime; ``balance_factor`` as for ``RingHash``."""

    table_size: int = DEFAULT_TABLE_SIZE
    use_hostname: bool = False
    balance_factor: int = 0
    locality_weighted: bool = False


Inner = RoundRobin | LeastRequest | Random | RingHash | Maglev
FallbackPolicy = Literal["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]
SelectorFallbackPolicy = Literal["NOT_DEFINED", "NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET", "KEYS_SUBSET"]


@dataclass(frozen=True, slots=True)
class SubsetSelector:
    """One way to part the endpoints: by the values of ``keys``, which are sorted."""

    keys: tuple[str, ...]
    single_host: bool = False
    fallback_policy: SelectorFallbackPolicy = "NOT_DEFINED"
    fallback_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subset:
    """Balances by ``inner`` among the endpoints whose metadata is what the route asks for."""

    inner: Inner = field(default_factory=RoundRobin)
    selectors: tuple[SubsetSelector, ...] = ()
    fallback_policy: FallbackPolicy = "NO_FALLBACK"
    default_subset: Criteria = ()
    locality_weight_aware: bool = False
    scale_locality_weight: bool = False
    panic_mode_any: bool = False
    list_as_any: bool = False
    fallback_list: bool = False  # metadata_fallback_policy: FALLBACK_LIST


LbPolicy = Inner | Subset

ROUND_ROBIN: Final = RoundRobin()
