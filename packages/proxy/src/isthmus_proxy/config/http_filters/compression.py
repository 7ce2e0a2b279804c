"""Compiles envoy.extensions.filters.http.compressor.v3 and decompressor.v3 with the libraries that they name."""

from __future__ import annotations

import zlib
from functools import partial
from importlib.util import find_spec
from typing import Any

from isthmus_proxy.config.extensions import name_of, unpack
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, flag, number, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.compression import decompressor as down
from isthmus_proxy.http.filters.compression.compressor import (
    DEFAULT_TYPES,
    CompressorConfig,
    CompressorPerRoute,
    Direction,
)
from isthmus_proxy.http.filters.compression.library import (
    MAX_RATIO,
    BrotliCompressor,
    BrotliDecompressor,
    CompressorLibrary,
    DecompressorLibrary,
    GzipCompressor,
    GzipDecompressor,
    ZstdCompressor,
    ZstdDecompressor,
)

_PACKAGE = "envoy.extensions.compression"
_STRATEGIES = {
    "DEFAULT_STRATEGY": zlib.Z_DEFAULT_STRATEGY,
    "FILTERED": zlib.Z_FILTERED,
    "HUFFMAN_ONLY": zlib.Z_HUFFMAN_ONLY,
    "RLE": zlib.Z_RLE,
    "FIXED": zlib.Z_FIXED,
}


def compile_compressor(proto: Any, path: str) -> CompressorConfig:
    """Compile the compressor's message. Raises ConfigError."""
    if not proto.HasField("compressor_library"):
        raise ConfigError(join(path, "compressor_library"), "", "is required")
    place = join(path, "response_direction_config")
    response = proto.response_direction_config
    return CompressorConfig(
        required(proto.compressor_library, "name", join(path, "compressor_library")),
        _library(proto.compressor_library.typed_config, join(path, "compressor_library.typed_config")),
        response=_direction(response, place),
        request=_direction(proto.request_direction_config, join(path, "request_direction_config"))
        if proto.HasField("request_direction_config")
        else None,
        own_directions=proto.HasField("response_direction_config"),
        disable_on_etag=response.disable_on_etag_header,
        remove_accept_encoding=response.remove_accept_encoding_header,
        uncompressible=frozenset(response.uncompressible_response_codes),
        choose_first=proto.choose_first,
    )


def compile_compressor_per_route(proto: Any, path: str) -> CompressorPerRoute:
    """Compile a route's message. Raises ConfigError."""
    if proto.WhichOneof("override") == "disabled":
        if not proto.disabled:
            raise ConfigError(join(path, "disabled"), "false", "must be true")
        return CompressorPerRoute(disabled=True)
    overrides = proto.overrides
    if not overrides.HasField("response_direction_config"):
        return CompressorPerRoute()
    response = overrides.response_direction_config
    removes = None
    if response.HasField("remove_accept_encoding_header"):
        removes = flag(response, "remove_accept_encoding_header", default=False)
    return CompressorPerRoute(response=True, remove_accept_encoding=removes)


def _direction(proto: Any, path: str) -> Direction:
    common = proto.common_config
    enabled, key = _enabled(common)
    types = frozenset(each.encode("latin-1", "replace") for each in common.content_type)
    return Direction(
        enabled,
        key,
        number(common, "min_content_length", 30, join(path, "common_config")),
        types or DEFAULT_TYPES,
    )


def _enabled(common: Any) -> tuple[bool, str]:
    if not common.HasField("enabled"):
        return True, ""
    return flag(common.enabled, "default_value", default=True), common.enabled.runtime_key


def _library(packed: Any, path: str) -> CompressorLibrary:
    name, proto = name_of(packed.type_url), unpack(packed, path)
    if name == f"{_PACKAGE}.gzip.compressor.v3.Gzip":
        return _gzip(proto, path)
    if name == f"{_PACKAGE}.brotli.compressor.v3.Brotli":
        _needs("brotli", "brotli", path)
        quality = _ranged(proto, "quality", 3, 0, 11, path)
        make = partial(BrotliCompressor, quality, _ranged(proto, "window_bits", 18, 10, 24, path))
        return CompressorLibrary("br", "brotli", make)
    if name == f"{_PACKAGE}.zstd.compressor.v3.Zstd":
        _needs("zstandard", "zstd", path)
        level = _ranged(proto, "compression_level", 3, 1, 22, path)
        return CompressorLibrary("zstd", "zstd", partial(ZstdCompressor, level, checksum=bool(proto.enable_checksum)))  # type: ignore[attr-defined]
    raise ConfigError(path, shown(packed.type_url), "only gzip, brotli and zstd compress here")


def _gzip(proto: Any, path: str) -> CompressorLibrary:
    level = _level(enum_name(proto, "compression_level"))
    window = _ranged(proto, "window_bits", 12, 9, 15, path)
    memory = _ranged(proto, "memory_level", 5, 1, 9, path)
    strategy = _STRATEGIES[enum_name(proto, "compression_strategy")]
    return CompressorLibrary("gzip", "gzip", partial(GzipCompressor, level, window, memory, strategy))


def _level(name: str) -> int:
    named = {"DEFAULT_COMPRESSION": -1, "BEST_SPEED": 1, "BEST_COMPRESSION": 9}
    return named[name] if name in named else int(name.rpartition("_")[2])


def compile_decompressor(proto: Any, path: str) -> down.DecompressorConfig:
    """Compile the decompressor's message. Raises ConfigError."""
    if not proto.HasField("decompressor_library"):
        raise ConfigError(join(path, "decompressor_library"), "", "is required")
    place = join(path, "decompressor_library")
    return down.DecompressorConfig(
        required(proto.decompressor_library, "name", place),
        _decompressor_library(proto.decompressor_library.typed_config, join(place, "typed_config")),
        request=_decompression(proto.request_direction_config.common_config),
        response=_decompression(proto.response_direction_config.common_config),
        advertise=flag(proto.request_direction_config, "advertise_accept_encoding", default=True),
    )


def _decompression(common: Any) -> down.Direction:
    enabled, key = _enabled(common)
    return down.Direction(enabled, key, common.ignore_no_transform_header)


def _decompressor_library(packed: Any, path: str) -> DecompressorLibrary:
    name, proto = name_of(packed.type_url), unpack(packed, path)
    if name == f"{_PACKAGE}.gzip.decompressor.v3.Gzip":
        window = _ranged(proto, "window_bits", 15, 9, 15, path)
        ratio = _ranged(proto, "max_inflate_ratio", MAX_RATIO, 1, 1032, path)
        return DecompressorLibrary("gzip", "gzip", partial(GzipDecompressor, window, ratio))
    if name == f"{_PACKAGE}.brotli.decompressor.v3.Brotli":
        _needs("brotli", "brotli", path)
        return DecompressorLibrary("br", "brotli", BrotliDecompressor)
    if name == f"{_PACKAGE}.zstd.decompressor.v3.Zstd":
        _needs("zstandard", "zstd", path)
        return DecompressorLibrary("zstd", "zstd", ZstdDecompressor)
    raise ConfigError(path, shown(packed.type_url), "only gzip, brotli and zstd are decompressed here")


def _ranged(proto: Any, name: str, default: int, low: int, high: int, path: str) -> int:
    value = number(proto, name, default, path, low=low)
    if value > high:
        raise ConfigError(join(path, name), str(value), f"must be at most {high}")
    return value


def _needs(module: str, extra: str, path: str) -> None:
    if find_spec(module) is None:
        raise ConfigError(path, "", f'needs the Python package {module}: pip install "isthmus-proxy[{extra}]"')
