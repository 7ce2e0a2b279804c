"""grpc_http1_bridge: lets clients of HTTP/1.1 make unary calls (envoy.extensions.filters.http.grpc_http1_bridge.v3).

The status, which comes in trailers, is put into the head of the response: that waits for the end, and becomes 503 where the
call failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.http.filters.grpc_calls import value_of
from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import is_grpc
from isthmus_proxy.http.message import RequestHead, ResponseHead, set_header


@dataclass(frozen=True, slots=True)
class GrpcHttp1BridgeConfig:
    """The filter has no options."""

    def make(self, context: FilterContext) -> GrpcHttp1BridgeConfig:
        """See ``FilterConfig``; there is nothing to keep."""
        return self

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> GrpcHttp1Bridge | None:
        """A filter for requests over HTTP/1."""
        return GrpcHttp1Bridge(callbacks) if callbacks.info.protocol.startswith("HTTP/1") else None


class GrpcHttp1Bridge(StreamFilter):
    """See the module."""

    __slots__ = ("_bridging", "_head", "_size")

    def __init__(self, callbacks: FilterCallbacks) -> None:
        super().__init__(callbacks)
        self._bridging = False
        self._head: ResponseHead | None = None
        self._size = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """See whether it is a gRPC call."""
        self._bridging = is_grpc(head.get(b"content-type"))
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Keep the head until the status is known."""
        if end_stream or not self._bridging:
            return CONTINUE
        self._head = head
        return STOP

    def encode_data(self, data: bytes) -> bytes:
        """Count."""
        self._size += len(data)
        return data

    def encode_end(self, trailers: Trailers) -> int:
        """Put the outcome into the head."""
        head = self._head
        if head is None:
            return CONTINUE
        status, message = value_of(trailers, b"grpc-status"), value_of(trailers, b"grpc-message")
        if status is not None:
            if status != b"0":
                head.status = 503
            set_header(head.headers, b"grpc-status", status)
        if message is not None:
            set_header(head.headers, b"grpc-message", message)
        if trailers:
            self.callbacks.set_response_length(self._size)
            self.callbacks.set_response_trailers(())
        self.callbacks.continue_encoding()
        return CONTINUE
