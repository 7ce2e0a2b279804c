"""buffer: sends requests on when they are complete (envoy.extensions.filters.http.buffer.v3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.message import RequestHead


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """``max_request_bytes``: larger bodies are answered 413; 0 means that the filter is disabled (per route)."""

    max_request_bytes: int

    def make(self, context: FilterContext) -> BufferFactory:
        """See ``FilterConfig``."""
        return BufferFactory(self)


class BufferFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_config",)

    def __init__(self, config: BufferConfig) -> None:
        self._config = config

    def create(self, callbacks: FilterCallbacks, overrides: tuple[BufferConfig, ...]) -> Buffer | None:
        """The filter, unless the route disables it."""
        config = overrides[-1] if overrides else self._config
        return Buffer(callbacks, config.max_request_bytes) if config.max_request_bytes else None


class Buffer(StreamFilter):
    """See the module."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ("_limit", "_size")

    def __init__(self, callbacks: FilterCallbacks, limit: int) -> None:
        super().__init__(callbacks)
        self._limit = limit
        self._size = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Stop a request that has a body. Upgrades pass: they have no end."""
        if end_stream or self.callbacks.upgrade:
            return CONTINUE
        self.callbacks.set_decoder_buffer_limit(self._limit)
        return STOP

    def decode_data(self, data: bytes) -> bytes:
        """Count."""
        self._size += len(data)
        return data

    def decode_end(self, trailers: Trailers) -> int:
        """Send all of it, with its length where that is known only now."""
        head = self.callbacks.head
        if head.get(b"content-length") is None and not trailers:
            self.callbacks.set_body_length(self._size)
        self.callbacks.continue_decoding()
        return CONTINUE
