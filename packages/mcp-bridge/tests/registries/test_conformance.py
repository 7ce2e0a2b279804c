from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import yaml

from isthmus_mcp_bridge.events import OriginReport, Problem
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.file.registry import FileRegistry
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.applications import ApplicationFetch, read_application
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry
from isthmus_mcp_bridge.registries.zookeeper.sofarpc import read_sofarpc
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance
from isthmus_mcp_bridge.testing.fake_zookeeper import FakeZooKeeper
from isthmus_mcp_bridge.testing.memory_registry import MemoryRegistry, MemoryStore


class MemorySubject:
    def __init__(self) -> None:
        self._store = MemoryStore()

    def adapter(self) -> Registry:
        return MemoryRegistry("memory", self._store)

    async def establish(self) -> None:
        await self._store.establish()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        endpoints = tuple(
            EndpointClaim(
                "http", address, port, presence=Presence.OFFLINE if (address, port) in offline else Presence.UP
            )
            for address, port in instances
        )
        claim = ServiceClaim(ServiceKey("default", host), (ServicePort("http", 80, "HTTP"),), endpoints)
        await self._store.put(host, OriginReport((claim,)))

    async def remove(self, host: str) -> None:
        await self._store.put(host, None)

    async def spoil(self, spoilt: bool) -> str:
        problem = Problem("memory", "bad", "nonsense", "is nonsense")
        await self._store.put("bad", OriginReport(problems=(problem,)) if spoilt else None)
        return "nonsense"

    async def interrupt(self) -> None:
        await self._store.set_reachable(False)

    async def restore(self) -> None:
        await self._store.set_reachable(True)


class FileSubject:
    def __init__(self, base: Path) -> None:
        self._directory = base / "services"
        self._away = base / "away"

    @property
    def _present(self) -> Path:
        return self._away if self._away.exists() else self._directory

    def adapter(self) -> Registry:
        return FileRegistry("files", self._directory, "default", lambda: 0.5)

    async def establish(self) -> None:
        self._directory.mkdir()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        listed = [
            {"address": address, "port": port, "enabled": (address, port) not in offline} for address, port in instances
        ]
        ports = [{"name": "http", "number": 80, "protocol": "HTTP"}]
        document = {"services": [{"host": host, "ports": ports, "instances": listed}]}
        self._write(f"{host}.yaml", yaml.safe_dump(document))

    async def remove(self, host: str) -> None:
        (self._present / f"{host}.yaml").unlink()

    async def spoil(self, spoilt: bool) -> str:
        if spoilt:
            self._write("broken.yaml", "services: [{host: 17.}]")
        else:
            (self._present / "broken.yaml").unlink()
        return "17."

    async def interrupt(self) -> None:
        self._directory.rename(self._away)

    async def restore(self) -> None:
        self._away.rename(self._directory)

    def _write(self, name: str, text: str) -> None:
        temporary = self._present / f".{name}.tmp"
        temporary.write_text(text)
        temporary.rename(self._present / name)


class FakeZooKeeperSubject:
    def __init__(self) -> None:
        self._server = FakeZooKeeper()
        self._nodes: dict[str, set[str]] = {}

    def adapter(self) -> Registry:
        directory = Directory("zoo", NamingRule(), {})
        return ZooKeeperRegistry("zoo", "/dubbo", self._server.client, directory, Pace(), lambda: 0.5)

    async def establish(self) -> None:
        self._server.create("/dubbo/config")

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = set()
        for address, port in instances:
            disabled = "&disabled=true" if (address, port) in offline else ""
            wanted.add(quote_plus(f"rest://{address}:{port}/{host}?interface={host}&timestamp=1{disabled}"))
        for node in sorted(wanted):
            self._server.create(f"/dubbo/{host}/providers/{node}")
            await asyncio.sleep(0)
        for node in sorted(self._nodes.get(host, set()) - wanted):
            self._server.delete(f"/dubbo/{host}/providers/{node}")
        self._nodes[host] = wanted

    async def remove(self, host: str) -> None:
        self._server.delete(f"/dubbo/{host}")

    async def spoil(self, spoilt: bool) -> str:
        if spoilt:
            self._server.create("/dubbo/reviews/providers/not-a-url")
        else:
            self._server.delete("/dubbo/reviews/providers/not-a-url")
        return "not-a-url"

    async def interrupt(self) -> None:
        self._server.partition()

    async def restore(self) -> None:
        self._server.heal()


