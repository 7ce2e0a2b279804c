"""Compiles subset load balancing: the cluster's ``lb_subset_config`` and the extension, whose fields are the same."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.lb_policy import Inner, Subset, SubsetSelector
from isthmus_proxy.config.metadata import compile_struct
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name
from isthmus_proxy.errors import ConfigError


def compile_subset(proto: Any, path: str, inner: Inner) -> Subset:
    """Compile a checked subset configuration; ``inner`` balances within a subset. Raises ConfigError."""
    selectors = [
        _selector(selector, f"{join(path, 'subset_selectors')}[{index}]")
        for index, selector in enumerate(proto.subset_selectors)
    ]
    return Subset(
        inner=inner,
        selectors=tuple(selector for selector in selectors if selector.keys),
        fallback_policy=enum_name(proto, "fallback_policy"),  # type: ignore[arg-type]
        default_subset=compile_struct(proto.default_subset),
        locality_weight_aware=proto.locality_weight_aware,
        scale_locality_weight=proto.scale_locality_weight,
        panic_mode_any=proto.panic_mode_any,
        list_as_any=proto.list_as_any,
        fallback_list=enum_name(proto, "metadata_fallback_policy") == "FALLBACK_LIST",
    )


def _selector(selector: Any, path: str) -> SubsetSelector:
    keys = tuple(sorted(set(selector.keys)))
    if selector.single_host_per_subset and len(keys) != 1:
        raise ConfigError(join(path, "single_host_per_subset"), "true", "needs exactly one key")
    policy, fewer = enum_name(selector, "fallback_policy"), tuple(sorted(set(selector.fallback_keys_subset)))
    _check_fallback_keys(policy, keys, fewer, join(path, "fallback_keys_subset"))
    return SubsetSelector(keys, selector.single_host_per_subset, policy, fewer)  # type: ignore[arg-type]


def _check_fallback_keys(policy: str, keys: tuple[str, ...], fewer: tuple[str, ...], path: str) -> None:
    if policy != "KEYS_SUBSET":
        if fewer:
            raise ConfigError(path, shown(list(fewer)), "goes with fallback_policy KEYS_SUBSET only")
    elif not fewer:
        raise ConfigError(path, "", "must not be empty with fallback_policy KEYS_SUBSET")
    elif not set(fewer) < set(keys):
        raise ConfigError(path, shown(list(fewer)), f"must be some, not all, of keys {list(keys)}")
