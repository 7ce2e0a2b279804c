"""The ``file`` registry: a directory of YAML files, watched.

Every file is an origin. The directory is read again whenever the watcher reports a change and, in case it misses one,
every few seconds: files whose stat did not change are not opened.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles._rust_notify import RustNotify

from isthmus_mcp_bridge.errors import BridgeError, DocumentError
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, Problem, SourceListed, SourceSuspected
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.file.services import parse_services

MAX_FILES = 10_000
MAX_FILE_BYTES = 64 * 1024 * 1024
RESCAN_MS = 5000
DEBOUNCE_MS = 100
STEP_MS = 50
SUFFIXES = (".yaml", ".yml")

Stamp = tuple[int, int, int]
"""Modification time, size and inode: a file whose stamp is the same was not written since."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    stamp: Stamp
    report: OriginReport


class TooManyFiles(BridgeError):  # noqa: N818 - a state of the directory, which passes
    """The directory holds more files than the registry reads; nothing of it is believed until it holds fewer."""


class FileRegistry:
    """Reports the services in the ``*.yaml`` and ``*.yml`` files of a directory (not of directories below it)."""

    def __init__(
        self, name: str, directory: Path, namespace: str, random: Callable[[], float], max_files: int = MAX_FILES
    ) -> None:
        """``namespace`` is for services that name none; ``random`` spreads the attempts to open the directory."""
        self._name = name
        self._directory = directory
        self._namespace = namespace
        self._backoff = Backoff(random)
        self._max_files = max_files
        self._files: dict[str, _Read] = {}

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the directory until cancelled. A directory that is missing changes nothing and is tried again."""
        while True:
            try:
                await self._follow(emit)
            except OSError as error:
                reason = f"{self._directory}: {error.strerror or error}; make it a directory that this user may read"
            except TooManyFiles as error:
                reason = str(error)
            emit(SourceSuspected(self._name, reason))
            await asyncio.sleep(self._backoff.delay())

    async def _follow(self, emit: Emit) -> None:
        """List the directory, then report what changes in it; raises OSError when it cannot be read."""
        async for first in self._wake_ups():
            changed = await asyncio.to_thread(self._scan)
            self._backoff.reset()
            if first:
                emit(SourceListed(self._name, {name: read.report for name, read in self._files.items()}))
                continue
            for name, report in changed.items():
                emit(OriginChanged(self._name, name, report))

    async def _wake_ups(self) -> AsyncIterator[bool]:
        """True at once, then False whenever the directory may have changed, and every ``RESCAN_MS``.

        The watch is armed before the first listing, so that no change falls between the two.
        """
        await asyncio.to_thread(self._directory.stat)
        with RustNotify([str(self._directory)], False, False, 0, False, False) as watcher:
            yield True
            while True:
                await _changes(watcher)
                yield False

    def _scan(self) -> dict[str, OriginReport]:
        """Read the files that changed (in a worker thread). Returns their reports, empty ones for files that went."""
        paths = sorted(path for path in self._directory.iterdir() if path.suffix in SUFFIXES and path.name[0] != ".")
        if len(paths) > self._max_files:
            message = f"{self._directory} holds more than {self._max_files} files; put several services into one file"
            raise TooManyFiles(message)
        found = {path.name: path for path in paths}
        changed = {name: OriginReport() for name in self._files if name not in found}
        for name in changed:
            del self._files[name]
        for name, path in found.items():
            read = self._read(path, self._files.get(name))
            if read is None:
                continue
            if read.report != getattr(self._files.get(name), "report", None):
                changed[name] = read.report
            self._files[name] = read
        return changed

    def _read(self, path: Path, known: _Read | None) -> _Read | None:
        """The file as it is now; None when it did not change or has just been removed."""
        stamp: Stamp = (0, 0, 0)
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if known is not None and known.stamp == stamp:
                return None
            claims = parse_services(_content(path), str(path), self._namespace)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"cannot be read ({error.strerror or error}); its last good state stays"
            return _Read((0, 0, 0), self._bad(str(path), "", message))
        except DocumentError as error:
            message = f"{error.message}; the last good state of the file stays"
            return _Read(stamp, self._bad(f"{error.file}: {error.path}", error.value, message))
        return _Read(stamp, OriginReport(claims))

    def _bad(self, path: str, value: str, message: str) -> OriginReport:
        return OriginReport(problems=(Problem(self._name, path, value, message),), unreadable=True)


def _content(path: Path) -> bytes:
    """The bytes of a file that is not unreasonably big; one byte more than allowed is enough to know."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(str(path), "(file)", None, f"is bigger than {MAX_FILE_BYTES} bytes; split it")
    return data


async def _changes(watcher: RustNotify) -> None:
    """Wait in a worker thread for a change or ``RESCAN_MS``; cancelled, it sees the thread off before it goes."""
    stop = threading.Event()
    waiting = asyncio.ensure_future(asyncio.to_thread(watcher.watch, DEBOUNCE_MS, STEP_MS, RESCAN_MS, stop))
    try:
        await asyncio.shield(waiting)
    finally:
        stop.set()
        await waiting
