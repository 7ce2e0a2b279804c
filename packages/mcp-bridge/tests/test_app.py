"""The whole bridge in one process: two registries, a sink over gRPC, the administration endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import grpc
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_mcp_bridge.app import serve, write_addresses
from isthmus_mcp_bridge.config.model import (
    Address,
    BridgeConfig,
    DebounceConfig,
    DualModeConfig,
    FileConfig,
    McpConfig,
    RegistryConfig,
    WarmStartConfig,
)
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.build import build_registry
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry
from isthmus_mcp_bridge.testing.fake_zookeeper import FakeZooKeeper

pytestmark = pytest.mark.asyncio
SE = "networking.istio.io/v1alpha3/ServiceEntry"
FREE = Address("127.0.0.1", 0)
REVIEWS = """
services:
- host: shop.reviews
  ports: [{name: http, number: 9080, protocol: HTTP}]
  instances:
  - {address: 127.0.0.1, port: 9101, labels: {version: v1}}
  - {address: 127.0.0.1, port: 9102, labels: {version: v2}}
"""


def node(version: str, port: int) -> str:
    url = f"rest://127.0.0.1:{port}/shop.Reviews?application=shop&interface=shop.Reviews&version={version}&dynamic=true"
    return f"/dubbo/shop.Reviews/providers/{quote_plus(url)}"


class Sink:
    """A delta sink: what it holds, by host."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.entries: dict[str, ServiceEntry] = {}

    async def take(self) -> None:
        async with asyncio.timeout(20):
            response = await self._call.read()
        for packed in response.resources:
            resource, entry = Resource(), ServiceEntry()
            assert packed.resource.Unpack(resource)
            assert resource.body.Unpack(entry)
            self.entries[packed.name] = entry
        for name in response.removed_resources:
            del self.entries[name]
        await self._call.write(DeltaDiscoveryRequest(type_url=SE, response_nonce=response.nonce))

    async def until(self, hosts: dict[str, list[int]]) -> None:
        """Take responses until the ports of the endpoints by host are these."""
        while self.ports() != hosts:
            await self.take()

    def ports(self) -> dict[str, list[int]]:
        return {
            name: sorted(endpoint.ports["http"] for endpoint in entry.endpoints) for name, entry in self.entries.items()
        }


@contextlib.asynccontextmanager
async def sink(addresses: dict[str, str]) -> AsyncIterator[Sink]:
    async with grpc.aio.insecure_channel(addresses["mcp"]) as channel:
        call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        await call.write(DeltaDiscoveryRequest(type_url=SE))
        yield Sink(call)
        call.cancel()


