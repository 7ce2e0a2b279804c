"""compressor: compresses bodies for clients that take it, and requests where asked to (envoy.extensions.filters.http.compressor.v3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from isthmus_proxy.http.filters.compression.accept_encoding import (
    FOUND_IDENTITY,
    FOUND_WILDCARD,
    IDENTITY,
    NOT_VALID,
    USED,
    choose,
)
from isthmus_proxy.http.filters.compression.library import Compressor, CompressorLibrary
from isthmus_proxy.http.filters.compression.stats import DirectionStats, ResponseStats
from isthmus_proxy.http.filters.stream_filter import CONTINUE, FilterCallbacks, FilterContext, StreamFilter, Trailers
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.runtime import Runtime

ACCEPT_ENCODING = b"accept-encoding"
CONTENT_ENCODING = b"content-encoding"
_PEERS = "envoy.compressors"

DEFAULT_TYPES = frozenset(
    {
        b"application/ecmascript", b"application/javascript", b"application/json", b"application/x-javascript",
        b"application/x-json", b"application/xhtml+xml", b"application/xml", b"image/svg+xml", b"text/css", b"text/ecmascript",
        b"text/html", b"text/javascript", b"text/js", b"text/jscript", b"text/plain", b"text/x-javascript", b"text/x-js",
        b"text/xml",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Direction:
    """CommonDirectionConfig. ``enabled_key`` is the run-time key that counts before ``enabled``."""

    enabled: bool = True
    enabled_key: str = ""
    min_content_length: int = 30
    content_types: frozenset[bytes] = DEFAULT_TYPES

    def on(self, runtime: Runtime) -> bool:
        """Whether this direction is compressed at all."""
        value = runtime.get(self.enabled_key) if self.enabled_key else None
        return value if isinstance(value, bool) else self.enabled

    def takes_type(self, headers: Headers) -> bool:
        """Whether the content type is one of those; no type is."""
        value = _first(headers, b"content-type")
        return value is None or value.partition(b";")[0].strip().lower() in self.content_types


@dataclass(frozen=True, slots=True)
class CompressorConfig:
    """``library_name`` is part of stat names; ``request`` None: requests are not compressed."""

    library_name: str
    library: CompressorLibrary
    response: Direction
    request: Direction | None = None
    own_directions: bool = True
    disable_on_etag: bool = False
    remove_accept_encoding: bool = False
    uncompressible: frozenset[int] = frozenset()
    choose_first: bool = False

    def make(self, context: FilterContext) -> CompressorFactory:
        """See ``FilterConfig``."""
        return CompressorFactory(self, context)


@dataclass(frozen=True, slots=True)
class CompressorPerRoute:
    """``remove_accept_encoding`` None: as the filter says."""

    disabled: bool = False
    response: bool = False
    remove_accept_encoding: bool | None = None


_NOTHING = CompressorPerRoute()


class CompressorFactory:
    """See ``FilterFactory``."""

    __slots__ = ("config", "request_stats", "response_stats", "runtime")

    def __init__(self, config: CompressorConfig, context: FilterContext) -> None:
        self.config = config
        self.runtime = context.runtime
        prefix = f"compressor.{config.library_name}.{config.library.stat}."
        self.request_stats = DirectionStats(context.stats, prefix + "request.")
        self.response_stats = ResponseStats(context.stats, prefix, "response." if config.own_directions else "")

    def create(self, callbacks: FilterCallbacks, overrides: tuple[CompressorPerRoute, ...]) -> CompressorFilter:
        """The filter for one exchange. A route that disables it has its responses as they are; its requests are compressed, as in Envoy."""
        return CompressorFilter(callbacks, self, overrides[-1] if overrides else _NOTHING)


class CompressorFilter(StreamFilter):
    """See the module."""

    __slots__ = ("_accepted", "_factory", "_request", "_response", "_route")

    def __init__(self, callbacks: FilterCallbacks, factory: CompressorFactory, route: CompressorPerRoute) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._route = route
        self._accepted: bytes | None = None
        self._request: Body | None = None
        self._response: Body | None = None

    @property
    def factory(self) -> CompressorFactory:
        """What it was made by."""
        return self._factory

    def _on(self) -> bool:
        route = self._route
        if route.disabled:
            return False
        return route.response or self._factory.config.response.on(self._factory.runtime)

    # ---- the request ----

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Remember what the client accepts, and compress the request if that is wanted."""
        factory, config = self._factory, self._factory.config
        self._accepted = _first(head.headers, ACCEPT_ENCODING)
        state = self.callbacks.info.filter_state
        peers = (state or {}).get(_PEERS)
        if peers is None:
            peers = []
            self.callbacks.info.set_filter_state(_PEERS, peers)
        cast("list[CompressorFilter]", peers).append(self)
        removes = self._route.remove_accept_encoding
        if self._on() and (config.remove_accept_encoding if removes is None else removes):
            head.headers = [field for field in head.headers if field[0] != ACCEPT_ENCODING]
        direction = config.request
        if (
            direction is not None
            and direction.on(factory.runtime)
            and not end_stream
            and not self.callbacks.upgrade
            and _long_enough(head.headers, direction, factory.request_stats)
            and direction.takes_type(head.headers)
            and _first(head.headers, CONTENT_ENCODING) is None
        ):
            head.headers = _encoded(head.headers, config.library.coding)
            factory.request_stats.compressed.value += 1
            inject = self.callbacks.inject_decoded_data
            self._request = Body(self, config.library.make(), factory.request_stats, inject)
        else:
            factory.request_stats.not_compressed.value += 1
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Compress."""
        return data if self._request is None else self._request.take(data)

    def decode_end(self, trailers: Trailers) -> int:
        """Compress the rest."""
        if self._request is not None:
            self._request.end()
        return CONTINUE

    # ---- the response ----

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Decide, by the rules in Envoy's order: they count in its stats."""
        factory, config = self._factory, self._factory.config
        direction, stats = config.response, factory.response_stats
        if not self._on():
            stats.not_compressed.value += 1
            return CONTINUE
        long_enough = _long_enough(head.headers, direction, stats)
        fit = long_enough and self._fit(head)
        if not end_stream and long_enough and self._accepts(head.headers) and fit:
            _drop_strong_etag(head)
            head.headers = _encoded(head.headers, config.library.coding)
            stats.compressed.value += 1
            inject = self.callbacks.inject_encoded_data
            self._response = Body(self, config.library.make(), stats, inject)
        else:
            stats.not_compressed.value += 1
        if fit:
            _vary(head.headers)
        return CONTINUE

    def _fit(self, head: ResponseHead) -> bool:
        config, headers = self._factory.config, head.headers
        if head.status == 101 or not config.response.takes_type(headers):
            return False
        if _has_token(headers, b"cache-control", b"no-transform"):
            return False
        if config.disable_on_etag and _first(headers, b"etag") is not None:
            self._factory.response_stats.not_compressed_etag.value += 1
            return False
        return _first(headers, CONTENT_ENCODING) is None and head.status not in config.uncompressible

    def _accepts(self, headers: Headers) -> bool:
        """Whether the client wants this compressor's coding rather than another's or none."""
        stats, coding = self._factory.response_stats, self._factory.config.library.coding
        if self._accepted is None:
            stats.no_accept_header.value += 1
            return False
        chosen, how = choose(self._accepted, *self._allowed(headers))
        if how == NOT_VALID:
            stats.header_not_valid.value += 1
        elif how == FOUND_IDENTITY:
            stats.header_identity.value += 1
        elif how == FOUND_WILDCARD:
            stats.header_wildcard.value += 1
        elif how == USED and chosen == coding:
            stats.header_compressor_used.value += 1
        elif chosen != IDENTITY:
            stats.header_compressor_overshadowed.value += 1
        return chosen == coding

    def _allowed(self, headers: Headers) -> tuple[list[str], list[str]]:
        """The codings of all compressors of the exchange that take this content type, and those to be chosen first."""
        peers = cast("list[CompressorFilter]", (self.callbacks.info.filter_state or {}).get(_PEERS, ()))
        configs = [peer.factory.config for peer in peers]
        codings = [config.library.coding for config in configs if config.response.takes_type(headers)]
        return codings, [config.library.coding for config in configs if config.choose_first]

    def encode_data(self, data: bytes) -> bytes:
        """Compress."""
        return data if self._response is None else self._response.take(data)

    def encode_end(self, trailers: Trailers) -> int:
        """Compress the rest."""
        if self._response is not None:
            self._response.end()
        return CONTINUE

    def on_destroy(self) -> None:
        """Compress no more."""
        for body in (self._request, self._response):
            if body is not None:
                body.over = True


