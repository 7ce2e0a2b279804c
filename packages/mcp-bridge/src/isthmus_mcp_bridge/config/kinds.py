"""The registries there are, and how each one's part of the configuration is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from isthmus_mcp_bridge.catalog.istio_rules import MAX_PORT, is_dns_label, is_host
from isthmus_mcp_bridge.config.model import (
    ConsulConfig,
    EtcdConfig,
    EurekaConfig,
    FileConfig,
    Kind,
    NacosConfig,
    SofaRegistryConfig,
    ZooKeeperConfig,
)
from isthmus_mcp_bridge.config.values import number
from isthmus_mcp_bridge.document import Field
from isthmus_mcp_bridge.registries.families import FAMILIES, SCHEMES
from isthmus_mcp_bridge.registries.naming import HostOverride, NamingRule

MAX_LISTED = 10_000
NAMING_FIELDS = ("version", "domain", "hosts", "ports")
_DAY_S = 86_400.0


def read_kind(kind: str, field: Field, namespace: str, base: Path) -> Kind:
    """Read one registry's own part. Raises DocumentError."""
    return KINDS[kind](field, namespace, base)


def _file(field: Field, namespace: str, base: Path) -> FileConfig:
    fields = field.mapping("path")
    if "path" not in fields:
        raise field.error("must have the field path, a directory")
    return FileConfig(base / fields["path"].string(), namespace)


def _zookeeper(field: Field, namespace: str, _: Path) -> ZooKeeperConfig:
    fields = field.mapping(
        "servers", "layout", "root", "dubbo_root", "session_timeout_s", "resync_interval_s", *NAMING_FIELDS
    )
    if "servers" not in fields:
        raise field.error("must have the field servers, as host:port,host:port")
    layout = fields["layout"].one_of(*LAYOUT_ROOTS) if "layout" in fields else "dubbo"
    if "dubbo_root" in fields and layout != "dubbo-applications":
        raise fields["dubbo_root"].error("belongs to the layout dubbo-applications")
    return ZooKeeperConfig(
        servers=",".join(_targets(fields["servers"])),
        naming=_naming(fields, namespace),
        root=_root(fields["root"]) if "root" in fields else LAYOUT_ROOTS[layout],
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        session_timeout_s=number(fields, "session_timeout_s", 1, 600, 10.0),
        resync_interval_s=number(fields, "resync_interval_s", 1, _DAY_S, 300.0),
        layout=layout,
        dubbo_root=_root(fields["dubbo_root"]) if "dubbo_root" in fields else "/dubbo",
    )


LAYOUT_ROOTS = {"dubbo": "/dubbo", "dubbo-applications": "/services", "sofarpc": "/sofa-rpc"}
"""ZooKeeper's layouts and the root that each has by default."""


def _consul(field: Field, namespace: str, _: Path) -> ConsulConfig:
    fields = field.mapping("servers", "datacenter", "token", "scheme", "wait_s", "resync_interval_s", *NAMING_FIELDS)
    default = ConsulConfig(_urls(field, fields), _naming(fields, namespace))
    return dataclasses.replace(
        default,
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        scheme=_scheme(fields),
        datacenter=fields["datacenter"].string() if "datacenter" in fields else "",
        token=fields["token"].string() if "token" in fields else "",
        wait_s=number(fields, "wait_s", 1, 600, default.wait_s),
        resync_interval_s=number(fields, "resync_interval_s", 1, _DAY_S, default.resync_interval_s),
    )


def _nacos(field: Field, namespace: str, _: Path) -> NacosConfig:
    fields = field.mapping(
        "servers", "api", "nacos_namespace", "groups", "scheme", "interval_s", "resync_interval_s", *NAMING_FIELDS
    )
    if "servers" not in fields:
        raise field.error(
            "must have the field servers: host:port,host:port for grpc (the main port + 1000), or URLs for http"
        )
    api = fields["api"].one_of("grpc", "http") if "api" in fields else "grpc"
    servers = _targets(fields["servers"]) if api == "grpc" else _urls(field, fields)
    default = NacosConfig(servers, _naming(fields, namespace), api)
    return dataclasses.replace(
        default,
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        scheme=_scheme(fields),
        nacos_namespace=fields["nacos_namespace"].string() if "nacos_namespace" in fields else "",
        groups=_strings(fields["groups"]) if "groups" in fields else default.groups,
        interval_s=number(fields, "interval_s", 0.1, 600, default.interval_s),
        resync_interval_s=number(fields, "resync_interval_s", 1, _DAY_S, default.resync_interval_s),
    )


def _eureka(field: Field, namespace: str, _: Path) -> EurekaConfig:
    fields = field.mapping("servers", "scheme", "interval_s", *NAMING_FIELDS)
    default = EurekaConfig(_urls(field, fields), _naming(fields, namespace))
    return dataclasses.replace(
        default,
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        scheme=_scheme(fields),
        interval_s=number(fields, "interval_s", 0.1, 600, default.interval_s),
    )


