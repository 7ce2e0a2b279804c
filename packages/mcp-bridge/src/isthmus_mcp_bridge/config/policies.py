"""Reads how the bridge treats its sources, merges their claims and serves its sinks."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from isthmus_mcp_bridge.catalog.damping import DampingLimits, DampingPolicy
from isthmus_mcp_bridge.catalog.freshness import FreshnessLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.istio_rules import MAX_PORT
from isthmus_mcp_bridge.catalog.rules import LabelRule, MergeRules, PresenceRule, WeightRule
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.catalog.vips import VipRange
from isthmus_mcp_bridge.config.model import DualModeConfig, RegistryConfig, WarmStartConfig, ZooKeeperConfig
from isthmus_mcp_bridge.config.values import integer, number
from isthmus_mcp_bridge.document import Field
from isthmus_mcp_bridge.mcp.filters import SinkFilter
from isthmus_mcp_bridge.mcp.tls import TlsFiles

LIMIT_FIELDS = ("removal_guard", "freshness", "flap_damping")
MAX_SINKS = 100
MAX_SELECTED = 1000
MIN_ADDRESSES = 256
_MONTH_S = 31 * 86_400


def source_limits(fields: Mapping[str, Field]) -> SourceLimits:
    """How a registry's source is treated; defaults for what is not said. Raises DocumentError."""
    return SourceLimits(
        guard=_guard(fields["removal_guard"]) if "removal_guard" in fields else GuardLimits(),
        freshness=_freshness(fields["freshness"]) if "freshness" in fields else FreshnessLimits(),
        damping=_damping(fields["flap_damping"]) if "flap_damping" in fields else DampingLimits(),
    )


def merge_rules(field: Field) -> MergeRules:
    """The rule of each field. Raises DocumentError."""
    fields = field.mapping("presence", "weight", "labels")
    default = MergeRules()
    return MergeRules(
        presence=PresenceRule(fields["presence"].one_of(*PresenceRule)) if "presence" in fields else default.presence,
        weight=WeightRule(fields["weight"].one_of(*WeightRule)) if "weight" in fields else default.weight,
        labels=LabelRule(fields["labels"].one_of(*LabelRule)) if "labels" in fields else default.labels,
    )


def vip_range(field: Field) -> VipRange:
    """Where virtual addresses come from. Raises DocumentError."""
    fields = field.mapping("network", "quarantine_s")
    if "network" not in fields:
        raise field.error("must have the field network, such as 240.240.0.0/16")
    try:
        network = ipaddress.ip_network(fields["network"].string())
    except ValueError as error:
        raise fields["network"].error("must be a network such as 240.240.0.0/16 or 2001:2::/48") from error
    if network.num_addresses < MIN_ADDRESSES:
        raise fields["network"].error(f"must have at least {MIN_ADDRESSES} addresses, twice as many as services")
    return VipRange(network, number(fields, "quarantine_s", 0, _MONTH_S, VipRange(network).quarantine_s))


def warm_start(field: Field, base: Path) -> WarmStartConfig:
    """Where claims are kept; a relative path is relative to ``base``. Raises DocumentError."""
    fields = field.mapping("path", "max_age_s", "flush_s")
    if "path" not in fields:
        raise field.error("must have the field path, a file")
    default = WarmStartConfig(base / fields["path"].string())
    return WarmStartConfig(
        default.path,
        max_age_s=number(fields, "max_age_s", 1, _MONTH_S, default.max_age_s),
        flush_s=number(fields, "flush_s", 0.1, 60, default.flush_s),
    )


def dual_mode(field: Field, base: Path, registries: Sequence[RegistryConfig]) -> DualModeConfig:
    """Where policies of dual mode come from; a relative path is relative to ``base``. Raises DocumentError."""
    fields = field.mapping("control_plane", "policies", "wait_s", "overrides")
    if ("control_plane" in fields) == ("policies" in fields):
        raise field.error("must have either control_plane, as xds://host:port, or policies, a directory")
    wait_s = number(fields, "wait_s", 0, 600, DualModeConfig().wait_s)
    named = fields["overrides"].items(MAX_SELECTED) if "overrides" in fields else ()
    overrides = tuple(_overridable(one, registries) for one in named)
    if "policies" in fields:
        return DualModeConfig(policies=base / fields["policies"].string(), wait_s=wait_s, overrides=overrides)
    address = fields["control_plane"].string()
    host, _, digits = address.removeprefix("xds://").rstrip("/").rpartition(":")
    if not address.startswith("xds://") or not host or not digits.isascii() or not digits.isdigit():
        raise fields["control_plane"].error("must be xds://host:port, where the control plane serves xDS")
    if not 0 < int(digits[:6]) <= MAX_PORT:
        raise fields["control_plane"].error(f"must have a port from 1 to {MAX_PORT}")
    return DualModeConfig(control_plane=f"{host}:{digits}", wait_s=wait_s, overrides=overrides)