class Body:
    """A body being compressed: what has come within a batch of the reactor is flushed at its end."""

    __slots__ = ("_compressor", "_filter", "_flushing", "_inject", "_stats", "over")

    def __init__(
        self,
        own: CompressorFilter,
        compressor: Compressor,
        stats: DirectionStats,
        inject: Callable[[StreamFilter, bytes], None],
    ) -> None:
        self._filter = own
        self._compressor = compressor
        self._stats = stats
        self._inject = inject
        self._flushing = False
        self.over = False

    def take(self, data: bytes) -> bytes:
        """Compress a piece."""
        self._stats.total_uncompressed_bytes.value += len(data)
        if not self._flushing:
            self._flushing = True
            self._filter.callbacks.call_soon(self._flush)
        return self._counted(self._compressor.compress(data))

    def _counted(self, data: bytes) -> bytes:
        self._stats.total_compressed_bytes.value += len(data)
        return data

    def _flush(self) -> None:
        self._flushing = False
        if not self.over:
            self._inject(self._filter, self._counted(self._compressor.flush()))

    def end(self) -> None:
        """Send the rest."""
        self.over = True
        self._inject(self._filter, self._counted(self._compressor.finish()))


# ---- headers ----


def _first(headers: Headers, name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None


def _has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    value = _first(headers, name)
    return value is not None and any(each.strip().lower() == token for each in value.split(b","))


def _long_enough(headers: Headers, direction: Direction, stats: DirectionStats) -> bool:
    """A length that is not known is long enough."""
    length = _first(headers, b"content-length")
    if length is None or not length.isdigit() or int(length) >= direction.min_content_length:
        return True
    stats.content_length_too_small.value += 1
    return False


def _encoded(headers: Headers, coding: str) -> Headers:
    kept = [field for field in headers if field[0] != b"content-length"]
    kept.append((CONTENT_ENCODING, coding.encode()))
    return kept


def _drop_strong_etag(head: ResponseHead) -> None:
    """A strong etag tells bytes, which change; a weak one stays."""
    etag = _first(head.headers, b"etag")
    if etag is not None and len(etag) > 2 and etag[:2].lower() != b"w/":
        head.headers = [field for field in head.headers if field[0] != b"etag"]


def _vary(headers: Headers) -> None:
    present = _first(headers, b"vary")
    if present is None:
        headers.append((b"vary", b"Accept-Encoding"))
    elif b"Accept-Encoding" not in present:
        set_header(headers, b"vary", present + b", Accept-Encoding")
