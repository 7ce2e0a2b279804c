"""Compression libraries behind one interface. gzip is Python's; brotli and zstd are imported when a configuration names them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Compressor(Protocol):
    """Compresses one body."""

    def compress(self, data: bytes) -> bytes:
        """Take data; answer what is ready."""

    def flush(self) -> bytes:
        """Everything taken so far, so that the receiver can read it."""

    def finish(self) -> bytes:
        """The rest."""


class DecompressionError(Exception):
    """The data are not what their coding says, or expand beyond measure."""


class Decompressor(Protocol):
    """Decompresses one body."""

    def decompress(self, data: bytes) -> bytes:
        """Take data; answer what they mean. Raises DecompressionError."""


@dataclass(frozen=True, slots=True)
class CompressorLibrary:
    """A configured library: its content ``coding`` and the part of stat names that tells it; ``make`` a compressor."""

    coding: str
    stat: str
    make: Callable[[], Compressor]


@dataclass(frozen=True, slots=True)
class DecompressorLibrary:
    """The same for the other way."""

    coding: str
    stat: str
    make: Callable[[], Decompressor]


class GzipCompressor:
    """zlib with gzip's header and trailer."""

    __slots__ = ("_zlib",)

    def __init__(self, level: int, window_bits: int, memory_level: int, strategy: int) -> None:
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, 16 + window_bits, memory_level, strategy)

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        return self._zlib.compress(data)

    def flush(self) -> bytes:
        """See Compressor."""
        return self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """See Compressor."""
        return self._zlib.flush(zlib.Z_FINISH)


class BrotliCompressor:
    """brotli."""

    __slots__ = ("_brotli",)

    def __init__(self, quality: int, window_bits: int) -> None:
        import brotli  # noqa: PLC0415 - an extra, loaded when configured

        self._brotli: Any = brotli.Compressor(quality=quality, lgwin=window_bits)

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        return bytes(self._brotli.process(data))

    def flush(self) -> bytes:
        """See Compressor."""
        return bytes(self._brotli.flush())

    def finish(self) -> bytes:
        """See Compressor."""
        return bytes(self._brotli.finish())


class ZstdCompressor:
    """zstandard."""

    __slots__ = ("_block", "_zstd")

    def __init__(self, level: int, *, checksum: bool) -> None:
        import zstandard  # noqa: PLC0415 - an extra, loaded when configured

        self._block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        made = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=False)
        self._zstd: Any = made.compressobj()

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        return bytes(self._zstd.compress(data))

    def flush(self) -> bytes:
        """See Compressor."""
        return bytes(self._zstd.flush(self._block))

    def finish(self) -> bytes:
        """See Compressor."""
        return bytes(self._zstd.flush())


MAX_RATIO = 100
"""Bytes that one byte may become, over a whole body, before it is taken for an attack (Envoy's default for gzip)."""
FREE = 1 << 16
"""Bytes that a body may become whatever its ratio."""


class Bound:
    """Watches how much a body expands."""

    __slots__ = ("_ratio", "_taken", "given")

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        self._taken = 0
        self.given = 0

    def room(self, taken: int) -> int:
        """How many bytes may come of what is taken now, and of all before."""
        self._taken += taken
        return max(self._taken * self._ratio, FREE) - self.given

    def gave(self, size: int) -> None:
        """Count."""
        self.given += size


class GzipDecompressor:
    """zlib with gzip's header and trailer; bounded while it runs."""

    __slots__ = ("_bound", "_zlib")

    def __init__(self, window_bits: int, ratio: int) -> None:
        self._zlib = zlib.decompressobj(16 + window_bits)
        self._bound = Bound(ratio)

    def decompress(self, data: bytes) -> bytes:
        """See Decompressor."""
        room = self._bound.room(len(data))
        try:
            plain = self._zlib.decompress(data, room + 1)
        except zlib.error as error:
            raise DecompressionError(str(error)) from error
        self._bound.gave(len(plain))
        if len(plain) > room:
            raise DecompressionError("it expands beyond max_inflate_ratio")
        return plain


class BrotliDecompressor:
    """brotli; bounded while it runs."""

    __slots__ = ("_bound", "_brotli", "_error")

    def __init__(self) -> None:
        import brotli  # noqa: PLC0415 - an extra, loaded when configured

        self._brotli: Any = brotli.Decompressor()
        self._error: type[Exception] = brotli.error
        self._bound = Bound(MAX_RATIO)

    def decompress(self, data: bytes) -> bytes:
        """See Decompressor."""
        room = self._bound.room(len(data))
        plain = b""
        try:
            while data or not self._brotli.can_accept_more_data():
                plain += self._brotli.process(data, output_buffer_limit=1 << 16)
                data = b""
                if len(plain) > room:
                    raise DecompressionError("it expands beyond measure")
        except self._error as error:
            raise DecompressionError(str(error)) from error
        self._bound.gave(len(plain))
        return plain


class ZstdDecompressor:
    """zstandard; what one read becomes is looked at before it goes on, and a frame's window is bounded."""

    __slots__ = ("_bound", "_error", "_zstd")

    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - an extra, loaded when configured

        self._zstd: Any = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompressobj()
        self._error: type[Exception] = zstandard.ZstdError
        self._bound = Bound(MAX_RATIO)

    def decompress(self, data: bytes) -> bytes:
        """See Decompressor."""
        plain = b""
        try:
            for start in range(0, len(data), 64):  # so that little can come of one step
                piece = data[start : start + 64]
                room = self._bound.room(len(piece))
                made = bytes(self._zstd.decompress(piece))
                self._bound.gave(len(made))
                if len(made) > room:
                    raise DecompressionError("it expands beyond measure")
                plain += made
        except self._error as error:
            raise DecompressionError(str(error)) from error
        return plain
