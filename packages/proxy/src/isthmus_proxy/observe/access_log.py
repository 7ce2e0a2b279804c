"""Access loggers: a compiled format joined to the writer of its file. One writer a path, shared by all who log there."""

from __future__ import annotations

from collections.abc import Callable

import trio

from isthmus_proxy.listener.model import AccessLogConfig
from isthmus_proxy.observe.access_logger import AccessLogger
from isthmus_proxy.observe.formatter import DEFAULT_FORMAT, Render, TextLine, compile_json, compile_text
from isthmus_proxy.observe.log_writer import LogWriter
from isthmus_proxy.observe.stats import StatsStore

LoggerFactory = Callable[[tuple[AccessLogConfig, ...]], tuple[AccessLogger, ...]]
"""How the data path opens the loggers of a listener: ``AccessLogManager.open_loggers``."""


def compile_format(config: AccessLogConfig) -> Render:
    """The renderer of one configured log. Raises ConfigError for a bad format; used by ``validate`` and by ``run``."""
    if config.json_format is not None:
        return compile_json(config.json_format, omit_empty=config.omit_empty_values)
    text = DEFAULT_FORMAT if config.text_format is None else config.text_format
    return compile_text(text, omit_empty=config.omit_empty_values)


class AccessLogManager:
    """All log files of the process. Open loggers at any time; ``run`` gives their writers a nursery."""

    def __init__(self, stats: StatsStore) -> None:
        self._file_stats = stats.scope("filesystem")
        self._log_stats = stats.scope("access_log_file")
        self._writers: dict[str, LogWriter] = {}
        self._users: dict[str, int] = {}
        self._loggers: set[AccessLogger] = set()
        self._nursery: trio.Nursery | None = None

    def open_loggers(self, configs: tuple[AccessLogConfig, ...]) -> tuple[AccessLogger, ...]:
        """One logger for each config. Raises ConfigError for a bad format; a bad path only counts as failed writes."""
        renders = [compile_format(config) for config in configs]
        loggers = tuple(
            AccessLogger(config.path, render, self._writer(config.path).write, config.matches)
            for config, render in zip(configs, renders, strict=True)
        )
        self._loggers.update(loggers)
        return loggers

    def memo_counts(self) -> dict[str, int]:
        """For how many pairs of heads the formats in use remember what their lines have in common."""
        lines = [logger.render for logger in self._loggers]
        return {"log_lines_size": sum(line.remembered for line in lines if isinstance(line, TextLine))}

    def line_writer(self, path: str) -> Callable[[bytes], None]:
        """How to write lines to ``path``, which may be shared with access logs; it stays open."""
        return self._writer(path).write

    def close_loggers(self, loggers: tuple[object, ...]) -> None:
        """Give loggers of ours up; a file without loggers is written out and closed."""
        for logger in loggers:
            if not isinstance(logger, AccessLogger):
                continue
            self._loggers.discard(logger)
            self._users[logger.path] -= 1
            if not self._users[logger.path]:
                del self._users[logger.path]
                self._writers.pop(logger.path).close()

    def reopen(self) -> None:
        """Open every file anew at its next write (SIGUSR1, after rotation)."""
        for writer in self._writers.values():
            writer.reopen()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the writers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for writer in self._writers.values():
                nursery.start_soon(writer.run)
            task_status.started()
            await trio.sleep_forever()

    def _writer(self, path: str) -> LogWriter:
        self._users[path] = self._users.get(path, 0) + 1
        writer = self._writers.get(path)
        if writer is None:
            writer = self._writers[path] = LogWriter(path, self._file_stats, self._log_stats)
            if self._nursery is not None:
                self._nursery.start_soon(writer.run)
        return writer
