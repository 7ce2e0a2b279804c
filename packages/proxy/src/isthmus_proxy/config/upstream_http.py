"""Compiles what a cluster says of its HTTP connections: HttpProtocolOptions, or the older fields in the cluster itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.header_key_format import compile_header_key_format
from isthmus_proxy.config.http2_options import compile_http2_options
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import number, seconds
from isthmus_proxy.errors import ConfigError

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class UpstreamHttp:
    """HTTP options of a cluster's connections; ``idle_timeout`` in seconds, zeros mean no limit."""

    max_requests_per_connection: int = 0
    idle_timeout: float = 3600.0
    http2: bool = False
    enable_trailers: bool = False
    header_key_format: str = ""
    http2_options: Http2Options = field(default_factory=Http2Options)
    auto_sni: bool = False
    auto_san_validation: bool = False


def compile_upstream_http(cluster: Any, path: str) -> UpstreamHttp:
    """Compile the options of a checked cluster. Raises ConfigError."""
    place = join(path, "typed_extension_protocol_options")
    for key in cluster.typed_extension_protocol_options:
        if key != _OPTIONS:
            raise ConfigError(f'{place}["{key}"]', "", f"only {_OPTIONS} is supported")
    if _OPTIONS in cluster.typed_extension_protocol_options:
        place = f'{place}["{_OPTIONS}"]'
        options: Any = unpack_as(cluster.typed_extension_protocol_options[_OPTIONS], place, _OPTIONS)
        return _from_options(options, place)
    common = cluster.common_http_protocol_options
    upstream = cluster.upstream_http_protocol_options
    return _build(
        common,
        join(path, "common_http_protocol_options"),
        cluster.http_protocol_options,
        _http2(cluster, path) if cluster.HasField("http2_protocol_options") else None,
        number(cluster, "max_requests_per_connection", 0, path),
        upstream,
    )


def _from_options(options: Any, path: str) -> UpstreamHttp:
    chosen = options.WhichOneof("upstream_protocol_options")
    if chosen is None:
        raise ConfigError(path, "", "needs one of explicit_http_config and use_downstream_protocol_config")
    config = getattr(options, chosen)
    explicit = chosen == "explicit_http_config" and config.WhichOneof("protocol_config") == "http2_protocol_options"
    http2 = _http2(config, join(path, chosen)) if explicit else None
    place = join(path, "common_http_protocol_options")
    upstream = options.upstream_http_protocol_options
    return _build(options.common_http_protocol_options, place, config.http_protocol_options, http2, 0, upstream)


def _http2(message: Any, path: str) -> Http2Options:
    return compile_http2_options(message.http2_protocol_options, join(path, "http2_protocol_options"))


def _build(
    common: Any, path: str, http1: Any, http2: Http2Options | None, max_requests: int, upstream: Any
) -> UpstreamHttp:
    if common.HasField("max_headers_count"):
        value = shown(common.max_headers_count.value)
        raise ConfigError(join(path, "max_headers_count"), value, "is supported downstream only; remove it")
    if common.HasField("max_connection_duration"):
        raise ConfigError(join(path, "max_connection_duration"), "", "is supported downstream only; remove it")
    if http1.accept_http_10:
        raise ConfigError(path, "accept_http_10", "is supported downstream only; remove it")
    return UpstreamHttp(
        number(common, "max_requests_per_connection", max_requests, path),
        seconds(common, "idle_timeout", 3600.0, path),
        http2 is not None,
        bool(http1.enable_trailers),
        compile_header_key_format(http1, path),
        http2 or Http2Options(),
        upstream.auto_sni,
        upstream.auto_san_validation,
    )
