from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from isthmus_mcp_bridge.catalog.damping import DampingLimits, DampingPolicy
from isthmus_mcp_bridge.catalog.freshness import FreshnessLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.rules import LabelRule, MergeRules, PresenceRule, WeightRule
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.catalog.vips import VipRange
from isthmus_mcp_bridge.config.load import parse_config
from isthmus_mcp_bridge.config.model import BridgeConfig, DualModeConfig, WarmStartConfig
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.mcp.filters import SinkFilter

REGISTRY = "registries: [{name: files, file: {path: services}%s}]\n"


def parse(head: str = "", limits: str = "") -> BridgeConfig:
    return parse_config((REGISTRY % limits + head).encode(), "b.yaml", Path("/etc/bridge"))


def test_where_policies_come_from() -> None:
    assert parse("dual_mode: {control_plane: 'xds://[::1]:15010'}").dual_mode == DualModeConfig("[::1]:15010")
    found = parse("dual_mode: {policies: conf, wait_s: 0}").dual_mode
    assert found == DualModeConfig(policies=Path("/etc/bridge/conf"), wait_s=0)


def test_everything_said() -> None:
    config = parse(
        """
merge: {presence: all, weight: max, labels: priority}
vips: {network: 240.0.0.0/8, quarantine_s: 60}
warm_start: {path: warm, max_age_s: 5, flush_s: 2}
mcp: {sinks: [{node: "*.shop", namespaces: [shop], registries: [files]}]}
""",
        """, removal_guard: {max_lost_percent: 10, min_lost: 1, window_s: 2, hold_s: 3},
        freshness: {stale_after_s: 1, expire_after_s: 0},
        flap_damping: {half_life_s: 1, suppress_above: 2, reuse_below: 1, longest_s: 3, policy: drop}""",
    )
    assert config.rules == MergeRules(PresenceRule.ALL, WeightRule.MAX, LabelRule.PRIORITY)
    assert config.vips == VipRange(ipaddress.ip_network("240.0.0.0/8"), 60)
    assert config.warm_start == WarmStartConfig(Path("/etc/bridge/warm"), 5, 2)
    assert config.mcp.sinks == (SinkFilter("*.shop", ("shop",), ("files",)),)
    assert config.registries[0].limits == SourceLimits(
        GuardLimits(10, 1, 2, 3), FreshnessLimits(1, 0), DampingLimits(1, 2, 1, 3, DampingPolicy.DROP)
    )


def test_everything_left_out() -> None:
    config = parse()
    assert (config.rules, config.vips, config.warm_start, config.mcp.sinks) == (MergeRules(), None, None, ())
    assert config.registries[0].limits == SourceLimits(GuardLimits(), FreshnessLimits(), DampingLimits())
    assert parse("", ", removal_guard: 'off', flap_damping: 'off'").registries[0].limits == SourceLimits()


@pytest.mark.parametrize(
    ("head", "limits", "message"),
    [
        ("merge: {presence: most}", "", "merge.presence: 'most': must be one of any, all"),
        ("merge: {priority: 1}", "", "unknown field"),
        ("vips: {}", "", "must have the field network"),
        ("vips: {network: 10.0.0.1/8}", "", "vips.network: '10.0.0.1/8': must be a network"),
        ("vips: {network: 10.0.0.0/30}", "", "at least 256"),
        ("warm_start: {}", "", "must have the field path"),
        ("warm_start: {path: x, flush_s: 0}", "", "warm_start.flush_s: 0: must be a number from 0.1"),
        ("dual_mode: {}", "", "must have either control_plane"),
        ("dual_mode: {control_plane: 'xds://a:1', policies: x}", "", "must have either control_plane"),
        (
            "dual_mode: {control_plane: 'http://a:1'}",
            "",
            "dual_mode.control_plane: 'http://a:1': must be xds://host:port",
        ),
        ("dual_mode: {control_plane: 'xds://a:0'}", "", "must have a port from 1 to 65535"),
        ("dual_mode: {policies: x, wait_s: -1}", "", "dual_mode.wait_s: -1: must be a number from 0"),
        (
            "dual_mode: {policies: x, overrides: [y]}",
            "",
            "dual_mode.overrides[0]: 'y': is no registry; there are files",
        ),
        ("dual_mode: {policies: x, overrides: [files]}", "", "must be a zookeeper registry with the layout dubbo"),
        ("mcp: {sinks: [{namespaces: [x]}]}", "", "must have the field node"),
        ("", ", flap_damping: {policy: never}", "must be one of last-stable, drop"),
        ("", ", flap_damping: {reuse_below: 4}", "reuse_below must be less than suppress_above"),
        ("", ", freshness: {stale_after_s: 0}", "freshness.stale_after_s: 0: must be a number from 1"),
    ],
)
def test_what_is_wrong_is_named(head: str, limits: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(head, limits)
    assert message in str(caught.value)
