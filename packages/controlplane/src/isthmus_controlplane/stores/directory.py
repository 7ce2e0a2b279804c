"""A directory of YAML files as a store: watched, read again when something changes, written atomically."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import watchfiles

from isthmus_controlplane.errors import ConfigError, StoreError
from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.stores.base import (
    ConfigObject,
    ObjectKey,
    Problem,
    Publish,
    StoreState,
    check_expected,
    keep_identity,
)
from isthmus_controlplane.stores.directory_files import FileContent, merge_files, patched, read_file, unreadable
from isthmus_controlplane.stores.yaml_text import dump, load_documents, remove_document, replace_document

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 10_000
# A burst of events is one change. Watches can miss some (network file systems, renamed parents), so we look anyway.
WATCH_DEBOUNCE_MS = 50
WATCH_STEP_MS = 10
LOOK_ANYWAY_MS = 2_000
LIST_EVERY_S = 10.0  # while events keep coming
NEW_FILE_MODE = 0o600

_Signature = tuple[int, int, int]


class DirectoryStore:
    """Implements `isthmus_controlplane.stores.base.WritableStore`.

    A file that is bad keeps what it gave when it was good last; a directory that disappears keeps everything.
    """

    def __init__(self, source: str) -> None:
        """Prepare a store.

        Args:
            source: ``dir:PATH``.

        Raises:
            ConfigError: there is no such directory.
        """
        self.source = source
        self._root = Path(source.removeprefix("dir:"))
        if not self._root.is_dir():
            raise ConfigError(f"--store {source}: {self._root} is not a directory; create it or correct the path")
        self._files: dict[str, FileContent] = {}
        self._signatures: dict[str, _Signature] = {}
        self._listed_at = -LIST_EVERY_S
        self._owners: dict[ObjectKey, str] = {}
        self._state = StoreState(source, synced=False, objects=MappingProxyType({}))
        self._publish: Publish | None = None
        self._busy = asyncio.Lock()

    async def run(self, publish: Publish) -> None:
        """Read everything, then follow changes until cancelled; see `Store.run`."""
        self._publish = publish
        try:
            await self._refresh(())
            while True:
                try:
                    await self._watch()
                except OSError as error:
                    log.warning("%s: cannot watch: %s; looking every %d ms", self.source, error, LOOK_ANYWAY_MS)
                    await asyncio.sleep(LOOK_ANYWAY_MS / 1000)
                    await self._refresh(())
        finally:
            self._publish = None

    async def _watch(self) -> None:
        changes = watchfiles.awatch(
            self._root,
            watch_filter=None,
            debounce=WATCH_DEBOUNCE_MS,
            step=WATCH_STEP_MS,
            rust_timeout=LOOK_ANYWAY_MS,
            yield_on_timeout=True,
        )
        async for batch in changes:
            await self._refresh(path for _, path in batch)

    async def _refresh(self, touched: Iterable[str]) -> None:
        """Read what changed, and publish when that made a difference. ``touched`` is read whatever its time stamp."""
        async with self._busy:
            before = dict(self._files)
            await asyncio.to_thread(self._read, list(touched))
            if before != self._files or self._lost() or not self._state.synced or self._state.problems:
                self._announce(before)

    def _announce(self, before: Mapping[str, FileContent]) -> None:
        objects = patched(self._state.objects, before, self._files, self._owners) if self._state.synced else None
        problems: tuple[Problem, ...] = ()
        if objects is None:
            merged, self._owners, problems = merge_files(self._files, self._owners)
            objects = keep_identity(self._state.objects, merged)
        state = StoreState(self.source, synced=True, objects=objects, problems=(*self._lost(), *problems))
        if self._publish is not None and state != self._state:
            for problem in state.problems:
                if problem not in self._state.problems:
                    log.warning("%s", problem)
            self._state = state
            self._publish(state)

    def _lost(self) -> tuple[Problem, ...]:
        return () if self._root.is_dir() else (self._missing(),)

    def _missing(self) -> Problem:
        text = "is no directory any more; the last configuration stays in use; bring it back"
        return Problem(str(self._root), "", text)

    def _read(self, touched: Sequence[str]) -> None:
        """Read new and changed files; runs in a thread."""
        if not self._root.is_dir():
            return
        named = self._named(touched) if time.monotonic() - self._listed_at < LIST_EVERY_S else None
        if named is None:
            self._read_all({Path(path).absolute() for path in touched})
            return
        for name, path in named.items():
            signature = _signature(path)
            if signature is None:
                self._forget(name)
            else:
                self._take(name, path, signature)

    def _named(self, touched: Sequence[str]) -> dict[str, Path] | None:
        """Name the files that a batch of events is about; None when a whole look is needed."""
        root, named = self._root.absolute(), {}
        for text in touched:
            path = Path(text)
            if not path.is_relative_to(root) or path.is_dir() or path.is_symlink():
                return None
            relative = path.relative_to(root)
            if path.suffix in SUFFIXES and not _is_hidden(relative):
                named[str(self._root / relative)] = self._root / relative
            elif not _is_hidden(relative) and not path.exists():  # perhaps a directory that is gone
                return None
        fits = len(self._files) + len(named) <= MAX_FILES
        return named if named and fits else None

    def _read_all(self, forced: set[Path]) -> None:
        self._listed_at = time.monotonic()
        found = dict(self._listed())
        for name in [name for name in self._files if name not in found]:
            self._forget(name)
        for name, (path, signature) in found.items():
            if self._signatures.get(name) != signature or path.absolute() in forced:
                self._take(name, path, signature)

    def _take(self, name: str, path: Path, signature: _Signature) -> None:
        self._files[name] = self._read_one(name, path)
        self._signatures[name] = signature

    def _forget(self, name: str) -> None:
        self._files.pop(name, None)
        self._signatures.pop(name, None)

    def _listed(self) -> Iterator[tuple[str, tuple[Path, _Signature]]]:
        """Yield the configuration files with what tells a changed one; hidden files are left out."""
        count = 0
        for path in sorted(self._root.rglob("*")):
            relative = path.relative_to(self._root)
            if path.suffix not in SUFFIXES or _is_hidden(relative):
                continue
            signature = _signature(path)
            if signature is None:
                continue
            count += 1
            if count > MAX_FILES:
                log.error("%s: more than %d files; the rest is not read: split the directory", self.source, MAX_FILES)
                return
            yield str(path), (path, signature)

    def _read_one(self, name: str, path: Path) -> FileContent:
        last = self._files.get(name, FileContent())
        try:
            data = path.read_bytes()
        except OSError as error:
            return unreadable(name, f"cannot be read: {error.strerror}: check its mode and owner", last)
        return read_file(name, data, last)

    async def apply(self, objects: Sequence[ConfigObject], expected: Mapping[ObjectKey, str | None]) -> None:
        """Write objects where they stand, or into files of their own; see `WritableStore.apply`."""
        await self._refresh(())  # numbers of documents must be those of the text that is edited
        async with self._busy:
            check_expected(self._state.objects, expected)
            texts: dict[Path, str] = {}
            for obj in objects:
                path, number = self._place(obj.key)
                document = dump(to_document(obj))
                before = texts.get(path) or (_read_text(path) if number is not None else "")
                texts[path] = replace_document(before, number, document) if number is not None else document
            await asyncio.to_thread(_write_all, texts)
        await self._refresh(str(path) for path in texts)

    async def delete(self, key: ObjectKey) -> None:
        """Remove an object from its file, and the file with the last one; see `WritableStore.delete`."""
        await self._refresh(())
        async with self._busy:
            if key not in self._state.objects:
                raise KeyError(key)
            path, number = self._place(key)
            assert number is not None
            rest = remove_document(_read_text(path), number)
            if load_documents(rest):
                await asyncio.to_thread(_write_all, {path: rest})
            else:
                path.unlink(missing_ok=True)
        await self._refresh([str(path)])

    def _place(self, key: ObjectKey) -> tuple[Path, int | None]:
        """Where an object stands: its file and document number, or the file to make for it."""
        owner = self._owners.get(key)
        if owner is None:
            return self._root / f"{key.kind.lower()}-{key.namespace}-{key.name}.yaml", None
        content = self._files[owner]
        if content.problems:
            raise StoreError(f"{content.problems[0]}; mend this file first: {key} stands in it")
        return Path(owner), content.numbers[key]


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _signature(path: Path) -> _Signature | None:
    """What tells a changed file; None for one that is gone, or for a dangling link."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}; nothing was written") from error


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all files beside their places first, then move them there, so that a full disk changes nothing."""
    written: list[tuple[str, Path]] = []
    try:
        for path, text in texts.items():
            written.append((_write_beside(path, text), path))
        for temporary, path in written:
            Path(temporary).replace(path)
    except OSError as error:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(f"cannot write: {error}; check space and permissions") from error


def _write_beside(path: Path, text: str) -> str:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else NEW_FILE_MODE)
    return name
