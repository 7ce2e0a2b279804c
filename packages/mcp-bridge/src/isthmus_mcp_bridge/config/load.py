"""Reads the configuration file. Every error names file, path in it, value and what is expected."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from isthmus_mcp_bridge.catalog.istio_rules import MAX_PORT, is_dns_label, is_host
from isthmus_mcp_bridge.config.model import (
    Address,
    BridgeConfig,
    DebounceConfig,
    FileConfig,
    McpConfig,
    RegistryConfig,
    ZooKeeperConfig,
)
from isthmus_mcp_bridge.config.policies import (
    LIMIT_FIELDS,
    MAX_SINKS,
    merge_rules,
    sink_filter,
    source_limits,
    vip_range,
    warm_start,
)
from isthmus_mcp_bridge.config.values import integer, number
from isthmus_mcp_bridge.document import Field, parse_document
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.registries.zookeeper.naming import HostOverride, NamingRule
from isthmus_mcp_bridge.registries.zookeeper.providers import FAMILIES

MAX_REGISTRIES = 32
MAX_FILE_BYTES = 1024 * 1024
_KINDS = ("file", "zookeeper")
_ZOOKEEPER_FIELDS = (
    "servers", "root", "version", "domain", "hosts", "ports", "session_timeout_s", "resync_interval_s",
)  # fmt: skip


def load_config(path: Path) -> BridgeConfig:
    """Read the file. Raises DocumentError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DocumentError(str(path), "", None, f"cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(str(path), "", None, f"is bigger than {MAX_FILE_BYTES} bytes")
    return parse_config(data, str(path), path.absolute().parent)


def parse_config(data: bytes, file: str, base: Path) -> BridgeConfig:
    """Parse the configuration; relative paths in it are relative to ``base``. Raises DocumentError."""
    document = parse_document(data, file)
    fields = document.mapping("mcp", "admin", "debounce", "merge", "vips", "warm_start", "registries")
    if "registries" not in fields:
        raise document.error("must have the field registries, a list with at least one registry")
    registries: list[RegistryConfig] = []
    for item in fields["registries"].items(MAX_REGISTRIES):
        registry = _registry(item, base)
        if any(registry.name == other.name for other in registries):
            raise item.mapping()["name"].error("stands twice; registries need different names")
        registries.append(registry)
    if not registries:
        raise fields["registries"].error("must hold at least one registry")
    defaults = BridgeConfig(tuple(registries))
    return BridgeConfig(
        registries=defaults.registries,
        mcp=_mcp(fields["mcp"]) if "mcp" in fields else defaults.mcp,
        admin=_admin(fields["admin"]) if "admin" in fields else defaults.admin,
        debounce=_debounce(fields["debounce"]) if "debounce" in fields else defaults.debounce,
        rules=merge_rules(fields["merge"]) if "merge" in fields else defaults.rules,
        vips=vip_range(fields["vips"]) if "vips" in fields else None,
        warm_start=warm_start(fields["warm_start"], base) if "warm_start" in fields else None,
    )


def _mcp(field: Field) -> McpConfig:
    fields = field.mapping("address", "max_streams", "max_response_bytes", "sinks")
    default = McpConfig()
    return McpConfig(
        address=_address(fields["address"]) if "address" in fields else default.address,
        max_streams=integer(fields, "max_streams", 1, 100_000, default.max_streams),
        max_response_bytes=integer(fields, "max_response_bytes", 1024, 2**31 - 1, default.max_response_bytes),
        sinks=tuple(map(sink_filter, fields["sinks"].items(MAX_SINKS))) if "sinks" in fields else (),
    )


def _admin(field: Field) -> Address:
    fields = field.mapping("address")
    if "address" not in fields:
        raise field.error("must have the field address")
    return _address(fields["address"])


def _debounce(field: Field) -> DebounceConfig:
    fields = field.mapping("quiet_ms", "longest_ms")
    default = DebounceConfig()
    return DebounceConfig(
        quiet_ms=integer(fields, "quiet_ms", 0, 60_000, default.quiet_ms),
        longest_ms=integer(fields, "longest_ms", 0, 60_000, default.longest_ms),
    )


def _address(field: Field) -> Address:
    host, colon, digits = field.string().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not digits.isascii() or not digits.isdigit() or int(digits[:6]) > MAX_PORT:
        raise field.error("must be HOST:PORT with a port from 0 (any free one) to 65535")
    try:
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise field.error("the host must be an IP address or localhost") from None
    return Address(host, int(digits))


def _registry(item: Field, base: Path) -> RegistryConfig:
    fields = item.mapping("name", "namespace", "sync_deadline_s", *LIMIT_FIELDS, *_KINDS)
    if "name" not in fields:
        raise item.error("must have the field name")
    name = _dns_label(fields["name"])
    kinds = [kind for kind in _KINDS if kind in fields]
    if len(kinds) != 1:
        raise item.error(f"must have exactly one of the fields {', '.join(_KINDS)}")
    namespace = _dns_label(fields["namespace"]) if "namespace" in fields else "default"
    field = fields[kinds[0]]
    deadline = number(fields, "sync_deadline_s", 0, 3600, 30.0)
    kind = _file(field, namespace, base) if kinds[0] == "file" else _zookeeper(field, namespace)
    return RegistryConfig(name, kind, deadline, source_limits(fields))


def _file(field: Field, namespace: str, base: Path) -> FileConfig:
    fields = field.mapping("path")
    if "path" not in fields:
        raise field.error("must have the field path, a directory")
    return FileConfig(base / fields["path"].string(), namespace)


def _zookeeper(field: Field, namespace: str) -> ZooKeeperConfig:
    fields = field.mapping(*_ZOOKEEPER_FIELDS)
    if "servers" not in fields:
        raise field.error("must have the field servers, as host:port,host:port")
    return ZooKeeperConfig(
        servers=_servers(fields["servers"]),
        naming=NamingRule(
            namespace=namespace,
            version_in_host=fields["version"].one_of("host", "label") == "host" if "version" in fields else True,
            domain=_host(fields["domain"]) if "domain" in fields else "",
            hosts=_hosts(fields["hosts"]) if "hosts" in fields else {},
        ),
        root=_root(fields["root"]) if "root" in fields else "/dubbo",
        ports=_ports(fields["ports"]) if "ports" in fields else {},
        session_timeout_s=number(fields, "session_timeout_s", 1, 600, 10.0),
        resync_interval_s=number(fields, "resync_interval_s", 1, 86_400, 300.0),
    )


def _servers(field: Field) -> str:
    for server in field.string().split(","):
        host, _, digits = server.rpartition(":")
        if not host or not digits.isascii() or not digits.isdigit() or not 0 < int(digits[:6]) <= MAX_PORT:
            raise field.error("must be host:port,host:port (a path belongs into root)")
    return field.string()


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
            found[service] = HostOverride(_host(value))
            continue
        fields = value.mapping("host", "namespace", "ports")
        if "host" not in fields:
            raise value.error("must be a host, or a mapping with the field host")
        found[service] = HostOverride(
            host=_host(fields["host"]),
            namespace=_dns_label(fields["namespace"]) if "namespace" in fields else "",
            ports=_ports(fields["ports"]) if "ports" in fields else {},
        )
    return found


def _ports(field: Field) -> dict[str, int]:
    return {family: number.integer(1, MAX_PORT) for family, number in field.mapping(*FAMILIES).items()}


def _host(field: Field) -> str:
    if not is_host(field.string()):
        raise field.error("must be a DNS name in lower case whose last part is not a number")
    return field.string()


def _dns_label(field: Field) -> str:
    if not is_dns_label(field.string()):
        raise field.error("must be a DNS label: lower-case letters, digits and '-', at most 63")
    return field.string()
