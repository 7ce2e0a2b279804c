"""Follows the directories of secrets and of resources written by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import watchfiles
from google.protobuf.message import Message

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.stores.base import Problem
from isthmus_controlplane.stores.directory import LOOK_ANYWAY_MS, WATCH_DEBOUNCE_MS, WATCH_STEP_MS
from isthmus_controlplane.supplement.resource_files import Given, read_resources
from isthmus_controlplane.supplement.secret_files import read_secrets
from isthmus_controlplane.supplement.supplement import NOTHING, Supplement

log = logging.getLogger(__name__)


class SupplementSource:
    """Reads the directories, and again whenever something in them changes."""

    def __init__(self, resources: str, secrets: str) -> None:
        """Prepare.

        Args:
            resources: directory of resources written by hand; empty for none.
            secrets: directory of certificates and keys; empty for none.

        Raises:
            ConfigError: there is no such directory.
        """
        for option, directory in (("--resources", resources), ("--secrets", secrets)):
            if directory and not Path(directory).is_dir():
                raise ConfigError(f"{option} {directory}: is not a directory; create it or correct the path")
        self._resources_root, self._secrets_root = Path(resources), Path(secrets)
        self._roots = [Path(directory) for directory in (resources, secrets) if directory]
        self._has_resources, self._has_secrets = bool(resources), bool(secrets)
        self._files: dict[str, tuple[Given, ...]] = {}
        self._secrets: Mapping[str, Message] = {}
        self._signature: object = None
        self.current = NOTHING

    @property
    def used(self) -> bool:
        """Whether there is anything to follow."""
        return bool(self._roots)

    def read(self, *, forced: bool = True) -> Supplement:
        """Read everything; what did not change is the same objects. Blocks: run it in a thread.

        A directory that disappears keeps what it gave.

        Args:
            forced: also where no file looks changed.
        """
        signature = tuple(each for root in self._roots for each in _signatures(root))
        if not forced and signature == self._signature:
            return self.current
        self._signature = signature
        problems: list[Problem] = []
        if self._has_resources:
            try:
                self._files, found = read_resources(self._resources_root, self._files)
                problems += found
            except OSError as error:
                problems.append(_lost(self._resources_root, error))
        if self._has_secrets:
            try:
                self._secrets, found = read_secrets(self._secrets_root, self._secrets)
                problems += found
            except OSError as error:
                problems.append(_lost(self._secrets_root, error))
        given = tuple(each for _, file in sorted(self._files.items()) for each in file)
        made = Supplement(given, self._secrets, tuple(problems))
        for problem in made.problems:
            if problem not in self.current.problems:
                log.warning("%s", problem)
        self.current = made if made != self.current else self.current
        return self.current

    async def run(self, take: Callable[[Supplement], None]) -> None:
        """Follow changes until cancelled; ``take`` is told of each state that follows the one read last."""
        known = self.current
        while True:
            try:
                known = await self._look(known, take, forced=True)
                async for batch in watchfiles.awatch(
                    *self._roots,
                    watch_filter=None,
                    debounce=WATCH_DEBOUNCE_MS,
                    step=WATCH_STEP_MS,
                    rust_timeout=LOOK_ANYWAY_MS,
                    yield_on_timeout=True,
                ):
                    known = await self._look(known, take, forced=bool(batch))
            except OSError as error:
                log.warning("%s: cannot watch: %s", ", ".join(map(str, self._roots)), error)
                await asyncio.sleep(LOOK_ANYWAY_MS / 1000)

    async def _look(self, known: Supplement, take: Callable[[Supplement], None], *, forced: bool) -> Supplement:
        found = await asyncio.to_thread(lambda: self.read(forced=forced))
        if found is not known:
            take(found)
        return found


def _lost(root: Path, error: OSError) -> Problem:
    return Problem(str(root), "", f"cannot be read: {error.strerror}; what it gave last stays in use; bring it back")


def _signatures(root: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield what tells a changed file from one that did not change."""
    try:
        for path in sorted(root.rglob("*")):
            status = path.stat()
            yield str(path), status.st_ino, status.st_mtime_ns, status.st_size
    except OSError:  # changes while we look: then it looks changed
        yield str(root), -1, -1, -1
