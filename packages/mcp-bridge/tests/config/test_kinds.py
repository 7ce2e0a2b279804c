from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_mcp_bridge.config.load import parse_config
from isthmus_mcp_bridge.config.model import (
    ConsulConfig,
    EtcdConfig,
    EurekaConfig,
    Kind,
    NacosConfig,
    RegistryConfig,
    SofaRegistryConfig,
    ZooKeeperConfig,
)
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.registries.build import build_registry
from isthmus_mcp_bridge.registries.naming import NamingRule


def parse(kind: str) -> Kind:
    text = f"registries: [{{name: it, namespace: shop, {kind}}}]"
    return parse_config(text.encode(), "b.yaml", Path("/etc")).registries[0].kind


RULE = NamingRule("shop")
TOKEN = "s3cret"


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (
            "consul: {servers: 'http://c:8500/', datacenter: dc1, token: s3cret, scheme: tri, wait_s: 9, ports: {grpc: 1}}",
            ConsulConfig(("http://c:8500",), RULE, {"grpc": 1}, "tri", "dc1", TOKEN, 9),
        ),
        ("nacos: {servers: 'n:9848'}", NacosConfig(("n:9848",), RULE)),
        (
            "nacos: {servers: 'http://n:8848', api: http, groups: [a, b], nacos_namespace: x, interval_s: 1}",
            NacosConfig(("http://n:8848",), RULE, "http", {}, "http", "x", ("a", "b"), 1),
        ),
        ("eureka: {servers: 'http://e:8761/eureka,https://f/eureka'}",
         EurekaConfig(("http://e:8761/eureka", "https://f/eureka"), RULE)),
        ("etcd: {servers: 'e:2379,f:2379', root: /d}", EtcdConfig(("e:2379", "f:2379"), RULE, {}, "/d")),
        ("etcd: {servers: 'e:2379', session_timeout_s: 3}", EtcdConfig(("e:2379",), RULE, session_timeout_s=3)),
        (
            "sofaregistry: {servers: 's:9600', data_ids: ['a:1.0@DEFAULT'], group: G}",
            SofaRegistryConfig(("s:9600",), RULE, ("a:1.0@DEFAULT",), {}, "G"),
        ),
        ("zookeeper: {servers: 'z:2181', layout: sofarpc}", ZooKeeperConfig("z:2181", RULE, "/sofa-rpc", layout="sofarpc")),
        (
            "zookeeper: {servers: 'z:2181', layout: dubbo-applications, dubbo_root: /d}",
            ZooKeeperConfig("z:2181", RULE, "/services", layout="dubbo-applications", dubbo_root="/d"),
        ),
    ],
)  # fmt: skip
def test_a_kind_is_read_and_built(text: str, config: Kind) -> None:
    assert parse(text) == config
    assert build_registry(RegistryConfig("it", config), lambda: 0.5).name == "it"


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(parse("consul: {servers: 'http://c:8500', token: s3cret}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("consul: {}", "must have the field servers"),
        ("consul: {servers: 'c:8500'}", "must be URLs"),
        ("nacos: {servers: 'http://n:1'}", "must be host:port"),
        ("eureka: {servers: 'http://e', scheme: gopher}", "must be one of"),
        ("etcd: {}", "must have the field servers"),
        ("etcd: {servers: 'e:1', session_timeout_s: 1}", "session_timeout_s: 1: must be"),
        ("sofaregistry: {servers: 's:1'}", "must have the field data_ids"),
        ("sofaregistry: {servers: 's:1', data_ids: []}", "at least one element"),
        ("zookeeper: {servers: 'z:1', dubbo_root: /d}", "belongs to the layout dubbo-applications"),
        ("zookeeper: {servers: 'z:1', layout: other}", "must be one of dubbo, dubbo-applications, sofarpc"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert message in str(caught.value)
