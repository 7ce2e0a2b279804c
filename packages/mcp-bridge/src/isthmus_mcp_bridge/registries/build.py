"""Makes the adapter for a configured registry: the one place that knows all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_mcp_bridge.config.model import (
    ConsulConfig,
    EtcdConfig,
    EurekaConfig,
    FileConfig,
    NacosConfig,
    RegistryConfig,
    SofaRegistryConfig,
    ZooKeeperConfig,
)
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.consul.registry import ConsulOptions, ConsulRegistry
from isthmus_mcp_bridge.registries.etcd.registry import EtcdRegistry
from isthmus_mcp_bridge.registries.eureka.registry import eureka_registry
from isthmus_mcp_bridge.registries.file.registry import FileRegistry
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp
from isthmus_mcp_bridge.registries.nacos.grpc_registry import NacosGrpcRegistry, NacosOptions
from isthmus_mcp_bridge.registries.nacos.http_registry import nacos_http_registry
from isthmus_mcp_bridge.registries.sieve import Sieve
from isthmus_mcp_bridge.registries.sofaregistry.messages import DataKey
from isthmus_mcp_bridge.registries.sofaregistry.registry import SofaOptions, SofaRegistry
from isthmus_mcp_bridge.registries.zookeeper.applications import ApplicationFetch, read_application
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory, read_dubbo
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver
from isthmus_mcp_bridge.registries.zookeeper.kazoo_client import KazooZooKeeper
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry
from isthmus_mcp_bridge.registries.zookeeper.sofarpc import read_sofarpc

Random = Callable[[], float]


def build_registry(config: RegistryConfig, random: Random, sieve: Sieve | None = None) -> Registry:
    """The adapter, not yet running; ``random`` gives numbers in [0, 1), ``sieve`` keeps back what our own cluster has written."""
    if isinstance(config.kind, ZooKeeperConfig):
        return _zookeeper(config.name, config.kind, random, sieve)
    if isinstance(config.kind, EtcdConfig):
        return _etcd(config.name, config.kind, random, sieve)
    builder: Callable[[str, Any, Random], Registry] = _BUILDERS[type(config.kind)]
    return builder(config.name, config.kind, random)


def _file(name: str, kind: FileConfig, random: Random) -> Registry:
    return FileRegistry(name, kind.path, kind.namespace, random)


def _zookeeper(name: str, kind: ZooKeeperConfig, random: Random, sieve: Sieve | None) -> Registry:
    def connect(handover: HandOver) -> KazooZooKeeper:
        return KazooZooKeeper(kind.servers, kind.session_timeout_s, handover)

    pace = Pace(kind.resync_interval_s)
    if kind.layout == "dubbo-applications":
        fetch = ApplicationFetch(kind.dubbo_root, kind.root)
        directory = Directory(name, kind.naming, kind.ports, read_application)
        return ZooKeeperRegistry(name, kind.root, connect, directory, pace, random, fetch, fetch.owner)
    read = read_sofarpc if kind.layout == "sofarpc" else read_dubbo
    directory = Directory(name, kind.naming, kind.ports, read, sieve)
    return ZooKeeperRegistry(name, kind.root, connect, directory, pace, random)


def _consul(name: str, kind: ConsulConfig, random: Random) -> Registry:
    headers = {"X-Consul-Token": kind.token} if kind.token else {}
    how = Plain(name, kind.naming, kind.ports, kind.scheme)
    options = ConsulOptions(kind.datacenter, kind.wait_s, kind.resync_interval_s)
    return ConsulRegistry(how, options, lambda: JsonHttp(kind.servers, headers), random)


def _nacos(name: str, kind: NacosConfig, random: Random) -> Registry:
    how = Plain(name, kind.naming, kind.ports, kind.scheme)
    if kind.api == "http":
        http = JsonHttp([f"{server}/nacos" if server.count("/") == 2 else server for server in kind.servers])
        return nacos_http_registry(how, http, kind.nacos_namespace, kind.groups, kind.interval_s, random)
    options = NacosOptions(kind.servers, kind.nacos_namespace, kind.groups, kind.interval_s, kind.resync_interval_s)
    return NacosGrpcRegistry(how, options, random)


def _eureka(name: str, kind: EurekaConfig, random: Random) -> Registry:
    http = JsonHttp(kind.servers, {"Accept": "application/json"})
    return eureka_registry(Plain(name, kind.naming, kind.ports, kind.scheme), http, kind.interval_s, random)


def _etcd(name: str, kind: EtcdConfig, random: Random, sieve: Sieve | None) -> Registry:
    return EtcdRegistry(name, kind.servers, kind.root, kind.naming, kind.ports, kind.resync_interval_s, random, sieve)


def _sofaregistry(name: str, kind: SofaRegistryConfig, random: Random) -> Registry:
    keys = tuple(DataKey(data_id, kind.group, kind.instance_id) for data_id in kind.data_ids)
    return SofaRegistry(name, SofaOptions(kind.servers, keys, kind.first_push_s), kind.naming, kind.ports, random)


_BUILDERS: dict[type, Callable[..., Registry]] = {
    FileConfig: _file,
    ConsulConfig: _consul,
    NacosConfig: _nacos,
    EurekaConfig: _eureka,
    SofaRegistryConfig: _sofaregistry,
}