async def admin(addresses: dict[str, str], path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{addresses['admin']}{path}") as response:
        return response.status, await response.text()


async def problems(addresses: dict[str, str], count: int) -> list[dict[str, str]]:
    """What ``/problems`` lists, once it lists that many."""
    async with asyncio.timeout(20):
        while True:
            found: list[dict[str, str]] = json.loads((await admin(addresses, "/problems"))[1])["problems"]
            if len(found) == count:
                return found


def configuration(directory: Path, zookeeper_deadline_s: float = 60) -> BridgeConfig:
    # The kind of the second one is not looked at: the test brings its adapter.
    files = RegistryConfig("files", FileConfig(directory))
    zookeeper = RegistryConfig("zoo", FileConfig(directory), zookeeper_deadline_s)
    return BridgeConfig((files, zookeeper), McpConfig(FREE), FREE, DebounceConfig(1, 100))


def registries(config: BridgeConfig, server: FakeZooKeeper) -> list[Registry]:
    directory = Directory("zoo", NamingRule(version_in_host=False), {})
    zookeeper = ZooKeeperRegistry("zoo", "/dubbo", server.client, directory, Pace(), lambda: 0.5)
    return [build_registry(config.registries[0], lambda: 0.5), zookeeper]


async def test_one_service_of_two_registries_reaches_the_sink_as_one(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(REVIEWS)
    server = FakeZooKeeper()
    server.create(node("v2", 9102))
    server.create(node("v2", 9103))
    config = configuration(tmp_path)
    async with serve(config, registries(config, server)) as addresses, sink(addresses) as one:
        await one.until({"default/shop.reviews": [9101, 9102, 9103]})
        entry = one.entries["default/shop.reviews"]
        assert [(port.name, port.number, port.protocol) for port in entry.ports] == [("http", 9080, "HTTP")]
        assert [endpoint.labels["version"] for endpoint in entry.endpoints] == ["v1", "v2", "v2"]
        assert (await admin(addresses, "/ready"))[0] == 200
        server.delete(node("v2", 9102))
        server.create(node("v2", 9104))
        await one.until({"default/shop.reviews": [9101, 9102, 9103, 9104]})
        (tmp_path / "shop.yaml").unlink()
        await one.until({"default/shop.reviews": [9103, 9104]})
        server.delete("/dubbo/shop.Reviews")
        await one.until({})


async def test_services_are_withheld_until_every_registry_was_listed(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(REVIEWS)
    server = FakeZooKeeper()
    config = configuration(tmp_path)
    async with serve(config, registries(config, server)) as addresses, sink(addresses) as one:
        status, text = await admin(addresses, "/ready")
        assert (status, "zoo" in text) == (503, True)
        server.create(node("v3", 9105))
        await one.until({"default/shop.reviews": [9101, 9102, 9105]})


async def test_a_registry_is_not_waited_for_beyond_its_deadline(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(REVIEWS)
    config = configuration(tmp_path, zookeeper_deadline_s=0.2)
    async with serve(config, registries(config, FakeZooKeeper())) as addresses, sink(addresses) as one:
        await one.until({"default/shop.reviews": [9101, 9102]})


async def test_the_administration_endpoint(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(REVIEWS)
    (tmp_path / "bad.yaml").write_text("services: 17")
    server = FakeZooKeeper()
    server.create(node("v2", 9103))
    server.create("/dubbo/shop.Reviews/providers/not-a-url")
    config = configuration(tmp_path)
    async with serve(config, registries(config, server)) as addresses:
        found = await problems(addresses, 2)
        assert {(one["registry"], one["path"]) for one in found} == {
            ("files", f"{tmp_path / 'bad.yaml'}: services"),
            ("zoo", "/dubbo/shop.Reviews/providers"),
        }
        sources = {one["name"]: one for one in json.loads((await admin(addresses, "/sources"))[1])["sources"]}
        assert sources["files"]["unreadable"] == ["bad.yaml"]
        (tmp_path / "bad.yaml").unlink()
        async with sink(addresses) as one:
            await one.until({"default/shop.reviews": [9101, 9102, 9103]})
            (stream,) = json.loads((await admin(addresses, "/sinks"))[1])["sinks"]
            assert stream["variant"] == "delta"
        found_services = json.loads((await admin(addresses, "/services?host=shop.reviews"))[1])
        assert [(claim["source"], claim["address"]) for claim in found_services["services"][0]["claims"]] == [
            ("files", "127.0.0.1:9101"),
            ("files", "127.0.0.1:9102"),
            ("zoo", "127.0.0.1:9103"),
        ]
        assert json.loads((await admin(addresses, "/services?host=other"))[1])["total"] == 0
        status, metrics = await admin(addresses, "/metrics")
        assert status == 200
        assert 'isthmus_bridge_source_state{source="zoo",state="LIVE"} 1' in metrics
        assert "isthmus_bridge_services 1" in metrics
        assert (await admin(addresses, "/other"))[0] == 404


@pytest.mark.parametrize("which", ["mcp.address", "admin.address"])
async def test_an_address_in_use_is_named(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        mcp, admin_address = (address, FREE) if which == "mcp.address" else (FREE, address)
        config = BridgeConfig((RegistryConfig("files", FileConfig(tmp_path)),), McpConfig(mcp), admin_address)
        with pytest.raises(BridgeError, match=f"{which} {address}: cannot listen"):
            async with serve(config, []):
                pass


def listed(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_the_address_file_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    write_addresses(path, {"mcp": "127.0.0.1:1"})
    assert json.loads(path.read_text()) == {"mcp": "127.0.0.1:1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listed(tmp_path) == [path]
    with pytest.raises(BridgeError, match="--address-path"):
        write_addresses(tmp_path / "missing" / "addresses", {})


DUAL = """
services:
- host: greeter.shop
  ports: [{name: http, number: 80, protocol: HTTP}]
  instances:
  - {address: 127.0.0.1, port: 9101, instance: one, labels: {app: greeter}}
  - {address: 127.0.0.1, port: 9201, instance: one, side: mesh}
"""
POLICY = """
apiVersion: isthmus.io/v1alpha1
kind: DualMode
metadata: {name: greeter}
spec: {host: greeter.shop, mesh: {prefer: [%s]}, overlap: 0s}
"""


async def test_policies_decide_what_is_served_and_the_page_says_so(tmp_path: Path) -> None:
    services, conf = tmp_path / "services", tmp_path / "conf"
    services.mkdir()
    conf.mkdir()
    (services / "a.yaml").write_text(DUAL)
    (conf / "p.yaml").write_text(POLICY % "native")
    config = BridgeConfig(
        (RegistryConfig("files", FileConfig(services)),),
        McpConfig(FREE),
        FREE,
        DebounceConfig(5, 50),
        warm_start=WarmStartConfig(tmp_path / "warm"),
        dual_mode=DualModeConfig(policies=conf, wait_s=20),
    )
    async with serve(config, [build_registry(one, lambda: 0.5) for one in config.registries]) as addresses:
        async with sink(addresses) as held:
            await held.take()
            assert held.ports() == {"default/greeter.shop": [9101]}
            (conf / "p.yaml").write_text(POLICY % "mesh")
            await held.until({"default/greeter.shop": [9201]})
        page = json.loads((await admin(addresses, "/dualmode?host=greeter.shop"))[1])
        (instance,) = page["services"]["default/greeter.shop"].pop("instances")
        assert page["services"]["default/greeter.shop"] == {"total": 1, "sdk_share_mesh": 1.0, "mesh_share_mesh": 1.0}
        assert instance == {
            "id": "one",
            "application": "greeter",
            "port": "http",
            "native": "127.0.0.1:9101",
            "mesh": "127.0.0.1:9201",
            "native_up": True,
            "mesh_up": True,
            "sdk": ["127.0.0.1:9201"],
            "mesh_shown": ["127.0.0.1:9201"],
            "policy": "default/greeter",
            "rule": "prefer",
            "sdk_rule": "",
            "sdk_draining_s": {},
            "mesh_draining_s": {},
        }
        assert (page["policies"]["live"], page["policies"]["age_s"]) == (True, 0.0)
        assert list(page["policies"]["versions"]) == ["default/greeter"]
        metrics = (await admin(addresses, "/metrics"))[1]
        assert 'isthmus_bridge_dual_mode_instances{address="mesh",side="mesh"} 1\n' in metrics
        assert "isthmus_bridge_policies 1\n" in metrics
        assert json.loads((await admin(addresses, "/dualmode?host=other"))[1])["services"] == {}
    conf.rename(tmp_path / "away")
    async with serve(config, [build_registry(one, lambda: 0.5) for one in config.registries]) as addresses:
        page = json.loads((await admin(addresses, "/dualmode"))[1])
        assert list(page["policies"]["versions"]) == ["default/greeter"]
        assert page["policies"]["age_s"] is not None
