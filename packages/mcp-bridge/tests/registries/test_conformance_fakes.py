"""The conformance suite on the registries that speak over the network, each with a server that speaks as the real one does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote_plus

import pytest
import pytest_asyncio

from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.consul.registry import ConsulOptions, ConsulRegistry
from isthmus_mcp_bridge.registries.etcd.registry import EtcdRegistry
from isthmus_mcp_bridge.registries.eureka.registry import eureka_registry
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp
from isthmus_mcp_bridge.registries.nacos.grpc_registry import NacosGrpcRegistry, NacosOptions
from isthmus_mcp_bridge.registries.nacos.http_registry import nacos_http_registry
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sofaregistry.messages import DataKey
from isthmus_mcp_bridge.registries.sofaregistry.registry import SofaOptions, SofaRegistry
from isthmus_mcp_bridge.testing.conformance import Instance, RegistryConformance
from isthmus_mcp_bridge.testing.fake_consul import FakeConsul
from isthmus_mcp_bridge.testing.fake_etcd import FakeEtcd
from isthmus_mcp_bridge.testing.fake_eureka import FakeEureka
from isthmus_mcp_bridge.testing.fake_nacos import FakeNacos
from isthmus_mcp_bridge.testing.fake_sofaregistry import FakeSofaRegistry

HOW = Plain("it", NamingRule(), {})
INTERVAL_S = 0.05


class ConsulSubject:
    def __init__(self) -> None:
        self.fake = FakeConsul()

    def adapter(self) -> Registry:
        return ConsulRegistry(HOW, ConsulOptions(), lambda: JsonHttp([self.fake.server.url]), lambda: 0.5)

    async def establish(self) -> None:
        await self.fake.server.start()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        await self.fake.put(
            host,
            [
                self.fake.entry(host, *one, *(("critical", "_service_maintenance:x") if one in offline else ()))
                for one in instances
            ],
        )

    async def remove(self, host: str) -> None:
        await self.fake.put(host, [])

    async def spoil(self, spoilt: bool) -> str:
        await self.fake.put("bad", [self.fake.entry("bad", "not-an-ip", 1)] if spoilt else [])
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.fake.server.stop()

    async def restore(self) -> None:
        await self.fake.server.start()


class EurekaSubject:
    def __init__(self) -> None:
        self.fake = FakeEureka()

    def adapter(self) -> Registry:
        return eureka_registry(HOW, JsonHttp([self.fake.url]), INTERVAL_S, lambda: 0.5)

    async def establish(self) -> None:
        await self.fake.server.start()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        app = host.upper()
        wanted = {f"{address}:{port}" for address, port in instances}
        for name, instance_id in list(self.fake.instances):
            if name == app and instance_id not in wanted:
                self.fake.remove(app, instance_id)
        for one in instances:
            status = "OUT_OF_SERVICE" if one in offline else "UP"
            self.fake.put(app, self.fake.instance(app, *one, status))

    async def remove(self, host: str) -> None:
        await self.put(host, [])

    async def spoil(self, spoilt: bool) -> str:
        if spoilt:
            self.fake.put("BAD", self.fake.instance("BAD", "not-an-ip", 1))
        else:
            self.fake.remove("BAD", "not-an-ip:1")
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.fake.server.stop()

    async def restore(self) -> None:
        await self.fake.server.start()


class NacosSubject:
    def __init__(self, api: str) -> None:
        self.fake = FakeNacos()
        self._api = api

    def adapter(self) -> Registry:
        if self._api == "http":
            http = JsonHttp([f"{self.fake.http.url}/nacos"])
            return nacos_http_registry(HOW, http, "", ["DEFAULT_GROUP"], INTERVAL_S, lambda: 0.5)
        options = NacosOptions((self.fake.grpc_target,), list_interval_s=INTERVAL_S)
        return NacosGrpcRegistry(HOW, options, lambda: 0.5)

    async def establish(self) -> None:
        await self.fake.start()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        self.fake.put(host, [self.fake.host(*one, enabled=one not in offline) for one in instances])

    async def remove(self, host: str) -> None:
        self.fake.put(host, None)

    async def spoil(self, spoilt: bool) -> str:
        self.fake.put("bad", [self.fake.host("not-an-ip", 1)] if spoilt else None)
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.fake.stop()

    async def restore(self) -> None:
        await self.fake.start()


class EtcdSubject:
    def __init__(self) -> None:
        self.fake = FakeEtcd()

    def adapter(self) -> Registry:
        return EtcdRegistry("it", [self.fake.target], "/dubbo", NamingRule(), {}, 300, lambda: 0.5)

    async def establish(self) -> None:
        await self.fake.start()
        await self.fake.put("/dubbo/established")

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        wanted = set()
        for address, port in instances:
            disabled = "&disabled=true" if (address, port) in offline else ""
            url = f"rest://{address}:{port}/{host}?interface={host}&timestamp=1{disabled}"
            wanted.add(f"/dubbo/{host}/providers/{quote_plus(url)}")
        for key in sorted(wanted):
            await self.fake.put(key)
        for key in sorted(self._keys(host) - wanted):
            await self.fake.delete(key)

    async def remove(self, host: str) -> None:
        for key in sorted(self._keys(host)):
            await self.fake.delete(key)

    def _keys(self, host: str) -> set[str]:
        return {key.decode() for key in self.fake.keys if key.startswith(f"/dubbo/{host}/".encode())}

    async def spoil(self, spoilt: bool) -> str:
        await (self.fake.put if spoilt else self.fake.delete)("/dubbo/reviews/providers/not-a-url")
        return "not-a-url"

    async def interrupt(self) -> None:
        await self.fake.stop()

    async def restore(self) -> None:
        await self.fake.start()


class SofaRegistrySubject:
    def __init__(self) -> None:
        self.fake = FakeSofaRegistry()

    def adapter(self) -> Registry:
        keys = tuple(map(self._key, ("reviews", "ratings", "details", "bad")))
        return SofaRegistry("it", SofaOptions((self.fake.target,), keys), NamingRule(), {}, lambda: 0.5)

    def _key(self, host: str) -> DataKey:
        return DataKey(f"{host}:1.0@rest")

    async def establish(self) -> None:
        await self.fake.start()

    async def put(self, host: str, instances: Sequence[Instance], offline: Sequence[Instance] = ()) -> None:
        items = [f"{one[0]}:{one[1]}?weight={0 if one in offline else 100}" for one in instances]
        self.fake.put(self._key(host), items)

    async def remove(self, host: str) -> None:
        self.fake.put(self._key(host), [])

    async def spoil(self, spoilt: bool) -> str:
        self.fake.put(self._key("bad"), ["not-an-ip:1?"] if spoilt else [])
        return "not-an-ip"

    async def interrupt(self) -> None:
        await self.fake.stop()

    async def restore(self) -> None:
        await self.fake.start()


@pytest.mark.asyncio
class TestConsul(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[ConsulSubject]:
        subject = ConsulSubject()
        yield subject
        await subject.interrupt()


@pytest.mark.asyncio
class TestEureka(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[EurekaSubject]:
        subject = EurekaSubject()
        yield subject
        await subject.interrupt()


@pytest.mark.asyncio
class TestNacosHttp(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[NacosSubject]:
        subject = NacosSubject("http")
        yield subject
        await subject.interrupt()


@pytest.mark.asyncio
class TestNacosGrpc(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[NacosSubject]:
        subject = NacosSubject("grpc")
        yield subject
        await subject.interrupt()


@pytest.mark.asyncio
class TestEtcd(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[EtcdSubject]:
        subject = EtcdSubject()
        yield subject
        await subject.interrupt()


@pytest.mark.asyncio
class TestSofaRegistry(RegistryConformance):
    @pytest_asyncio.fixture
    async def subject(self) -> AsyncIterator[SofaRegistrySubject]:
        subject = SofaRegistrySubject()
        yield subject
        await subject.interrupt()