@pytest.mark.asyncio
class TestMemory(RegistryConformance):
    @pytest.fixture
    def subject(self) -> MemorySubject:
        return MemorySubject()


@pytest.mark.asyncio
class TestFile(RegistryConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> FileSubject:
        return FileSubject(tmp_path)


@pytest.mark.asyncio
class TestZooKeeperLayout(RegistryConformance):
    @pytest.fixture
    def subject(self) -> FakeZooKeeperSubject:
        return FakeZooKeeperSubject()


class FakeSofaRpcSubject(FakeZooKeeperSubject):
    """SOFARPC's layout."""

    def adapter(self) -> Registry:
        directory = Directory("zoo", NamingRule(), {}, read_sofarpc)
        return ZooKeeperRegistry("zoo", "/dubbo", self._server.client, directory, Pace(), lambda: 0.5)

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = set()
        for address, port in instances:
            dynamic = (address, port) not in offline
            wanted.add(quote_plus(f"rest://{address}:{port}/?version=1.0&dynamic={dynamic}&startTime=1".lower()))
        for node in sorted(wanted):
            self._server.create(f"/dubbo/{host}/providers/{node}")
        for node in sorted(self._nodes.get(host, set()) - wanted):
            self._server.delete(f"/dubbo/{host}/providers/{node}")
        self._nodes[host] = wanted


class FakeApplicationsSubject(FakeZooKeeperSubject):
    """Dubbo 3's application-level layout; an application of one interface each."""

    def adapter(self) -> Registry:
        fetch = ApplicationFetch("/dubbo", "/services")
        directory = Directory("zoo", NamingRule(), {}, read_application)
        return ZooKeeperRegistry(
            "zoo", "/services", self._server.client, directory, Pace(), lambda: 0.5, fetch, fetch.owner
        )

    async def establish(self) -> None:
        self._server.create("/services")

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = set()
        for address, port in instances:
            metadata = {
                "dubbo.metadata.revision": "r1",
                "dubbo.metadata.storage-type": "remote",
                "dubbo.endpoints": json.dumps([{"port": port, "protocol": "rest"}]),
                "disabled": str((address, port) in offline).lower(),
            }
            payload = {"payload": {"metadata": metadata}}
            document = {"name": f"app-{host}", "address": address, "port": port, **payload}
            node = f"/services/app-{host}/{address}:{port}"
            wanted.add(node)
            self._server.write(node, json.dumps(document).encode())
        services = {"x": {"name": host, "group": None, "version": None, "protocol": "rest", "port": 0}}
        self._server.write(f"/dubbo/metadata/app-{host}/r1", json.dumps({"services": services}).encode())
        for node in sorted(self._nodes.get(host, set()) - wanted):
            self._server.delete(node)
        self._nodes[host] = wanted

    async def remove(self, host: str) -> None:
        self._server.delete(f"/services/app-{host}")

    async def spoil(self, spoilt: bool) -> str:
        if spoilt:
            self._server.write("/services/app-reviews/bad", b"not-json")
        else:
            self._server.delete("/services/app-reviews/bad")
        return "not-json"


@pytest.mark.asyncio
class TestSofaRpcLayout(RegistryConformance):
    @pytest.fixture
    def subject(self) -> FakeSofaRpcSubject:
        return FakeSofaRpcSubject()


@pytest.mark.asyncio
class TestApplicationLayout(RegistryConformance):
    @pytest.fixture
    def subject(self) -> FakeApplicationsSubject:
        return FakeApplicationsSubject()
