"""Compiles envoy.extensions.filters.http.buffer.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import number
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.buffer import BufferConfig


def compile_buffer(proto: Any, path: str) -> BufferConfig:
    """Compile the filter's message. Raises ConfigError."""
    if not proto.HasField("max_request_bytes"):
        raise ConfigError(join(path, "max_request_bytes"), "", "is required")
    return BufferConfig(number(proto, "max_request_bytes", 0, path, low=1))


def compile_buffer_per_route(proto: Any, path: str) -> BufferConfig:
    """Compile a route's message. Raises ConfigError."""
    chosen = proto.WhichOneof("override")
    if chosen == "buffer":
        return compile_buffer(proto.buffer, join(path, chosen))
    if chosen != "disabled" or not proto.disabled:
        raise ConfigError(path, "", "needs buffer, or disabled: true")
    return BufferConfig(0)
