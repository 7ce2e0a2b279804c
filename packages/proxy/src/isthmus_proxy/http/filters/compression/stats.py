"""Stats of compressor and decompressor, by Envoy's names."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope


class DirectionStats:
    """Of requests, or of responses."""

    __slots__ = (
        "compressed",
        "content_length_too_small",
        "not_compressed",
        "total_compressed_bytes",
        "total_uncompressed_bytes",
    )

    def __init__(self, scope: StatsScope, prefix: str) -> None:
        self.compressed = scope.counter(prefix + "compressed")
        self.not_compressed = scope.counter(prefix + "not_compressed")
        self.total_uncompressed_bytes = scope.counter(prefix + "total_uncompressed_bytes")
        self.total_compressed_bytes = scope.counter(prefix + "total_compressed_bytes")
        self.content_length_too_small = scope.counter(prefix + "content_length_too_small")


class ResponseStats(DirectionStats):
    """What responses have besides."""

    __slots__ = (
        "header_compressor_overshadowed",
        "header_compressor_used",
        "header_identity",
        "header_not_valid",
        "header_wildcard",
        "no_accept_header",
        "not_compressed_etag",
    )

    def __init__(self, scope: StatsScope, prefix: str, direction: str) -> None:
        super().__init__(scope, prefix + direction)
        self.no_accept_header = scope.counter(prefix + "no_accept_header")
        self.header_identity = scope.counter(prefix + "header_identity")
        self.header_compressor_used = scope.counter(prefix + "header_compressor_used")
        self.header_compressor_overshadowed = scope.counter(prefix + "header_compressor_overshadowed")
        self.header_wildcard = scope.counter(prefix + "header_wildcard")
        self.header_not_valid = scope.counter(prefix + "header_not_valid")
        self.not_compressed_etag = scope.counter(prefix + "not_compressed_etag")


class DecompressionStats:
    """Of one direction of a decompressor."""

    __slots__ = ("decompressed", "not_decompressed", "total_compressed_bytes", "total_uncompressed_bytes")

    def __init__(self, scope: StatsScope, prefix: str) -> None:
        self.decompressed = scope.counter(prefix + "decompressed")
        self.not_decompressed = scope.counter(prefix + "not_decompressed")
        self.total_uncompressed_bytes = scope.counter(prefix + "total_uncompressed_bytes")
        self.total_compressed_bytes = scope.counter(prefix + "total_compressed_bytes")
