"""A run that serves nothing goes by the policies that a serving one would go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_mcp_bridge.app import build_catalog
from isthmus_mcp_bridge.config.model import BridgeConfig, DualModeConfig, FileConfig, RegistryConfig, WarmStartConfig
from isthmus_mcp_bridge.dualmode.build import last_policies
from isthmus_mcp_bridge.dualmode.policy_book import Item, PolicyBook
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.shadow import merge_once
from isthmus_mcp_bridge.warm.lines import encode

SERVICES = """
services:
- host: greeter.shop
  ports: [{name: http, number: 80, protocol: HTTP}]
  instances: [{address: 127.0.0.1, port: 9101}, {address: 127.0.0.1, port: 9201, side: mesh}]
"""
POLICY = """
apiVersion: isthmus.io/v1alpha1
kind: DualMode
metadata: {name: greeter}
spec: {host: greeter.shop, mesh: {prefer: [native]}}
"""


def config(home: Path, dual_mode: DualModeConfig | None) -> BridgeConfig:
    registries = (RegistryConfig("files", FileConfig(home / "services")),)
    return BridgeConfig(registries, warm_start=WarmStartConfig(home / "warm"), dual_mode=dual_mode)


def test_policies_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (policy,) = last_policies(config(tmp_path, DualModeConfig(policies=tmp_path)))
    assert policy.full_name == "default/greeter"


def test_policies_that_a_bridge_kept(tmp_path: Path) -> None:
    asked = config(tmp_path, DualModeConfig("127.0.0.1:1"))
    assert last_policies(asked) == ()
    book = PolicyBook("x")
    book.replace([Item("default/greeter", "1", DualMode(host="greeter.shop"))], 1.0)
    (tmp_path / "warm.policies").write_bytes(b"isthmus-policies-1\n" + encode(book.saved()))
    assert last_policies(asked) == book.policies


def test_none_without_dual_mode_and_bad_ones_are_an_error(tmp_path: Path) -> None:
    assert last_policies(config(tmp_path, None)) == ()
    with pytest.raises(BridgeError, match=r"dual_mode\.policies: "):
        last_policies(config(tmp_path, DualModeConfig(policies=tmp_path / "missing")))


@pytest.mark.asyncio
async def test_a_shadow_run_goes_by_them(tmp_path: Path) -> None:
    for name, text in (("services", SERVICES), ("conf", POLICY)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(text)
    asked = config(tmp_path, DualModeConfig(policies=tmp_path / "conf"))
    catalog = build_catalog(asked, 0.0)
    await merge_once(asked, catalog)
    ports = [port for merged in catalog.services.values() for one in merged.workloads for _, port in one.ports]
    assert ports == [9101]
