"""Reads the configuration file. Every error names file, path in it, value and what is expected."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from isthmus_mcp_bridge.catalog.istio_rules import MAX_PORT
from isthmus_mcp_bridge.config.kinds import KINDS, dns_label, read_kind
from isthmus_mcp_bridge.config.model import (
    Address,
    BridgeConfig,
    DebounceConfig,
    McpConfig,
    RegistrationConfig,
    RegistryConfig,
)
from isthmus_mcp_bridge.config.policies import (
    LIMIT_FIELDS,
    MAX_SINKS,
    dual_mode,
    merge_rules,
    sink_filter,
    source_limits,
    target,
    tls_files,
    vip_range,
    warm_start,
)
from isthmus_mcp_bridge.config.values import integer, number
from isthmus_mcp_bridge.config.write import read_backsync, read_registration
from isthmus_mcp_bridge.document import Field, parse_document
from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.registration.model import NAME

MAX_REGISTRIES = 32
MAX_FILE_BYTES = 1024 * 1024


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
    fields = document.mapping(
        "mcp", "admin", "debounce", "merge", "vips", "warm_start", "dual_mode", "registration", "backsync", "registries"
    )
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
        mcp=_mcp(fields["mcp"], base) if "mcp" in fields else defaults.mcp,
        admin=_admin(fields["admin"]) if "admin" in fields else defaults.admin,
        debounce=_debounce(fields["debounce"]) if "debounce" in fields else defaults.debounce,
        rules=merge_rules(fields["merge"]) if "merge" in fields else defaults.rules,
        vips=vip_range(fields["vips"]) if "vips" in fields else None,
        warm_start=warm_start(fields["warm_start"], base) if "warm_start" in fields else None,
        dual_mode=dual_mode(fields["dual_mode"], base, defaults.registries) if "dual_mode" in fields else None,
        registration=_registration(fields, registries),
        backsync=read_backsync(fields["backsync"], registries) if "backsync" in fields else None,
    )


def _registration(fields: Mapping[str, Field], registries: Sequence[RegistryConfig]) -> RegistrationConfig | None:
    if "registration" not in fields:
        return None
    if any(one.name == NAME for one in registries):
        raise fields["registration"].error(
            f"no registry may have the name {NAME} beside it; give that one another name"
        )
    return read_registration(fields["registration"])


def _mcp(field: Field, base: Path) -> McpConfig:
    fields = field.mapping("address", "max_streams", "max_response_bytes", "sinks", "tls", "dial")
    default = McpConfig()
    return McpConfig(
        address=_address(fields["address"]) if "address" in fields else default.address,
        max_streams=integer(fields, "max_streams", 1, 100_000, default.max_streams),
        max_response_bytes=integer(fields, "max_response_bytes", 1024, 2**31 - 1, default.max_response_bytes),
        sinks=tuple(map(sink_filter, fields["sinks"].items(MAX_SINKS))) if "sinks" in fields else (),
        tls=tls_files(fields["tls"], base) if "tls" in fields else None,
        dial=tuple(map(target, fields["dial"].items(MAX_SINKS))) if "dial" in fields else (),
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
    fields = item.mapping("name", "namespace", "sync_deadline_s", *LIMIT_FIELDS, *KINDS)
    if "name" not in fields:
        raise item.error("must have the field name")
    name = dns_label(fields["name"])
    kinds = [kind for kind in KINDS if kind in fields]
    if len(kinds) != 1:
        raise item.error(f"must have exactly one of the fields {', '.join(KINDS)}")
    namespace = dns_label(fields["namespace"]) if "namespace" in fields else "default"
    deadline = number(fields, "sync_deadline_s", 0, 3600, 30.0)
    kind = read_kind(kinds[0], fields[kinds[0]], namespace, base)
    return RegistryConfig(name, kind, deadline, source_limits(fields))
