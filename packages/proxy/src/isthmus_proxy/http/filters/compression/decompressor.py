"""decompressor: sends bodies on as they were before they were compressed (envoy.extensions.filters.http.decompressor.v3)."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.http.filters.compression.library import (
    DecompressionError,
    Decompressor,
    DecompressorLibrary,
)
from isthmus_proxy.http.filters.compression.stats import DecompressionStats
from isthmus_proxy.http.filters.stream_filter import CONTINUE, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.runtime import Runtime

_ACCEPT, _CODING, _CACHE_CONTROL = b"accept-encoding", b"content-encoding", b"cache-control"
BROKEN_REQUEST = LocalReply(400, "decompression_failed", b"Bad Request")
BROKEN_RESPONSE = LocalReply(502, "decompression_failed", b"Bad Gateway")


@dataclass(frozen=True, slots=True)
class Direction:
    """CommonDirectionConfig."""

    enabled: bool = True
    enabled_key: str = ""
    ignore_no_transform: bool = False

    def on(self, runtime: Runtime) -> bool:
        """Whether this direction is decompressed at all."""
        value = runtime.get(self.enabled_key) if self.enabled_key else None
        return value if isinstance(value, bool) else self.enabled


@dataclass(frozen=True, slots=True)
class DecompressorConfig:
    """``advertise``: the upstream is told that the coding is taken."""

    library_name: str
    library: DecompressorLibrary
    request: Direction
    response: Direction
    advertise: bool = True

    def make(self, context: FilterContext) -> DecompressorFactory:
        """See ``FilterConfig``."""
        return DecompressorFactory(self, context)


class DecompressorFactory:
    """See ``FilterFactory``."""

    __slots__ = ("config", "request_stats", "response_stats", "runtime")

    def __init__(self, config: DecompressorConfig, context: FilterContext) -> None:
        self.config = config
        self.runtime = context.runtime
        prefix = f"decompressor.{config.library_name}.{config.library.stat}."
        self.request_stats = DecompressionStats(context.stats, prefix + "request.")
        self.response_stats = DecompressionStats(context.stats, prefix + "response.")

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> DecompressorFilter:
        """The filter for one exchange."""
        return DecompressorFilter(callbacks, self)


class DecompressorFilter(StreamFilter):
    """See the module."""

    __slots__ = ("_factory", "_over", "_request", "_response")

    def __init__(self, callbacks: FilterCallbacks, factory: DecompressorFactory) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._request: Decompressor | None = None
        self._response: Decompressor | None = None
        self._over = False

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Tell the upstream what is taken, and decompress the request if it is compressed."""
        factory, config = self._factory, self._factory.config
        if config.advertise and config.response.on(factory.runtime):
            _advertise(head.headers, config.library.coding.encode())
        if not end_stream:
            found = _decoded(head.headers, config.request, factory, factory.request_stats)
            if found is not None:
                head.headers = found
                self._request = config.library.make()
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Decompress the response if it is compressed."""
        factory = self._factory
        if not end_stream:
            found = _decoded(head.headers, factory.config.response, factory, factory.response_stats)
            if found is not None:
                head.headers = found
                self._response = factory.config.library.make()
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Decompress."""
        if self._request is None:
            return data
        return self._plain(self._request, data, self._factory.request_stats, BROKEN_REQUEST)

    def encode_data(self, data: bytes) -> bytes:
        """Decompress."""
        if self._response is None:
            return data
        return self._plain(self._response, data, self._factory.response_stats, BROKEN_RESPONSE)

    def _plain(self, decompressor: Decompressor, data: bytes, stats: DecompressionStats, broken: LocalReply) -> bytes:
        if self._over:
            return b""
        stats.total_compressed_bytes.value += len(data)
        try:
            plain = decompressor.decompress(data)
        except DecompressionError:
            self._over = True
            if self.callbacks.response_started:
                self.callbacks.cut_off(broken.details)
            else:
                self.callbacks.send_local_reply(broken)
            return b""
        stats.total_uncompressed_bytes.value += len(plain)
        return plain

    def local_reply(self, reply: LocalReply) -> LocalReply | None:
        """Let a local reply be: it is not compressed."""
        self._request = self._response = None
        return reply


def _advertise(headers: Headers, coding: bytes) -> None:
    present = next((value for name, value in headers if name == _ACCEPT), None)
    if present is None:
        headers.append((_ACCEPT, coding))
    else:
        others = [each.strip() for each in present.split(b",") if each.partition(b";")[0].strip() != coding]
        set_header(headers, _ACCEPT, b",".join([*others, coding]))


def _decoded(
    headers: Headers, direction: Direction, factory: DecompressorFactory, stats: DecompressionStats
) -> Headers | None:
    """The headers without the coding, None where there is nothing to decompress. The last coding was applied last."""
    if not direction.on(factory.runtime):
        return None
    codings = [value.strip() for value in (_value(headers, _CODING) or b"").split(b",")]
    transform = direction.ignore_no_transform or not any(
        each.strip().lower() == b"no-transform" for each in (_value(headers, _CACHE_CONTROL) or b"").split(b",")
    )
    if not transform or codings[0].lower() != factory.config.library.coding.encode():
        stats.not_decompressed.value += 1
        return None
    stats.decompressed.value += 1
    rest = b", ".join(codings[1:])
    kept = [field for field in headers if field[0] != b"content-length" and (rest or field[0] != _CODING)]
    if rest:
        set_header(kept, _CODING, rest)
    return kept


def _value(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
