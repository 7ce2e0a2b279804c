from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_mcp_bridge.config.load import parse_config
from isthmus_mcp_bridge.config.model import BacksyncConfig, BridgeConfig, MirrorConfig, RegistrationConfig
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.registration.leases import LeaseLimits
from isthmus_mcp_bridge.registration.model import SdkService
from isthmus_mcp_bridge.registries.naming import NamingRule

REGISTRIES = """
registries:
- {name: zoo, zookeeper: {servers: "zk:2181"}}
- {name: sofa, zookeeper: {servers: "zk:2181", layout: sofarpc}}
- {name: apps, zookeeper: {servers: "zk:2181", layout: dubbo-applications}}
- {name: files, file: {path: services}}
- {name: keys, etcd: {servers: "e:2379", session_timeout_s: 5}}
"""


MIRROR = "backsync: {cluster: east, registries: [zoo], mirror: [%s]}"


def parse(head: str = "") -> BridgeConfig:
    return parse_config((REGISTRIES + head).encode(), "b.yaml", Path("/etc/bridge"))


def test_everything_said() -> None:
    config = parse(
        """
registration: {namespace: shop, domain: svc, version: label, ports: {dubbo: 1}, grace_s: 1, max_leases: 2, max_instances: 3}
backsync: {cluster: east, registries: [zoo, sofa, keys], overlap_s: 0, writes_per_s: 7}
"""
    )
    assert config.registration == RegistrationConfig(
        NamingRule("shop", version_in_host=False, domain="svc"),
        {"dubbo": 1},
        LeaseLimits(grace_s=1, max_leases=2, max_instances=3),
    )
    assert config.backsync == BacksyncConfig("east", ("zoo", "sofa", "keys"), 0, 7)


def test_mirrors() -> None:
    config = parse(
        """
backsync:
  cluster: east
  registries: [zoo, sofa]
  mirror:
  - {from: [files, sofa], to: zoo, services: {reviews.shop: {interface: com.shop.Reviews, protocol: http, group: g, version: "2"}}}
  - {from: [files], to: sofa, services: {reviews.shop: {interface: com.shop.Reviews, protocol: bolt}}}
"""
    )
    assert config.backsync is not None
    assert config.backsync.mirror == (
        MirrorConfig("zoo", ("files", "sofa"), {"reviews.shop": SdkService("http", "com.shop.Reviews", "g", "2")}),
        MirrorConfig("sofa", ("files",), {"reviews.shop": SdkService("bolt", "com.shop.Reviews", "", "1.0")}),
    )


def test_what_is_left_out() -> None:
    config = parse()
    assert (config.registration, config.backsync) == (None, None)
    config = parse("registration: {}\nbacksync: {cluster: east, registries: [zoo]}")
    assert config.registration == RegistrationConfig()
    assert config.backsync == BacksyncConfig("east", ("zoo",))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("registration: {grace_s: 0}", "registration.grace_s: 0: must be a number from 0.1"),
        ("registration: {max_leases: 0}", "registration.max_leases: 0"),
        ("registration: {lease_s: 1}", "registration.lease_s: 1: unknown field"),
        ("backsync: {registries: [zoo]}", "must have the field cluster"),
        ("backsync: {cluster: east}", "must have the field registries"),
        ("backsync: {cluster: East, registries: [zoo]}", "backsync.cluster: 'East'"),
        (
            "backsync: {cluster: east, registries: [other]}",
            "backsync.registries[0]: 'other': is no registry; there are zoo, sofa",
        ),
        (
            "backsync: {cluster: east, registries: [zoo, files]}",
            "backsync.registries[1]: 'files': must be a zookeeper registry",
        ),
        (
            "backsync: {cluster: east, registries: [apps]}",
            "backsync.registries[0]: 'apps': must be a zookeeper registry",
        ),
        ("backsync: {cluster: east, registries: [zoo, zoo]}", "names a registry twice"),
        (MIRROR % "{to: zoo}", "backsync.mirror[0]: {'to': 'zoo'}: must have the field from"),
        (MIRROR % "{to: sofa, from: [files]}", "backsync.mirror[0].to: 'sofa': must be one of zoo"),
        (MIRROR % "{to: zoo, from: [zoo]}", "backsync.mirror[0].from[0]: 'zoo': must be one of sofa, apps, files"),
        (MIRROR % "{to: zoo, from: []}", "backsync.mirror[0].from: []: must name at least one registry"),
        (MIRROR % "{to: zoo, from: [files]}, {to: zoo, from: [sofa]}", "backsync.mirror[1].to: 'zoo': stands twice"),
        (MIRROR % "{to: zoo, from: [files], services: {a: {protocol: http}}}", "must have the field interface"),
        (MIRROR % "{to: zoo, from: [files], services: {a: {interface: i, protocol: x}}}", "services.a.protocol: 'x'"),
        ("backsync: {cluster: east, registries: [zoo], writes_per_s: 0}", "backsync.writes_per_s: 0"),
    ],
)
def test_refused_by_path(head: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(head)
    assert message in str(caught.value)


def test_no_registry_may_have_the_name_of_the_registration() -> None:
    text = "registries: [{name: registration, file: {path: x}}]\nregistration: {}"
    with pytest.raises(DocumentError, match="no registry may have the name registration"):
        parse_config(text.encode(), "b.yaml", Path("/etc"))
