"""Limits and ages of the connections to a cluster."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as UpstreamOptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import ConnectionPoolSettings
from isthmus_controlplane.model.service import Port
from isthmus_controlplane.translate.message import packed

CONNECT_TIMEOUT_S = 10  # Istio's default (MeshConfig.connect_timeout)
NO_LIMIT = 2**32 - 1  # Istio's default circuit breakers are out of the way
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UNSET = ConnectionPoolSettings()


def set_connection_pool(cluster: Any, settings: Any, port: Port, names: Any = None) -> None:
    """Set on a cluster what ``ConnectionPoolSettings`` say, or Istio's defaults where they say nothing (or are None).

    The idle time of TCP connections is not the cluster's but its listener's, see `tcp_listener`. ``names``: the
    ``UpstreamHttpProtocolOptions`` of TLS, if any.
    """
    pool = settings if settings is not None else _UNSET
    given = pool.tcp.HasField("connect_timeout")
    cluster.connect_timeout.CopyFrom(pool.tcp.connect_timeout if given else Duration(seconds=CONNECT_TIMEOUT_S))
    cluster.circuit_breakers.CopyFrom(circuit_breakers(pool))
    if port.is_http:
        options = _http_options(pool, port, names)
        if options is not None:
            cluster.typed_extension_protocol_options[_OPTIONS].CopyFrom(packed(options))


def circuit_breakers(pool: Any = _UNSET) -> Any:
    """The thresholds; 0 is unset, as in Istio."""
    thresholds = CircuitBreakers.Thresholds(
        max_connections=_limit(pool.tcp.max_connections),
        max_pending_requests=_limit(pool.http.http1_max_pending_requests),
        max_requests=_limit(pool.http.http2_max_requests),
        max_retries=_limit(pool.http.max_retries),
    )
    return CircuitBreakers(thresholds=[thresholds])


def _limit(value: int) -> UInt32Value:
    return UInt32Value(value=value or NO_LIMIT)


def _http_options(pool: Any, port: Port, names: Any) -> Any:
    """The protocol towards endpoints with the ages of its connections; None for HTTP/1.1 without any."""
    common = _common_options(pool)
    http2 = port.is_http2 or pool.http.h2_upgrade_policy == ConnectionPoolSettings.HTTPSettings.UPGRADE
    if common is None and names is None and not http2:
        return None
    options = UpstreamOptions()
    if common is not None:
        options.common_http_protocol_options.CopyFrom(common)
    if names is not None:
        options.upstream_http_protocol_options.CopyFrom(names)
    if http2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(_http2_options(pool))
    else:
        options.explicit_http_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
    return options


def _http2_options(pool: Any) -> Any:
    options = Http2ProtocolOptions()
    if pool.http.max_concurrent_streams:
        options.max_concurrent_streams.CopyFrom(UInt32Value(value=pool.http.max_concurrent_streams))
    return options


def _common_options(pool: Any) -> Any:
    options = HttpProtocolOptions()
    for side in (pool.http, pool.tcp):
        if side.HasField("idle_timeout"):  # the one for HTTP comes first
            options.idle_timeout.CopyFrom(side.idle_timeout)
            break
    if pool.http.max_requests_per_connection:
        options.max_requests_per_connection.CopyFrom(UInt32Value(value=pool.http.max_requests_per_connection))
    return options if options.ListFields() else None