def _overridable(field: Field, registries: Sequence[RegistryConfig]) -> str:
    """The name of a registry that configurators can be written into. Raises DocumentError."""
    found = next((one for one in registries if one.name == field.string()), None)
    if found is None:
        raise field.error(f"is no registry; there are {', '.join(one.name for one in registries)}")
    if not isinstance(found.kind, ZooKeeperConfig) or found.kind.layout != "dubbo":
        raise field.error("must be a zookeeper registry with the layout dubbo: no other SDK has overrides")
    return found.name


def sink_filter(field: Field) -> SinkFilter:
    """What the sinks of some nodes get. Raises DocumentError."""
    fields = field.mapping("node", "namespaces", "registries")
    if "node" not in fields:
        raise field.error("must have the field node, a pattern for the sink's node id such as *.istio-system")
    return SinkFilter(
        node=fields["node"].string(),
        namespaces=_strings(fields["namespaces"]) if "namespaces" in fields else (),
        registries=_strings(fields["registries"]) if "registries" in fields else (),
    )


def tls_files(field: Field, base: Path) -> TlsFiles:
    """The files of the MCP port's certificate; relative paths are relative to ``base``. Raises DocumentError."""
    fields = field.mapping("certificate", "private_key", "client_ca")
    for required in ("certificate", "private_key"):
        if required not in fields:
            raise field.error(f"must have the field {required}, a PEM file")
    client_ca = base / fields["client_ca"].string() if "client_ca" in fields else None
    return TlsFiles(base / fields["certificate"].string(), base / fields["private_key"].string(), client_ca)


def target(field: Field) -> str:
    """The ``host:port`` of a sink to dial. Raises DocumentError."""
    host, _, digits = field.string().rpartition(":")
    if not host or not digits.isascii() or not digits.isdigit() or not 0 < int(digits[:6]) <= MAX_PORT:
        raise field.error("must be host:port")
    return field.string()


def _strings(field: Field) -> tuple[str, ...]:
    return tuple(item.string() for item in field.items(MAX_SELECTED))


def _guard(field: Field) -> GuardLimits | None:
    if field.value == "off":
        return None
    fields = field.mapping("max_lost_percent", "min_lost", "window_s", "hold_s")
    default = GuardLimits()
    return GuardLimits(
        max_lost_percent=number(fields, "max_lost_percent", 1, 100, default.max_lost_percent),
        min_lost=integer(fields, "min_lost", 1, 1_000_000, default.min_lost),
        window_s=number(fields, "window_s", 1, 3600, default.window_s),
        hold_s=number(fields, "hold_s", 1, 3600, default.hold_s),
    )


def _freshness(field: Field) -> FreshnessLimits:
    fields = field.mapping("stale_after_s", "expire_after_s")
    default = FreshnessLimits()
    return FreshnessLimits(
        stale_after_s=number(fields, "stale_after_s", 1, _MONTH_S, default.stale_after_s),
        expire_after_s=number(fields, "expire_after_s", 0, _MONTH_S, default.expire_after_s),
    )


def _damping(field: Field) -> DampingLimits | None:
    if field.value == "off":
        return None
    fields = field.mapping("half_life_s", "suppress_above", "reuse_below", "longest_s", "policy")
    default = DampingLimits()
    limits = DampingLimits(
        half_life_s=number(fields, "half_life_s", 1, 3600, default.half_life_s),
        suppress_above=number(fields, "suppress_above", 1, 1000, default.suppress_above),
        reuse_below=number(fields, "reuse_below", 0.1, 1000, default.reuse_below),
        longest_s=number(fields, "longest_s", 1, 3600, default.longest_s),
        policy=DampingPolicy(fields["policy"].one_of(*DampingPolicy)) if "policy" in fields else default.policy,
    )
    if limits.reuse_below >= limits.suppress_above:
        raise field.error("reuse_below must be less than suppress_above")
    return limits
