"""Keeps the last good configuration in a file: written whole or not at all, readable by its owner only."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.xds.apply import Discovery
from isthmus_proxy.xds.last_good import MAX_BYTES, ORDER, LastGood, Owner, decode, encode
from isthmus_proxy.xds.resources import Stored

_log = logging.getLogger(__name__)

QUIET_S = 1.0
"""Seconds from the first change to the write: a burst of updates is written once."""


class LastGoodFile:
    """``changed`` is to be called after every update, ``restore`` when the control plane cannot be had at the start."""

    def __init__(
        self, path: Path, owner: Owner, discovery: Discovery, stats: StatsStore, wall_clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._owner = owner
        self._discovery = discovery
        self._wall_clock = wall_clock
        scope = stats.scope("xds_cache")
        self._written = scope.counter("write_success")
        self._failed = scope.counter("write_failure")
        self._refused = scope.counter("read_failure")
        self._restored = scope.counter("restored_resources")
        self._serving = scope.gauge("serving")
        self._changed = trio.Event()
        self._complained = False
        self.restored_from: float | None = None

    @property
    def serving(self) -> bool:
        """Whether what is in service comes from the file, and the control plane has said nothing yet."""
        return bool(self._serving.value)

    def restore(self) -> bool:
        """Take the file's configuration into service; False if there is none that can be used."""
        saved = self._read()
        if saved is None:
            return False
        self._discovery.restore(saved.responses(self._discovery.session.variant))
        self.restored_from = saved.saved_at
        self._restored.value += saved.resource_count
        self._serving.value = 1
        return True

    def heard(self) -> None:
        """The control plane has answered: the file is the past."""
        self._serving.value = 0

    def changed(self) -> None:
        """Something was received or given up."""
        if not self._serving.value:
            self._changed.set()

    async def run(self) -> None:
        """Write after changes until cancelled, and once more then if there is something to write."""
        try:
            while True:
                await self._changed.wait()
                await trio.sleep(QUIET_S)
                if self._take_change():
                    await trio.to_thread.run_sync(self._write, self._encode())
        finally:
            if self._take_change():
                self._write(self._encode())

    def _take_change(self) -> bool:
        """Whether there is something to write. What is still incomplete would be a worse start than the file of before."""
        if not self._changed.is_set() or not self._discovery.initialized:
            self._changed = trio.Event()
            return False
        self._changed = trio.Event()
        return True

    def _encode(self) -> bytes:
        session = self._discovery.session
        accepted: list[tuple[str, Mapping[str, Stored]]] = [(url, session.accepted(url)) for url in ORDER]
        return encode(self._owner, self._wall_clock(), accepted)

    def _write(self, data: bytes) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            if len(data) > MAX_BYTES:
                raise OSError(0, f"{len(data)} bytes are more than {MAX_BYTES}")  # noqa: TRY301 - counted like the others
            _write_synced(temporary, data)
            temporary.replace(self._path)
        except OSError as error:
            self._failed.value += 1
            temporary.unlink(missing_ok=True)
            if not self._complained:
                _log.warning("the last good configuration cannot be kept in %s: %s", self._path, error.strerror)
            self._complained = True
        else:
            self._written.value += 1
            self._complained = False

    def _read(self) -> LastGood | None:
        try:
            saved = decode(_read_own(self._path))
            if saved.owner != self._owner:
                reason = f"is that of node {saved.owner.node_id!r} in cluster {saved.owner.node_cluster!r}"
                raise ValueError(reason)  # noqa: TRY301 - reported like the others
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._refused.value += 1
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            _log.warning("the last good configuration in %s %s; starting without it", self._path, reason)
            return None
        return saved


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_own(path: Path) -> bytes:
    """The bytes of a file that nobody else can have written. Raises OSError, ValueError."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            reason = f"is not a file of at most {MAX_BYTES} bytes"
            raise ValueError(reason)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            reason = "could have been written by others; it must be ours, with mode 0600"
            raise ValueError(reason)
        return file.read()
