from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_mcp_bridge.config.load import load_config, parse_config
from isthmus_mcp_bridge.config.model import (
    Address,
    BridgeConfig,
    FileConfig,
    McpConfig,
    RegistryConfig,
    ZooKeeperConfig,
)
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.registries.naming import HostOverride, NamingRule

FULL = """
mcp: {address: "0.0.0.0:1", max_streams: 5, max_response_bytes: 4096}
admin: {address: "[::1]:2"}
debounce: {quiet_ms: 1, longest_ms: 2}
registries:
- name: files
  file: {path: services}
- name: zoo
  namespace: shop
  sync_deadline_s: 5
  zookeeper:
    servers: "zk-1:2181,zk-2:2181"
    root: /dubbo/prod
    version: label
    domain: svc.local
    ports: {http: 8080}
    hosts:
      com.shop.Reviews: reviews
      g/com.shop.Ratings:1: {host: ratings, namespace: other, ports: {dubbo: 1234}}
    session_timeout_s: 4.5
    resync_interval_s: 60
"""
FILES = "registries: [{name: a, file: {path: x}}]\n"
ZOO = "registries: [{{name: a, zookeeper: {{servers: 'z:1', {}}}}}]"


def parse(text: str) -> BridgeConfig:
    return parse_config(text.encode(), "bridge.yaml", Path("/etc/isthmus"))


def test_every_field() -> None:
    config = parse(FULL)
    assert config.mcp == McpConfig(Address("0.0.0.0", 1), 5, 4096)
    assert str(config.admin) == "[::1]:2"
    assert (config.debounce.quiet_ms, config.debounce.longest_ms) == (1, 2)
    files, zoo = config.registries
    assert files == RegistryConfig("files", FileConfig(Path("/etc/isthmus/services"), "default"), 30.0)
    hosts = {
        "com.shop.Reviews": HostOverride("reviews"),
        "g/com.shop.Ratings:1": HostOverride("ratings", "other", {"dubbo": 1234}),
    }
    naming = NamingRule("shop", False, "svc.local", hosts)
    assert zoo.kind == ZooKeeperConfig("zk-1:2181,zk-2:2181", naming, "/dubbo/prod", {"http": 8080}, 4.5, 60.0)
    assert (zoo.name, zoo.sync_deadline_s) == ("zoo", 5.0)


def test_defaults_listen_on_loopback() -> None:
    config = parse(FILES)
    assert (str(config.mcp.address), str(config.admin)) == ("127.0.0.1:15020", "127.0.0.1:15021")
    (zoo,) = parse(ZOO.format("root: /dubbo")).registries
    assert zoo.kind == ZooKeeperConfig("z:1", NamingRule())


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("", "(document)", ""),
        ("registries: []", "registries", "[]"),
        ("registries: [{file: {path: x}}]", "registries[0]", "{'file': {'path': 'x'}}"),
        ("registries: [{name: a}]", "registries[0]", "{'name': 'a'}"),
        ("registries: [{name: A, file: {path: x}}]", "registries[0].name", "'A'"),
        ("registries: [{name: a, file: {}}]", "registries[0].file", "{}"),
        ("registries: [{name: a, file: {path: ''}}]", "registries[0].file.path", "''"),
        ("registries: [{name: a, consul: {}}]", "registries[0].consul", "{}"),
        ("registries: [{name: a, file: {path: x}}, {name: a, file: {path: y}}]", "registries[1].name", "'a'"),
        ("registries: [{name: a, zookeeper: {}}]", "registries[0].zookeeper", "{}"),
        ("registries: [{name: a, zookeeper: {servers: z}}]", "registries[0].zookeeper.servers", "'z'"),
        ("registries: [{name: a, zookeeper: {servers: 'z:1/x'}}]", "registries[0].zookeeper.servers", "'z:1/x'"),
        (ZOO.format("version: hots"), "registries[0].zookeeper.version", "'hots'"),
        (ZOO.format("root: dubbo"), "registries[0].zookeeper.root", "'dubbo'"),
        (ZOO.format("root: /"), "registries[0].zookeeper.root", "'/'"),
        (ZOO.format("domain: A"), "registries[0].zookeeper.domain", "'A'"),
        (ZOO.format("ports: {tri: 1}"), "registries[0].zookeeper.ports.tri", "1"),
        (ZOO.format("ports: {http: 0}"), "registries[0].zookeeper.ports.http", "0"),
        (ZOO.format("hosts: {a.B: a_b}"), "registries[0].zookeeper.hosts.a.B", "'a_b'"),
        (ZOO.format("hosts: {a.B: {}}"), "registries[0].zookeeper.hosts.a.B", "{}"),
        (ZOO.format("hosts: {a.B: 1}"), "registries[0].zookeeper.hosts.a.B", "1"),
        (ZOO.format("session_timeout_s: 0"), "registries[0].zookeeper.session_timeout_s", "0"),
        (ZOO.format("password: x"), "registries[0].zookeeper.password", "'x'"),
        (FILES + "mcp: {address: x}", "mcp.address", "'x'"),
        (FILES + "mcp: {address: 'h:1'}", "mcp.address", "'h:1'"),
        (FILES + "mcp: {address: '127.0.0.1:99999'}", "mcp.address", "'127.0.0.1:99999'"),
        (FILES + "mcp: {max_streams: 0}", "mcp.max_streams", "0"),
        (FILES + "admin: {}", "admin", "{}"),
        (FILES + "debounce: {quiet_ms: -1}", "debounce.quiet_ms", "-1"),
        (FILES + "debug: true", "debug", "True"),
    ],
)
def test_bad_values_are_named(text: str, path: str, value: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert (caught.value.file, caught.value.path, caught.value.value) == ("bridge.yaml", path, value)
    assert caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"missing\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "missing.yaml")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(FILES)
    (registry,) = load_config(file).registries
    assert registry.kind == FileConfig(tmp_path / "x")
