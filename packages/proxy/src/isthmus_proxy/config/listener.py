"""Compiles config.listener.v3.Listener, from a file or from xDS."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.check import check
from isthmus_proxy.config.filter_chain import compile_filter_chains
from isthmus_proxy.config.listener_filter import compile_listener_filters
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import content_hash, enum_name, flag, number, required, seconds, socket_address
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    Address,
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    PipeAddress,
    RpcProxyConfig,
    SocketAddress,
    SocketOptions,
)

_MAX_PIPE_PATH = 107  # sockaddr_un.sun_path without its end


def compile_listener(proto: Any, path: str = "") -> ListenerConfig:
    """Check and compile a listener. Raises ConfigError below ``path``."""
    check(proto, path)
    address = _address(proto.address, join(path, "address"))
    chains, default = compile_filter_chains(proto, path)
    if enum_name(proto, "traffic_direction") == "OUTBOUND":
        chains, default = tuple(map(_outgoing, chains)), _outgoing(default) if default is not None else None
    every = chains if default is None else (*chains, default)
    bind_to_port = flag(proto, "bind_to_port", default=True)
    if proto.HasField("deprecated_v1"):
        bind_to_port = flag(proto.deprecated_v1, "bind_to_port", default=True)
    return ListenerConfig(
        name=proto.name or str(address),
        address=address,
        filter_chains=chains,
        content=content_hash(proto),
        per_connection_buffer_limit_bytes=number(proto, "per_connection_buffer_limit_bytes", 1024 * 1024, path, low=1),
        tcp_backlog_size=number(proto, "tcp_backlog_size", 1024, path, low=1),
        reuse_port=flag(proto, "enable_reuse_port", default=True),
        additional_addresses=_additional_addresses(proto, path),
        default_filter_chain=default,
        listener_filters=compile_listener_filters(proto, every, path),
        listener_filters_timeout=seconds(proto, "listener_filters_timeout", 15.0, path),
        continue_on_listener_filters_timeout=proto.continue_on_listener_filters_timeout,
        use_original_dst=flag(proto, "use_original_dst", default=False),
        bind_to_port=bind_to_port,
        stat_prefix=proto.stat_prefix,
        ignore_global_conn_limit=proto.ignore_global_conn_limit,
        socket_options=_socket_options(proto, path),
        access_logs=compile_access_logs(proto.access_log, join(path, "access_log")),
        inbound=enum_name(proto, "traffic_direction") == "INBOUND",
    )


def _outgoing(chain: FilterChain) -> FilterChain:
    """The chain of a listener for what goes out, whose spans are named after where it goes."""
    manager = chain.network_filter
    if not isinstance(manager, HttpConnectionManagerConfig | RpcProxyConfig) or manager.tracing is None:
        return chain
    return replace(chain, network_filter=replace(manager, tracing=replace(manager.tracing, egress=True)))


def _address(proto: Any, path: str) -> Address:
    if proto.WhichOneof("address") != "pipe":
        return SocketAddress(*socket_address(proto, path))
    place = join(path, "pipe")
    name = required(proto.pipe, "path", place)
    if len(name.encode()) > _MAX_PIPE_PATH:
        raise ConfigError(join(place, "path"), shown(name), f"must be at most {_MAX_PIPE_PATH} bytes long")
    if proto.pipe.mode > 0o777:
        raise ConfigError(join(place, "mode"), str(proto.pipe.mode), "must be at most 511 (octal 777)")
    if name.startswith("@") and proto.pipe.mode:
        raise ConfigError(join(place, "mode"), str(proto.pipe.mode), "an abstract socket has no permissions")
    return PipeAddress(name, proto.pipe.mode)


def _additional_addresses(proto: Any, path: str) -> tuple[Address, ...]:
    place = join(path, "additional_addresses")
    found: list[Address] = []
    for index, each in enumerate(proto.additional_addresses):
        found.append(_address(each.address, f"{place}[{index}].address"))
        if found[-1] in found[:-1]:
            raise ConfigError(f"{place}[{index}].address", str(found[-1]), "this address is used twice")
    return tuple(found)


def _socket_options(proto: Any, path: str) -> SocketOptions:
    return SocketOptions(
        transparent=flag(proto, "transparent", default=False),
        freebind=flag(proto, "freebind", default=False),
        tcp_fast_open_queue_length=number(proto, "tcp_fast_open_queue_length", 0, path),
        options=tuple(
            _option(each, f"{join(path, 'socket_options')}[{index}]") for index, each in enumerate(proto.socket_options)
        ),
    )


def _option(option: Any, path: str) -> tuple[int, int, int | bytes]:
    if enum_name(option, "state") != "STATE_PREBIND":
        raise ConfigError(join(path, "state"), enum_name(option, "state"), "only STATE_PREBIND is supported")
    value: int | bytes = option.int_value
    if option.WhichOneof("value") == "buf_value":
        value = bytes(option.buf_value)
    elif not -(2**31) <= option.int_value < 2**31:
        raise ConfigError(join(path, "int_value"), str(option.int_value), "must fit into 32 bits")
    if (option.level, option.name) in _OWN_OPTIONS:
        reason = "is set by the proxy itself; use enable_reuse_port, transparent or freebind"
        raise ConfigError(path, f"level {option.level}, name {option.name}", reason)
    return option.level, option.name, value


_OWN_OPTIONS = frozenset({(socket.SOL_SOCKET, socket.SO_REUSEPORT), (socket.SOL_SOCKET, socket.SO_REUSEADDR)})
