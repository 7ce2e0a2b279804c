"""Compiles config.core.v3.HealthCheck of a cluster, and what an endpoint says of its own checks."""

from __future__ import annotations

import re
from typing import Any

from isthmus_proxy.cluster.health.model import (
    EndpointHealthCheck,
    GrpcCheck,
    HealthCheckConfig,
    HttpCheck,
    Statuses,
    TcpCheck,
)
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.header_edits import compile_added_headers, compile_request_edits
from isthmus_proxy.config.metadata import compile_struct
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, flag, is_ip, number, positive_seconds, required, seconds
from isthmus_proxy.errors import ConfigError

_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_NO_BODY_METHODS = ("CONNECT",)


def compile_health_check(checks: Any, path: str, *, http2: bool) -> HealthCheckConfig | None:
    """Compile the checked ``health_checks`` of a cluster, which speaks HTTP/2 if ``http2``. Raises ConfigError."""
    if not checks:
        return None
    if len(checks) > 1:
        raise ConfigError(path, f"{len(checks)} health checks", "at most one is supported, as in Envoy")
    return _compile(checks[0], f"{path}[0]", http2)


def _compile(proto: Any, path: str, http2: bool) -> HealthCheckConfig:
    for name in ("timeout", "interval", "unhealthy_threshold", "healthy_threshold"):
        if not proto.HasField(name):
            raise ConfigError(join(path, name), "", "is missing")
    interval = _interval(proto, "interval", 0.0, path)
    no_traffic = _interval(proto, "no_traffic_interval", 60.0, path)
    unhealthy = _interval(proto, "unhealthy_interval", interval, path)
    return HealthCheckConfig(
        check=_check(proto, path, http2),
        timeout=positive_seconds(proto, "timeout", 0.0, path),
        interval=interval,
        unhealthy_threshold=number(proto, "unhealthy_threshold", 1, path),
        healthy_threshold=number(proto, "healthy_threshold", 1, path),
        initial_jitter=seconds(proto, "initial_jitter", 0.0, path),
        interval_jitter=seconds(proto, "interval_jitter", 0.0, path),
        interval_jitter_percent=proto.interval_jitter_percent,
        reuse_connection=flag(proto, "reuse_connection", default=True),
        no_traffic_interval=no_traffic,
        no_traffic_healthy_interval=_interval(proto, "no_traffic_healthy_interval", no_traffic, path),
        unhealthy_interval=unhealthy,
        unhealthy_edge_interval=_interval(proto, "unhealthy_edge_interval", unhealthy, path),
        healthy_edge_interval=_interval(proto, "healthy_edge_interval", interval, path),
        event_logs=_event_logs(proto, path),
        always_log_failures=proto.always_log_health_check_failures,
        always_log_success=proto.always_log_health_check_success,
        alpn_protocols=tuple(proto.tls_options.alpn_protocols),
        transport_criteria=compile_struct(proto.transport_socket_match_criteria)
        if proto.HasField("transport_socket_match_criteria")
        else None,
    )


def _interval(proto: Any, name: str, default: float, path: str) -> float:
    return positive_seconds(proto, name, default, path)


def _port(value: int, path: str) -> int:
    if value > 65535:
        raise ConfigError(path, str(value), "must be at most 65535")
    return value


def _check(proto: Any, path: str, http2: bool) -> HttpCheck | TcpCheck | GrpcCheck:
    kind = proto.WhichOneof("health_checker")
    if kind is None:
        raise ConfigError(path, "", "needs one of http_health_check, tcp_health_check and grpc_health_check")
    place, message = join(path, kind), getattr(proto, kind)
    if kind == "tcp_health_check":
        return TcpCheck(_payload(message.send, join(place, "send")), _payloads(message, place))
    if kind == "grpc_health_check":
        if not http2:
            raise ConfigError(place, "", "needs a cluster with http2_protocol_options")
        edits = compile_added_headers(message.initial_metadata, join(place, "initial_metadata"))
        return GrpcCheck(message.service_name, _authority(message, "authority", place), edits)
    return _http(message, place, http2)


def _http(message: Any, path: str, http2: bool) -> HttpCheck:
    method = enum_name(message, "method")
    if method in _NO_BODY_METHODS:
        raise ConfigError(join(path, "method"), method, "cannot be used to check health")
    target = required(message, "path", path)
    if not target.isascii() or any(character <= " " or character == "\x7f" for character in target):
        raise ConfigError(join(path, "path"), shown(target), "must not hold blanks, controls or other than ASCII")
    codec = enum_name(message, "codec_client_type")
    if codec == "HTTP2" and not http2:
        raise ConfigError(join(path, "codec_client_type"), codec, "needs a cluster with http2_protocol_options")
    return HttpCheck(
        path=target.encode(),
        host=_authority(message, "host", path),
        method=b"GET" if method == "METHOD_UNSPECIFIED" else method.encode(),
        edits=compile_request_edits(message, path),
        expected=_statuses(message, "expected_statuses", path) or ((200, 201),),
        retriable=_statuses(message, "retriable_statuses", path),
        receive=_payloads(message, path),
        response_buffer_size=number(message, "response_buffer_size", 1024, path),
        http2=codec == "HTTP2",
    )


def _authority(message: Any, name: str, path: str) -> bytes:
    value: str = getattr(message, name)
    if not value.isascii() or any(character <= " " or character == "\x7f" for character in value):
        raise ConfigError(join(path, name), shown(value), "is not a host name")
    return value.encode()


def _statuses(message: Any, name: str, path: str) -> Statuses:
    ranges = []
    for index, each in enumerate(getattr(message, name)):
        if not 100 <= each.start < each.end <= 600:
            place = f"{join(path, name)}[{index}]"
            raise ConfigError(
                place, f"[{each.start}, {each.end})", "must be a range within [100, 600) that is not empty"
            )
        ranges.append((each.start, each.end))
    return tuple(ranges)


def _payloads(message: Any, path: str) -> tuple[bytes, ...]:
    return tuple(_payload(each, f"{join(path, 'receive')}[{i}]") for i, each in enumerate(message.receive))


def _payload(payload: Any, path: str) -> bytes:
    """Bytes, of which ``text`` gives hexadecimal digits."""
    if payload.WhichOneof("payload") == "text":
        if not _HEX.fullmatch(payload.text):
            raise ConfigError(join(path, "text"), shown(payload.text), "must be bytes in hexadecimal digits")
        return bytes.fromhex(payload.text)
    return bytes(payload.binary)


def _event_logs(proto: Any, path: str) -> tuple[str, ...]:
    paths = [proto.event_log_path] if proto.event_log_path else []
    for index, sink in enumerate(proto.event_logger):
        place = f"{join(path, 'event_logger')}[{index}].typed_config"
        message: Any = unpack_as(sink.typed_config, place, _FILE_SINK)
        paths.append(required(message, "event_log_path", place))
    return tuple(dict.fromkeys(paths))


def compile_endpoint_health_check(proto: Any, path: str) -> EndpointHealthCheck:
    """Compile config.endpoint.v3.Endpoint.HealthCheckConfig. Raises ConfigError."""
    host = ""
    port = _port(proto.port_value, join(path, "port_value"))
    if proto.HasField("address"):
        host = proto.address.socket_address.address
        place = join(path, "address.socket_address.address")
        if not is_ip(host):
            raise ConfigError(place, shown(host), "must be an IP address")
        port = port or _port(proto.address.socket_address.port_value, place)
    return EndpointHealthCheck(
        host, port, _authority(proto, "hostname", path).decode(), proto.disable_active_health_check
    )
