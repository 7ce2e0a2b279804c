"""The hashes of consistent hashing, as Envoy has them: xxHash64 and the 64-bit MurmurHash2 of libstdc++'s ``std::hash``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

_MASK: Final = (1 << 64) - 1
_MURMUR_SEED: Final = 0xC70F6907
_MURMUR_FACTOR: Final = (0xC6A4A793 << 32) + 0x5BD1E995


@cache
def xx_hash_function() -> Callable[..., int]:
    """Return ``xxh64_intdigest(data, seed=0)``; loaded when first used, as most configurations hash nothing."""
    from xxhash import xxh64_intdigest  # noqa: PLC0415

    return xxh64_intdigest


def xx_hash_64(data: bytes, seed: int = 0) -> int:
    """Return xxHash64 of ``data``."""
    return xx_hash_function()(data, seed)


def murmur_hash_2(data: bytes) -> int:
    """Return the 64-bit MurmurHash2 of ``data`` with the seed of ``std::hash``, for rings that older Envoys must share."""
    length = len(data)
    aligned = length & ~7
    digest = _MURMUR_SEED ^ (length * _MURMUR_FACTOR & _MASK)
    for start in range(0, aligned, 8):
        word = int.from_bytes(data[start : start + 8], "little")
        digest ^= _shift_mix(word * _MURMUR_FACTOR & _MASK) * _MURMUR_FACTOR & _MASK
        digest = digest * _MURMUR_FACTOR & _MASK
    if length > aligned:
        digest ^= int.from_bytes(data[aligned:], "little")
        digest = digest * _MURMUR_FACTOR & _MASK
    return _shift_mix(_shift_mix(digest) * _MURMUR_FACTOR & _MASK)


def _shift_mix(value: int) -> int:
    return value ^ (value >> 47)