def _etcd(field: Field, namespace: str, _: Path) -> EtcdConfig:
    fields = field.mapping("servers", "root", "resync_interval_s", "session_timeout_s", *NAMING_FIELDS)
    if "servers" not in fields:
        raise field.error("must have the field servers, as host:port,host:port")
    default = EtcdConfig(_targets(fields["servers"]), _naming(fields, namespace))
    return dataclasses.replace(
        default,
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        root=_root(fields["root"]) if "root" in fields else default.root,
        resync_interval_s=number(fields, "resync_interval_s", 1, _DAY_S, default.resync_interval_s),
        session_timeout_s=number(fields, "session_timeout_s", 2, 600, default.session_timeout_s),
    )


def _sofaregistry(field: Field, namespace: str, _: Path) -> SofaRegistryConfig:
    fields = field.mapping("servers", "data_ids", "group", "instance_id", "first_push_s", *NAMING_FIELDS)
    for required in ("servers", "data_ids"):
        if required not in fields:
            raise field.error(f"must have the field {required}")
    default = SofaRegistryConfig(_targets(fields["servers"]), _naming(fields, namespace), _strings(fields["data_ids"]))
    return dataclasses.replace(
        default,
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        group=fields["group"].string() if "group" in fields else default.group,
        instance_id=fields["instance_id"].string() if "instance_id" in fields else default.instance_id,
        first_push_s=number(fields, "first_push_s", 0, 60, default.first_push_s),
    )


def read_naming(fields: Mapping[str, Field], namespace: str) -> tuple[NamingRule, Mapping[str, int]]:
    """How services of SDKs are named in the mesh, and their ports by family. Raises DocumentError."""
    return _naming(fields, namespace), _ports(fields["ports"]) if "ports" in fields else {}


KINDS: Mapping[str, Callable[[Field, str, Path], Kind]] = {
    "file": _file, "zookeeper": _zookeeper, "consul": _consul, "nacos": _nacos, "eureka": _eureka, "etcd": _etcd,
    "sofaregistry": _sofaregistry,
}  # fmt: skip


def _naming(fields: Mapping[str, Field], namespace: str) -> NamingRule:
    return NamingRule(
        namespace=namespace,
        version_in_host=fields["version"].one_of("host", "label") == "host" if "version" in fields else True,
        domain=host_name(fields["domain"]) if "domain" in fields else "",
        hosts=_hosts(fields["hosts"]) if "hosts" in fields else {},
    )


def _targets(field: Field) -> tuple[str, ...]:
    for server in field.string().split(","):
        host, _, digits = server.rpartition(":")
        if (
            not host
            or "/" in host
            or not digits.isascii()
            or not digits.isdigit()
            or not 0 < int(digits[:6]) <= MAX_PORT
        ):
            raise field.error("must be host:port,host:port (a path belongs into root)")
    return tuple(field.string().split(","))


def _urls(parent: Field, fields: Mapping[str, Field]) -> tuple[str, ...]:
    if "servers" not in fields:
        raise parent.error("must have the field servers, as http://host:port,http://host:port")
    urls = fields["servers"].string().split(",")
    if not all(url.startswith(("http://", "https://")) and url.partition("://")[2] for url in urls):
        raise fields["servers"].error("must be URLs such as http://host:port, separated by commas")
    return tuple(url.rstrip("/") for url in urls)


def _scheme(fields: Mapping[str, Field]) -> str:
    return fields["scheme"].one_of(*SCHEMES) if "scheme" in fields else "http"


def _root(field: Field) -> str:
    root = field.string()
    if not root.startswith("/") or root.endswith("/") or "//" in root:
        raise field.error("must be an absolute path such as /dubbo, without a slash at the end")
    return root


def _hosts(field: Field) -> dict[str, HostOverride]:
    """What is served under which host: service name -> host, or a mapping with host, namespace and ports."""
    found = {}
    for service, value in field.mapping().items():
        if isinstance(value.value, str):
            found[service] = HostOverride(host_name(value))
            continue
        fields = value.mapping("host", "namespace", "ports")
        if "host" not in fields:
            raise value.error("must be a host, or a mapping with the field host")
        found[service] = HostOverride(
            host=host_name(fields["host"]),
            namespace=dns_label(fields["namespace"]) if "namespace" in fields else "",
            ports=_ports(fields["ports"]) if "ports" in fields else {},
        )
    return found


def _ports(field: Field) -> dict[str, int]:
    return {family: port.integer(1, MAX_PORT) for family, port in field.mapping(*FAMILIES).items()}


def _strings(field: Field) -> tuple[str, ...]:
    found = tuple(item.string() for item in field.items(MAX_LISTED))
    if not found:
        raise field.error("must hold at least one element")
    return found


def host_name(field: Field) -> str:
    """A host as the bridge serves it. Raises DocumentError."""
    if not is_host(field.string()):
        raise field.error("must be a DNS name in lower case whose last part is not a number")
    return field.string()


def dns_label(field: Field) -> str:
    """A DNS label. Raises DocumentError."""
    if not is_dns_label(field.string()):
        raise field.error("must be a DNS label: lower-case letters, digits and '-', at most 63")
    return field.string()
