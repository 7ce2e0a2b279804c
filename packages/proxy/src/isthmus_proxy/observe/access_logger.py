"""One configured access log on the data path: a compiled format joined to the buffer of its file."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.http.stream_info import StreamInfo


class AccessLogger:
    """Logs one line per exchange for which its filter holds; ``log`` queues it and returns without touching the disk."""

    __slots__ = ("_matches", "_write", "path", "render")

    def __init__(
        self,
        path: str,
        render: Callable[[StreamInfo], bytes],
        write: Callable[[bytes], None],
        matches: Callable[[StreamInfo], bool] | None = None,
    ) -> None:
        self.path = path
        self.render = render
        self._write = write
        self._matches = matches

    def log(self, info: StreamInfo) -> None:
        """Queue the line of ``info`` if the filter lets it through."""
        if self._matches is None or self._matches(info):
            self._write(self.render(info))
