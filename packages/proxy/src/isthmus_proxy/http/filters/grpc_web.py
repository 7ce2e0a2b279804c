"""grpc_web: lets browsers make gRPC calls (envoy.extensions.filters.http.grpc_web.v3; gRPC-Web, PROTOCOL-WEB).

Browsers see no trailers: those come as a last message of the body, marked by the highest bit of its prefix. In the ``-text``
variants the body is base64 in either direction.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, replace

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.http.filters.grpc_calls import GRPC, CallStats, service_and_method, value_of
from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import LocalReply, grpc_status, is_grpc, percent_encoded
from isthmus_proxy.http.message import RequestHead, ResponseHead, set_header

_WEB, _WEB_TEXT = b"application/grpc-web", b"application/grpc-web-text"
_WEB_PROTO, _WEB_TEXT_PROTO = _WEB + b"+proto", _WEB_TEXT + b"+proto"
_TYPES = frozenset({_WEB, _WEB_PROTO, _WEB_TEXT, _WEB_TEXT_PROTO})
_TEXT = frozenset({_WEB_TEXT, _WEB_TEXT_PROTO})
_TRAILERS = 0x80
_BAD_BASE64 = LocalReply(400, "grpc_base_64_decode_failed", b"Bad gRPC-web request, invalid base64 data.")
_BAD_LENGTH = LocalReply(400, "grpc_base_64_decode_failed_bad_size", b"Bad gRPC-web request, invalid base64 data.")


@dataclass(frozen=True, slots=True)
class GrpcWebConfig:
    """The filter has no options."""

    def make(self, context: FilterContext) -> GrpcWebFactory:
        """See ``FilterConfig``."""
        return GrpcWebFactory(context.surroundings.clusters)


class GrpcWebFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_clusters",)

    def __init__(self, clusters: ClusterManager) -> None:
        self._clusters = clusters

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> GrpcWeb:
        """A filter for one exchange."""
        return GrpcWeb(callbacks, self)

    def stats(self, head: RequestHead, cluster_name: str) -> CallStats | None:
        """Where the call that ``head`` begins is counted; None if it goes to no cluster, or its path names no method."""
        cluster = self._clusters.get(cluster_name)
        named = service_and_method(head)
        if cluster is None or named is None:
            return None
        return CallStats(cluster.stats.scope, f"grpc-web.{named[0]}.{named[1]}")


class GrpcWeb(StreamFilter):
    """See the module."""

    __slots__ = ("_active", "_factory", "_plain", "_rest", "_stats", "_text", "_text_in", "_text_out", "_unframed")

    def __init__(self, callbacks: FilterCallbacks, factory: GrpcWebFactory) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._stats: CallStats | None = None
        self._active = False
        self._text_in = self._text_out = False
        self._rest = b""  # of the request's base64, what makes no whole group yet
        self._unframed = b""  # of the response, what makes no whole message yet
        self._plain: ResponseHead | None = None  # of an answer that is not gRPC's
        self._text = b""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Make a call of gRPC-Web one of gRPC."""
        if head.get(b"content-type") not in _TYPES:
            return CONTINUE
        self._active = True
        self._stats = self._factory.stats(head, self.callbacks.cluster_name)
        headers = head.headers
        self._text_in = head.get(b"content-type") in _TEXT
        self._text_out = head.get(b"accept") in _TEXT
        headers[:] = [field for field in headers if field[0] != b"content-length"]
        set_header(headers, b"content-type", GRPC)
        set_header(headers, b"te", b"trailers")
        set_header(headers, b"grpc-accept-encoding", b"identity,deflate,gzip")
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Decode base64, group by group."""
        if not self._text_in:
            return data
        data = self._rest + data
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        try:
            return binascii.a2b_base64(data[:whole], strict_mode=True) if whole else b""
        except binascii.Error:
            self.callbacks.send_local_reply(_BAD_BASE64)
            return b""

    def decode_end(self, trailers: Trailers) -> int:
        """Base64 comes in whole groups."""
        if self._rest:
            self._rest = b""
            self.callbacks.send_local_reply(_BAD_LENGTH)
        return CONTINUE

    def local_reply(self, reply: LocalReply) -> LocalReply:
        """Say in gRPC's way what the proxy says: its text as the message, its status as gRPC's."""
        if not self._active:
            return reply
        status = grpc_status(reply.status) if reply.grpc_status is None else reply.grpc_status
        outcome = ((b"grpc-status", b"%d" % status), (b"grpc-message", percent_encoded(reply.body)))
        return replace(reply, body=b"", headers=(*reply.headers, *outcome))

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Name what the client understands."""
        if not self._active:
            return CONTINUE
        if end_stream and self._stats is not None:
            self._stats.ended(value_of(head.headers, b"grpc-status"))
        if not end_stream and not is_grpc(head.get(b"content-type")):
            self._plain = head
            return STOP
        head.headers[:] = [field for field in head.headers if field[0] != b"content-length" or end_stream]
        set_header(head.headers, b"content-type", _WEB_TEXT_PROTO if self._text_out else _WEB_PROTO)
        return CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        """Encode whole messages in base64; keep the text of an answer that is not gRPC's."""
        if self._plain is not None:
            self._text = (self._text + data)[: self.callbacks.buffer_limit]
            return b""
        if not self._text_out:
            return data
        data = self._unframed + data
        encoded: list[bytes] = []
        while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], "big")):
            encoded.append(binascii.b2a_base64(data[:end], newline=False))
            data = data[end:]
        self._unframed = data
        return b"".join(encoded)

    def encode_end(self, trailers: Trailers) -> int:
        """Send the trailers as a last message."""
        if self._plain is not None:
            self._explain(self._plain)
            return CONTINUE
        if not self._active or not trailers:
            return CONTINUE
        if self._stats is not None:
            self._stats.ended(value_of(trailers, b"grpc-status"))
        lines = b"".join(b"%b:%b\r\n" % field for field in trailers)
        last = bytes((_TRAILERS,)) + len(lines).to_bytes(4, "big") + lines
        self.callbacks.set_response_trailers(())
        self.callbacks.inject_encoded_data(self, binascii.b2a_base64(last, newline=False) if self._text_out else last)
        return CONTINUE

    def _explain(self, head: ResponseHead) -> None:
        """Say in gRPC's way what an answer says that is not gRPC's: its text as the message, its status as gRPC's."""
        headers = head.headers
        set_header(headers, b"content-type", _WEB_TEXT_PROTO if self._text_out else _WEB_PROTO)
        set_header(headers, b"grpc-status", b"%d" % grpc_status(head.status))
        set_header(headers, b"grpc-message", percent_encoded(self._text))
        self.callbacks.set_response_length(0)
        self.callbacks.continue_encoding()
