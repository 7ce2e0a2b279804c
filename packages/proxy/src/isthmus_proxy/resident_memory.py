"""Gives memory back that only the start needed: free heap pages, and pages of program files that nobody looks at any more.

A start touches most of the interpreter, the C++ library and the compiled data path once, among them modules' initialisation, and
the kernel maps sixteen pages around each touch. An idle sidecar needs a quarter of that. Clean pages of a file lose nothing by
being unmapped: whoever needs one again finds it in the page cache at the cost of a minor fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

SMAPS = Path("/proc/self/smaps")
_DONTNEED = 4  # MADV_DONTNEED of madvise(2)
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(/.*)$")
_SIZE = re.compile(r"^Anonymous: +(\d+) kB$")


def release() -> None:
    """Give back what can be given back, where the system can (Linux; glibc for the heap). Cheap, but not for every request."""
    import ctypes  # noqa: PLC0415 - loaded by trio anyway

    library = ctypes.CDLL(None)
    for start, end in _clean_ranges():
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _clean_ranges() -> list[tuple[int, int]]:
    try:
        with SMAPS.open(errors="replace") as lines:
            return list(clean_file_ranges(lines))
    except OSError:
        return []


def clean_file_ranges(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Address ranges that hold nothing but what stands in a file: never writable, never written. ``smaps``: lines of /proc/PID/smaps.

    Relocated tables are read-only as well, but were written before; their ``Anonymous`` size tells them apart.
    """
    current: tuple[int, int] | None = None
    for line in smaps:
        if (size := _SIZE.match(line)) is not None:
            if current is not None and size[1] == "0":
                yield current
            current = None
        elif (mapping := _MAPPING.match(line)) is not None:
            current = (int(mapping[1], 16), int(mapping[2], 16)) if mapping[3] in ("r-xp", "r--p") else None
        elif line[:1].islower() or line[:1].isdigit():  # a mapping without a file
            current = None
