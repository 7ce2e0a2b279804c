"""Compiles the listener filters of a listener, those that Envoy adds by itself included."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import number
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    FilterChain,
    HttpInspectorConfig,
    ListenerFilterConfig,
    OriginalDstConfig,
    PortRange,
    Predicate,
    ProxyProtocolConfig,
    TlsInspectorConfig,
)

_LISTENER = "envoy.extensions.filters.listener"
TLS_INSPECTOR = f"{_LISTENER}.tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR = f"{_LISTENER}.http_inspector.v3.HttpInspector"
ORIGINAL_DST = f"{_LISTENER}.original_dst.v3.OriginalDst"
PROXY_PROTOCOL = f"{_LISTENER}.proxy_protocol.v3.ProxyProtocol"
OWN = "xds.type.v3.TypedStruct"
_MAX_DEPTH = 16


def compile_listener_filters(
    proto: Any, chains: tuple[FilterChain, ...], path: str
) -> tuple[ListenerFilterConfig, ...]:
    """The listener filters of a checked listener, in order. Raises ConfigError."""
    place = join(path, "listener_filters")
    filters = [_filter(each, f"{place}[{index}]") for index, each in enumerate(proto.listener_filters)]
    kinds = {type(each.kind) for each in filters}
    if proto.use_original_dst.value and OriginalDstConfig not in kinds:
        filters.append(ListenerFilterConfig(OriginalDstConfig()))
    if TlsInspectorConfig not in kinds and any(_needs_tls(chain) for chain in chains):
        filters.append(ListenerFilterConfig(TlsInspectorConfig()))
    return tuple(filters)


def _needs_tls(chain: FilterChain) -> bool:
    match = chain.match
    if match.transport_protocol:
        return match.transport_protocol == "tls"
    return bool(match.server_names or match.application_protocols)


def _filter(proto: Any, path: str) -> ListenerFilterConfig:
    place = join(path, "typed_config")
    config: Any = unpack_as(proto.typed_config, place, TLS_INSPECTOR, HTTP_INSPECTOR, ORIGINAL_DST, PROXY_PROTOCOL, OWN)
    disabled = None
    if proto.HasField("filter_disabled"):
        disabled = _predicate(proto.filter_disabled, join(path, "filter_disabled"), 0)
    name = config.DESCRIPTOR.full_name
    if name == TLS_INSPECTOR:
        return ListenerFilterConfig(_tls_inspector(config, place), disabled)
    if name == HTTP_INSPECTOR:
        return ListenerFilterConfig(HttpInspectorConfig(), disabled)
    if name == OWN:
        from isthmus_proxy.config.rpc_proxy import compile_rpc_inspector  # noqa: PLC0415 - where it is configured

        return ListenerFilterConfig(compile_rpc_inspector(config, place), disabled)
    if name == ORIGINAL_DST:
        return ListenerFilterConfig(OriginalDstConfig(), disabled)
    versions = frozenset(int(version) + 1 for version in config.disallowed_versions)
    if {1, 2} <= versions and not config.allow_requests_without_proxy_protocol:
        raise ConfigError(join(place, "disallowed_versions"), "V1, V2", "no connection could pass; leave one out")
    return ListenerFilterConfig(
        ProxyProtocolConfig(
            allow_requests_without_proxy_protocol=config.allow_requests_without_proxy_protocol,
            disallowed_versions=versions,
            stat_prefix=config.stat_prefix,
        ),
        disabled,
    )


def _tls_inspector(config: Any, path: str) -> TlsInspectorConfig:
    size = number(config, "max_client_hello_size", 16384, path, low=1)
    if size > 16384:
        raise ConfigError(join(path, "max_client_hello_size"), str(size), "must be at most 16384")
    return TlsInspectorConfig(size)


def _predicate(proto: Any, path: str, depth: int) -> Predicate:
    if depth > _MAX_DEPTH:
        raise ConfigError(path, "", f"is nested more than {_MAX_DEPTH} deep")
    kind = proto.WhichOneof("rule")
    if kind == "any_match":
        if not proto.any_match:
            raise ConfigError(join(path, kind), "false", "must be true")
        return Predicate("any")
    if kind == "destination_port_range":
        ports = proto.destination_port_range
        return Predicate("port", PortRange(ports.start, ports.end))
    if kind == "not_match":
        return Predicate("not", rules=(_predicate(proto.not_match, join(path, kind), depth + 1),))
    if kind in ("or_match", "and_match"):
        place = join(path, f"{kind}.rules")
        rules = getattr(proto, kind).rules
        if len(rules) < 2:
            raise ConfigError(place, f"{len(rules)} rules", "needs at least two")
        return Predicate(
            kind.removesuffix("_match"),
            rules=tuple(_predicate(rule, f"{place}[{index}]", depth + 1) for index, rule in enumerate(rules)),
        )
    raise ConfigError(path, "", "needs one of or_match, and_match, not_match, any_match and destination_port_range")
