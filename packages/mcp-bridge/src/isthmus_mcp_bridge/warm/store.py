"""The warm-start file: appended to as claims change, read at the next start, compacted when it has grown.

A line that is damaged (a torn write, a bad disk) costs only what it says. The file's modification time says when the bridge
was last alive; a file older than ``max_age_s`` is not believed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.retention import Claims
from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.warm.lines import FORMAT, decode, encode, origin_entry, read_claims

log = logging.getLogger(__name__)

COMPACT_ABOVE = 16 * 1024 * 1024
"""Bytes appended, beyond the size of the compacted file, after which it is compacted again."""
AT_ONCE = 50
"""Origins put into lines before other tasks get their turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """What a warm-start file held: claims by source and origin, how old each source's are (seconds), virtual addresses
    (``until`` in Unix seconds, 0 for one in use), and lines that were damaged."""

    origins: Mapping[str, Mapping[str, Claims]]
    ages_s: Mapping[str, float]
    vips: tuple[tuple[ServiceKey, str, float], ...]
    damaged: int


class WarmStore:
    """Keeps the claims of a catalog in one file."""

    def __init__(self, path: Path, max_age_s: float, flush_s: float, epoch: Callable[[], float]) -> None:
        """``epoch`` is the clock (Unix seconds); changes are on disk ``flush_s`` seconds later at the latest."""
        self._path = path
        self._max_age_s = max_age_s
        self._flush_s = flush_s
        self._epoch = epoch
        self._base_bytes = 0
        self._loaded_bytes = 0
        self._bytes = 0
        self._states: dict[str, SourceState] = {}
        self._compacting = False
        self.failures = 0
        """Writes that failed; the bridge serves on without."""

    def load(self) -> Restored | None:
        """Read the file; None when there is none that may be believed."""
        try:
            found = self._path.stat()
            age_s, self._loaded_bytes = self._epoch() - found.st_mtime, found.st_size
            if age_s > self._max_age_s:
                log.warning("%s is %.0f s old, more than warm_start.max_age_s: starting cold", self._path, age_s)
                return None
            with self._path.open("rb") as file:
                if not file.readline(64).startswith(FORMAT.encode()):
                    log.warning("%s is no warm-start file of this version: starting cold", self._path)
                    return None
                return self._read(file, age_s)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s): starting cold", self._path, error.strerror or error)
            return None

    def _read(self, lines: Any, age_s: float) -> Restored:
        origins: dict[str, dict[str, Claims]] = {}
        ages, vips, damaged = {}, {}, 0
        for line in lines:
            try:
                kind, *values = decode(line)
                if kind == "origin":
                    source, origin, claims = values
                    origins.setdefault(source, {})[origin] = read_claims(claims)
                elif kind == "state":
                    source, live, since = values
                    ages[source] = age_s if live else max(age_s, self._epoch() - since)
                elif kind == "vip":
                    namespace, host, address, until = values
                    vips[address] = (ServiceKey(namespace, host), address, until)
            except (ValueError, TypeError, KeyError, IndexError):
                damaged += 1
        if damaged:
            log.warning("%s: %d damaged lines were passed over", self._path, damaged)
        kept = {name: {origin: one for origin, one in found.items() if one} for name, found in origins.items()}
        return Restored(kept, {name: ages.get(name, age_s) for name in kept}, tuple(vips.values()), damaged)

    def adopt(self, catalog: Catalog) -> None:
        """Say that everything in the catalog, restored just now from an undamaged file, is in that file: it need not be written anew."""
        for source in catalog.sources.values():
            source.unsaved.clear()
        self._base_bytes = self._bytes = self._loaded_bytes

    async def run(self, catalog: Catalog) -> None:
        """Write until cancelled; what is unwritten then is written before it goes."""
        try:
            if not self._base_bytes:
                await self._compact(catalog)
            while True:
                await asyncio.sleep(self._flush_s)
                if self._bytes > 2 * self._base_bytes + COMPACT_ABOVE:
                    await self._compact(catalog)
                else:
                    await self._append(catalog)
        finally:
            if self._compacting:
                self._mark_everything(catalog)
                self._replace(FORMAT.encode() + b"\n" + b"".join(self._changes(catalog)))
            else:
                self._write_now(b"".join(self._changes(catalog)))

    async def _append(self, catalog: Catalog) -> None:
        parts = []
        for number, line in enumerate(self._changes(catalog)):
            parts.append(line)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        await asyncio.to_thread(self._write_now, b"".join(parts))

    async def _compact(self, catalog: Catalog) -> None:
        """Write everything anew beside the file, then put it in the file's place."""
        parts = [FORMAT.encode() + b"\n"]
        self._compacting = True
        self._mark_everything(catalog)
        for number, line in enumerate(self._changes(catalog)):
            parts.append(line)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        data = b"".join(parts)
        if await asyncio.to_thread(self._replace, data):
            self._base_bytes = self._bytes = len(data)
        self._compacting = False

    def _mark_everything(self, catalog: Catalog) -> None:
        """Nothing counts as written any more."""
        self._states.clear()
        for source in catalog.sources.values():
            source.unsaved.clear()
            source.unsaved.update(dict.fromkeys(source.origins))
        if catalog.vips is not None:
            catalog.vips.mark_unsaved()

    def _changes(self, catalog: Catalog) -> Iterator[bytes]:
        """Lines for what is not on disk yet; what one says counts as written."""
        for source in catalog.sources.values():
            if self._states.get(source.name) is not source.state:
                self._states[source.name] = source.state
                live = source.state is SourceState.LIVE
                yield encode(["state", source.name, live, self._epoch()])
            while source.unsaved:
                origin = next(iter(source.unsaved))
                del source.unsaved[origin]
                yield encode(origin_entry(source.name, origin, source.origins_claims(origin)))
        yield from self._vip_changes(catalog)

    def _vip_changes(self, catalog: Catalog) -> Iterator[bytes]:
        if catalog.vips is None:
            return
        for address, (key, until) in catalog.vips.take_unsaved():
            yield encode(["vip", key.namespace, key.host, address, until and until + catalog.epoch_offset_s])

    def _write_now(self, data: bytes) -> None:
        """Append, and say that the bridge is alive."""
        try:
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(data)
            os.utime(self._path, (self._epoch(), self._epoch()))
            self._bytes += len(data)
        except OSError as error:
            self._failed(error)

    def _replace(self, data: bytes) -> bool:
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
            return True
        except OSError as error:
            scratch.unlink(missing_ok=True)
            self._failed(error)
            return False

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        if self.failures == 1:
            log.error("%s cannot be written (%s): the next start will be cold", self._path, error.strerror or error)
