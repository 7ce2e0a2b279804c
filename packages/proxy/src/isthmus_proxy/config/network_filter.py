"""Compiles the network filters of a filter chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus_proxy.config.extensions import name_of, unpack, unpack_as
from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.tcp_proxy import compile_tcp_proxy
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    ConnectionLimitConfig,
    ConnectionRbacConfig,
    DirectResponseConfig,
    GateConfig,
    TcpProxyConfig,
    TerminalFilterConfig,
)

_NETWORK = "envoy.extensions.filters.network"
HCM = f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager"
TCP_PROXY = f"{_NETWORK}.tcp_proxy.v3.TcpProxy"
DIRECT_RESPONSE = f"{_NETWORK}.direct_response.v3.Config"
CONNECTION_LIMIT = f"{_NETWORK}.connection_limit.v3.ConnectionLimit"
RBAC = f"{_NETWORK}.rbac.v3.RBAC"
SNI_CLUSTER = f"{_NETWORK}.sni_cluster.v3.SniCluster"
OWN = "xds.type.v3.TypedStruct"

_TERMINAL = frozenset({HCM, TCP_PROXY, DIRECT_RESPONSE, OWN})


def compile_network_filters(
    filters: Any, path: str, *, secure: bool
) -> tuple[TerminalFilterConfig, tuple[GateConfig, ...]]:
    """The terminal filter, which comes last, and what connections pass before; ``secure``: over TLS that ends here.

    Raises ConfigError.
    """
    if not filters:
        raise ConfigError(path, "", "needs at least one network filter, such as http_connection_manager or tcp_proxy")
    gates: list[GateConfig] = []
    from_sni = False
    for index, each in enumerate(filters):
        place = f"{path}[{index}].typed_config"
        name = name_of(each.typed_config.type_url)
        last = index == len(filters) - 1
        if (name in _TERMINAL) != last:
            reason = "must be a terminal filter" if last else "a terminal filter must be the last of its chain"
            raise ConfigError(
                place,
                name or "(no type URL)",
                f"{reason} (http_connection_manager, tcp_proxy, direct_response, or the proxy's own rpc_proxy)",
            )
        if name == CONNECTION_LIMIT:
            gates.append(_connection_limit(unpack(each.typed_config, place), place))
        elif name == RBAC:
            gates.append(_rbac(unpack(each.typed_config, place), place, secure=secure))
        elif name == SNI_CLUSTER:
            from_sni = True
        elif not last:
            unpack_as(each.typed_config, place, CONNECTION_LIMIT, RBAC, SNI_CLUSTER)
    terminal = _terminal(filters[-1], f"{path}[{len(filters) - 1}].typed_config")
    if from_sni and isinstance(terminal, TcpProxyConfig):
        terminal = replace(terminal, cluster_from_sni=True)
    return terminal, tuple(gates)


def _terminal(proto: Any, path: str) -> TerminalFilterConfig:
    config: Any = unpack(proto.typed_config, path)
    name = config.DESCRIPTOR.full_name
    if name == HCM:
        return compile_http_connection_manager(config, path)
    if name == TCP_PROXY:
        return compile_tcp_proxy(config, path)
    if name == OWN:
        from isthmus_proxy.config.rpc_proxy import compile_rpc_proxy  # noqa: PLC0415 - where a protocol of remote calls is served

        return compile_rpc_proxy(config, path)
    return DirectResponseConfig(_bytes(config.response, join(path, "response")))


def _bytes(source: Any, path: str) -> bytes:
    chosen = source.WhichOneof("specifier")
    if chosen == "inline_string":
        return str(source.inline_string).encode()
    if chosen == "inline_bytes":
        return bytes(source.inline_bytes)
    if chosen is None:
        return b""
    raise ConfigError(join(path, chosen), "", "only inline_string and inline_bytes are supported")


def _connection_limit(config: Any, path: str) -> ConnectionLimitConfig:
    most = int(config.max_connections.value)
    if most < 1:
        raise ConfigError(join(path, "max_connections"), str(most), "must be at least 1")
    return ConnectionLimitConfig(
        stat_prefix=required(config, "stat_prefix", path),
        max_connections=most,
        delay=seconds(config, "delay", 0.0, path),
    )


def _rbac(config: Any, path: str, *, secure: bool) -> ConnectionRbacConfig:
    from isthmus_proxy.config.connection_rbac import compile_connection_rbac  # noqa: PLC0415 - few configurations have it

    return compile_connection_rbac(config, path, secure=secure)
