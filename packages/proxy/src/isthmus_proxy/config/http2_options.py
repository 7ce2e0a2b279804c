"""Compiles core.v3.Http2ProtocolOptions."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import number, seconds
from isthmus_proxy.errors import ConfigError

_MAX = 2**31 - 1
_MIN_WINDOW = 65535


def compile_http2_options(
    proto: Any, path: str, *, max_list_size: int = 60 * 1024, max_fields: int = 100
) -> Http2Options:
    """Compile a checked message; ``max_list_size`` (bytes) and ``max_fields`` bound header lists. Raises ConfigError."""
    defaults = Http2Options()

    def limit(name: str, low: int, high: int = _MAX) -> int:
        value = number(proto, name, getattr(defaults, name), path, low=low)
        if value > high:
            raise ConfigError(join(path, name), shown(value), f"must be at most {high}")
        return value

    interval, timeout = _keepalive(proto, path)
    return Http2Options(
        hpack_table_size=limit("hpack_table_size", 0, 2**32 - 1),
        max_concurrent_streams=limit("max_concurrent_streams", 1),
        initial_stream_window_size=limit("initial_stream_window_size", _MIN_WINDOW),
        initial_connection_window_size=limit("initial_connection_window_size", _MIN_WINDOW),
        max_outbound_frames=limit("max_outbound_frames", 1, 2**32 - 1),
        max_outbound_control_frames=limit("max_outbound_control_frames", 1, 2**32 - 1),
        max_consecutive_inbound_frames_with_empty_payload=limit(
            "max_consecutive_inbound_frames_with_empty_payload", 0, 2**32 - 1
        ),
        max_inbound_priority_frames_per_stream=limit("max_inbound_priority_frames_per_stream", 0, 2**32 - 1),
        max_inbound_window_update_frames_per_data_frame_sent=limit(
            "max_inbound_window_update_frames_per_data_frame_sent", 1, 2**32 - 1
        ),
        max_list_size=max_list_size,
        max_fields=max_fields,
        allow_connect=proto.allow_connect,
        keepalive_interval=interval,
        keepalive_timeout=timeout,
    )


def _keepalive(proto: Any, path: str) -> tuple[float, float]:
    """Seconds between pings (0 = none), and for which an answer is awaited."""
    if not proto.HasField("connection_keepalive"):
        return 0.0, 0.0
    path = join(path, "connection_keepalive")
    settings = proto.connection_keepalive
    interval, timeout = seconds(settings, "interval", 0.0, path), seconds(settings, "timeout", 0.0, path)
    if timeout <= 0.0:
        raise ConfigError(join(path, "timeout"), "", "is required, and must be positive")
    return interval, timeout
