"""Tells when files change: looks at them once a second, which follows renames and links alike, and only where somebody watches."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable

from isthmus_proxy.reactor.reactor import Reactor

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0


class Watched:
    """Some files that are watched together."""

    __slots__ = ("_changed", "_paths", "_seen")

    def __init__(self, paths: Iterable[str], changed: Callable[[], None]) -> None:
        self._paths = tuple(paths)
        self._changed = changed
        self._seen = self._look()

    def look(self) -> None:
        """Call back if something is not as it was."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._changed()

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_state, self._paths))


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second and file: no object for it
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class FileWatch:
    """See the module."""

    __slots__ = ("_reactor", "_watched")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._watched: list[Watched] = []

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, paths: Iterable[str], changed: Callable[[], None]) -> Watched:
        """Call ``changed`` whenever one of ``paths`` is another file, or has another content, than before."""
        watched = Watched(paths, changed)
        if not self._watched:
            self._reactor.call_later(INTERVAL_S, self._look)
        self._watched.append(watched)
        return watched

    def forget(self, watched: Watched) -> None:
        """Watch it no more."""
        if watched in self._watched:
            self._watched.remove(watched)

    def _look(self) -> None:
        for watched in list(self._watched):
            try:
                watched.look()
            except Exception:  # noqa: BLE001 - whatever one watcher does, the others go on
                _log.exception("a change of files could not be followed")
        if self._watched:
            self._reactor.call_later(INTERVAL_S, self._look)
