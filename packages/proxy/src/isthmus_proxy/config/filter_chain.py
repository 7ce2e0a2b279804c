"""Compiles config.listener.v3.FilterChain and its match."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.ip_ranges import compile_ranges
from isthmus_proxy.config.network_filter import compile_network_filters
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.transport_socket import compile_downstream_transport
from isthmus_proxy.config.values import content_hash, enum_name, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.filter_chain_match import Candidate, FilterChainIndex, OverlapError
from isthmus_proxy.listener.model import FilterChain, FilterChainMatch

_MAX_COMBINATIONS = 100_000
"""Combinations of the alternatives in one match: more would take memory and time for nobody's use."""


def compile_filter_chains(proto: Any, path: str) -> tuple[tuple[FilterChain, ...], FilterChain | None]:
    """The chains and the default chain of a checked listener. Raises ConfigError, also for matches that leave a choice."""
    place = join(path, "filter_chains")
    chains = tuple(compile_filter_chain(chain, f"{place}[{i}]") for i, chain in enumerate(proto.filter_chains))
    default = None
    if proto.HasField("default_filter_chain"):
        default = compile_filter_chain(proto.default_filter_chain, join(path, "default_filter_chain"))
    if not chains and default is None:
        raise ConfigError(place, "", "needs at least one filter chain, or a default_filter_chain")
    _refuse_equal(chains, place)
    try:
        FilterChainIndex([Candidate(chain.match, chain) for chain in chains])
    except OverlapError as error:
        raise ConfigError(place, "", f"{error}; make each connection fit one chain best") from error
    return chains, default


def _refuse_equal(chains: tuple[FilterChain, ...], path: str) -> None:
    seen: dict[FilterChainMatch, int] = {}
    for index, chain in enumerate(chains):
        other = seen.setdefault(chain.match, index)
        if other != index:
            reason = f"has the same matching rules as {path}[{other}]; remove one of the two"
            raise ConfigError(f"{path}[{index}].filter_chain_match", shown(chain.name), reason)


def compile_filter_chain(proto: Any, path: str) -> FilterChain:
    """One checked filter chain. Raises ConfigError."""
    tls = compile_downstream_transport(proto, path)
    network_filter, gates = compile_network_filters(proto.filters, join(path, "filters"), secure=tls is not None)
    match = _match(proto.filter_chain_match, join(path, "filter_chain_match"))
    timeout = seconds(proto, "transport_socket_connect_timeout", 0.0, path)
    return FilterChain(proto.name, network_filter, match, gates, content_hash(proto), tls, timeout)


def _match(proto: Any, path: str) -> FilterChainMatch:
    match = FilterChainMatch(
        destination_port=_destination_port(proto, path),
        prefix_ranges=compile_ranges(proto.prefix_ranges, join(path, "prefix_ranges")),
        server_names=_server_names(proto.server_names, join(path, "server_names")),
        transport_protocol=proto.transport_protocol,
        application_protocols=tuple(proto.application_protocols),
        direct_source_prefix_ranges=compile_ranges(
            proto.direct_source_prefix_ranges, join(path, "direct_source_prefix_ranges")
        ),
        source_type=enum_name(proto, "source_type"),
        source_prefix_ranges=compile_ranges(proto.source_prefix_ranges, join(path, "source_prefix_ranges")),
        source_ports=tuple(
            _source_port(port, f"{path}.source_ports[{i}]") for i, port in enumerate(proto.source_ports)
        ),
    )
    combinations = 1
    for alternatives in (
        match.prefix_ranges,
        match.server_names,
        match.application_protocols,
        match.direct_source_prefix_ranges,
        match.source_prefix_ranges,
        match.source_ports,
    ):
        combinations *= max(1, len(alternatives))
    if combinations > _MAX_COMBINATIONS:
        reason = f"its alternatives make more than {_MAX_COMBINATIONS} combinations; use several chains"
        raise ConfigError(path, str(combinations), reason)
    return match


def _destination_port(proto: Any, path: str) -> int:
    if not proto.HasField("destination_port"):
        return 0
    port = int(proto.destination_port.value)
    if not 1 <= port <= 65535:
        raise ConfigError(join(path, "destination_port"), str(port), "must be from 1 to 65535")
    return port


def _source_port(port: int, path: str) -> int:
    if not 1 <= port <= 65535:
        raise ConfigError(path, str(port), "must be from 1 to 65535")
    return port


def _server_names(names: Any, path: str) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if not name or "*" in name.removeprefix("*."):
            reason = "must be a name, which may begin with *. (partial wildcards are not supported)"
            raise ConfigError(f"{path}[{index}]", shown(name), reason)
    return tuple(name.lower() for name in names)
