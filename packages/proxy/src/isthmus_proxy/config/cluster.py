"""Compiles config.cluster.v3.Cluster, from a file or from xDS."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.addresses import HappyEyeballsConfig, TcpKeepalive
from isthmus_proxy.cluster.lb_policy import ROUND_ROBIN
from isthmus_proxy.cluster.model import IN_TURN, Assignment, ClusterConfig
from isthmus_proxy.config.check import check
from isthmus_proxy.config.circuit_breakers import compile_circuit_breakers
from isthmus_proxy.config.endpoint import compile_assignment
from isthmus_proxy.config.health_check import compile_health_check
from isthmus_proxy.config.load_balancing import compile_load_balancing
from isthmus_proxy.config.original_dst import compile_original_dst
from isthmus_proxy.config.outlier_detection import compile_outlier_detection
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.source import compile_source
from isthmus_proxy.config.transport_socket import compile_upstream_transport
from isthmus_proxy.config.upstream_http import UpstreamHttp, compile_upstream_http
from isthmus_proxy.config.values import (
    content_hash,
    enum_name,
    number,
    positive_seconds,
    required,
    seconds,
)
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.source import ApiSource

__all__ = ["compile_assignment", "compile_cluster"]

_TCP_KEEPALIVE = {"keepalive_probes": 127, "keepalive_time": 32767, "keepalive_interval": 32767}
_DNS_TYPES = ("STRICT_DNS", "LOGICAL_DNS")


def compile_cluster(proto: Any, path: str = "") -> ClusterConfig:
    """Check and compile a cluster. Raises ConfigError below ``path``."""
    check(proto, path)
    http = compile_upstream_http(proto, path)
    if proto.HasField("cluster_type"):
        raise ConfigError(join(path, "cluster_type"), shown(proto.cluster_type.name), "is not supported; use type")
    return _build(proto, path, http)


def _build(proto: Any, path: str, http: UpstreamHttp) -> ClusterConfig:
    name, discovery = required(proto, "name", path), enum_name(proto, "type")
    common = proto.common_lb_config
    failure = _failure_refresh(proto, path)
    breakers = compile_circuit_breakers(proto.circuit_breakers, join(path, "circuit_breakers"))
    transport, transport_matches = compile_upstream_transport(proto, path)
    return ClusterConfig(
        name=name,
        discovery=discovery,  # type: ignore[arg-type]
        content=content_hash(proto),
        alt_stat_name=proto.alt_stat_name,
        lb_policy=ROUND_ROBIN
        if discovery == "ORIGINAL_DST"
        else compile_load_balancing(proto, path, names=discovery in _DNS_TYPES),
        original_dst=compile_original_dst(proto, path) if discovery == "ORIGINAL_DST" else None,
        connect_timeout=positive_seconds(proto, "connect_timeout", 5.0, path),
        eds_service_name=proto.eds_cluster_config.service_name,
        eds_initial_fetch_timeout=_eds_timeout(proto, path, discovery),
        eds_source=_eds_source(proto, path, discovery),
        assignment=_assignment(proto, path, discovery),
        dns_refresh_rate=positive_seconds(proto, "dns_refresh_rate", 5.0, path),
        dns_failure_refresh_rate=failure,
        dns_lookup_family=enum_name(proto, "dns_lookup_family"),  # type: ignore[arg-type]
        thresholds=breakers.default,
        high_thresholds=breakers.high,
        outlier_detection=compile_outlier_detection(proto.outlier_detection, join(path, "outlier_detection"))
        if proto.HasField("outlier_detection")
        else None,
        health_check=compile_health_check(proto.health_checks, join(path, "health_checks"), http2=http.http2),
        ignore_health_on_host_removal=proto.ignore_health_on_host_removal,
        close_connections_on_host_health_failure=proto.close_connections_on_host_health_failure,
        close_connections_on_host_set_change=common.close_connections_on_host_set_change,
        ignore_new_hosts_until_first_hc=common.ignore_new_hosts_until_first_hc,
        per_host_max_connections=breakers.per_host_max_connections,
        max_requests_per_connection=http.max_requests_per_connection,
        upstream_idle_timeout=http.idle_timeout,
        per_connection_buffer_limit_bytes=number(proto, "per_connection_buffer_limit_bytes", 1024 * 1024, path, low=1),
        healthy_panic_threshold=_panic_threshold(common, join(path, "common_lb_config")),
        http2=http.http2,
        http2_options=http.http2_options,
        auto_sni=http.auto_sni,
        auto_san_validation=http.auto_san_validation,
        happy_eyeballs=_happy_eyeballs(proto.upstream_connection_options, join(path, "upstream_connection_options")),
        tcp_keepalive=_tcp_keepalive(proto.upstream_connection_options, join(path, "upstream_connection_options")),
        transport=transport,
        transport_matches=transport_matches,
        enable_trailers=http.enable_trailers,
        header_key_format=http.header_key_format,
    )


def _happy_eyeballs(options: Any, path: str) -> HappyEyeballsConfig:
    if not options.HasField("happy_eyeballs_config"):
        return IN_TURN
    config, place = options.happy_eyeballs_config, join(path, "happy_eyeballs_config")
    family = enum_name(config, "first_address_family_version")
    count = number(config, "first_address_family_count", 1, place, low=1)
    return HappyEyeballsConfig(family, count)  # type: ignore[arg-type]


def _tcp_keepalive(options: Any, path: str) -> TcpKeepalive | None:
    """Probes of the kernel on idle connections, at the system's pace where the configuration does not say."""
    if not options.HasField("tcp_keepalive"):
        return None
    config, place = options.tcp_keepalive, join(path, "tcp_keepalive")
    values = []
    for name, most in _TCP_KEEPALIVE.items():
        value = number(config, name, 0, place, low=1)
        if value > most:
            raise ConfigError(join(place, name), str(value), f"the kernel takes at most {most}")
        values.append(value)
    return TcpKeepalive(*values)


def _panic_threshold(common: Any, path: str) -> float:
    """In whole per cent, as Envoy rounds it."""
    if not common.HasField("healthy_panic_threshold"):
        return 50.0
    value = common.healthy_panic_threshold.value
    if not 0.0 <= value <= 100.0:
        raise ConfigError(join(path, "healthy_panic_threshold.value"), str(value), "must be from 0 to 100")
    return float(round(value))


def _failure_refresh(proto: Any, path: str) -> tuple[float, float]:
    if not proto.HasField("dns_failure_refresh_rate"):
        rate = positive_seconds(proto, "dns_refresh_rate", 5.0, path)
        return rate, rate
    path = join(path, "dns_failure_refresh_rate")
    base = positive_seconds(proto.dns_failure_refresh_rate, "base_interval", 5.0, path)
    return base, max(base, positive_seconds(proto.dns_failure_refresh_rate, "max_interval", base * 10, path))


def _eds_timeout(proto: Any, path: str, discovery: str) -> float:
    if discovery != "EDS":
        return 15.0
    path = join(path, "eds_cluster_config.eds_config")
    return seconds(proto.eds_cluster_config.eds_config, "initial_fetch_timeout", 15.0, path)


def _eds_source(proto: Any, path: str, discovery: str) -> ApiSource | None:
    if discovery != "EDS":
        return None
    return compile_source(proto.eds_cluster_config.eds_config, join(path, "eds_cluster_config.eds_config"))


def _assignment(proto: Any, path: str, discovery: str) -> Assignment | None:
    place = join(path, "load_assignment")
    if discovery == "EDS":
        if proto.HasField("load_assignment"):
            raise ConfigError(place, "", "endpoints of an EDS cluster come over xDS; remove it or use another type")
        return None
    if not proto.HasField("load_assignment"):
        return Assignment(proto.name)
    assignment = compile_assignment(proto.load_assignment, place, names=discovery in _DNS_TYPES)
    addresses = [(e.host, e.port) for locality in assignment.localities for e in locality.endpoints]
    for host, port in addresses:
        if addresses.count((host, port)) > 1:
            raise ConfigError(place, f"{host}:{port}", "occurs twice; give it a load_balancing_weight instead")
    if discovery == "LOGICAL_DNS" and len(addresses) != 1:
        raise ConfigError(place, f"{len(addresses)} endpoints", "LOGICAL_DNS needs exactly one")
    return assignment
