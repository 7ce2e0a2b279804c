"""Access loggers: a compiled format joined to the writer of its file. One writer a path, shared by all who log there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import AccessLogConfig, GrpcLogTarget
from isthmus_proxy.observe.access_logger import AccessLogger
from isthmus_proxy.observe.formatter import DEFAULT_FORMAT, Render, TextLine, compile_json, compile_text
from isthmus_proxy.observe.log_writer import BOUNDS, LogBounds, LogWriter
from isthmus_proxy.observe.stats import StatsStore

LoggerFactory = Callable[[tuple[AccessLogConfig, ...]], tuple["Logger", ...]]
"""How the data path opens the loggers of a listener: ``AccessLogManager.open_loggers``."""


def compile_format(config: AccessLogConfig) -> Render:
    """The renderer of one configured log. Raises ConfigError for a bad format; used by ``validate`` and by ``run``."""
    if config.json_format is not None:
        return compile_json(config.json_format, omit_empty=config.omit_empty_values)
    text = DEFAULT_FORMAT if config.text_format is None else config.text_format
    return compile_text(text, omit_empty=config.omit_empty_values)


class Logger(Protocol):
    """One configured access log."""

    def log(self, info: StreamInfo) -> None:
        """Queue what it says of an exchange; never blocks."""


class LogService(Protocol):
    """A stream to a log service (``observe.als_stream.AlsStream``)."""

    def add(self, info: StreamInfo) -> None:
        """Queue an entry; never blocks."""

    def close(self) -> None:
        """Nobody logs to it any more."""


def _no_service(_target: GrpcLogTarget) -> LogService:
    raise NotImplementedError("nothing here knows clusters")


class ServiceLogger:
    """One configured access log of a log service."""

    __slots__ = ("_add", "_matches", "target")

    def __init__(
        self,
        target: GrpcLogTarget,
        add: Callable[[StreamInfo], None],
        matches: Callable[[StreamInfo], bool] | None,
    ) -> None:
        self.target = target
        self._add = add
        self._matches = matches

    def log(self, info: StreamInfo) -> None:
        """Queue the entry of ``info`` if the filter lets it through."""
        if self._matches is None or self._matches(info):
            self._add(info)


class AccessLogManager:
    """All log files and log services of the process. Open loggers at any time; ``run`` gives their writers a nursery.

    ``log_service`` opens the stream to a service.
    """

    def __init__(self, stats: StatsStore, bounds: LogBounds = BOUNDS) -> None:
        self._bounds = bounds
        self._file_stats = stats.scope("filesystem")
        self._log_stats = stats.scope("access_log_file")
        self._writers: dict[str, LogWriter] = {}
        self._users: dict[str, int] = {}
        self._loggers: set[AccessLogger] = set()
        self._services: dict[GrpcLogTarget, tuple[LogService, int]] = {}  # with how many use it
        self.log_service: Callable[[GrpcLogTarget], LogService] = _no_service
        self._nursery: trio.Nursery | None = None

    def open_loggers(self, configs: tuple[AccessLogConfig, ...]) -> tuple[Logger, ...]:
        """One logger for each config. Raises ConfigError for a bad format; a bad path only counts as failed writes."""
        renders = [compile_format(config) if config.grpc is None else None for config in configs]
        return tuple(self._open(config, render) for config, render in zip(configs, renders, strict=True))

    def _open(self, config: AccessLogConfig, render: Callable[[StreamInfo], bytes] | None) -> Logger:
        if config.grpc is not None:
            logger, users = self._services.get(config.grpc, (None, 0))
            if logger is None:
                logger = self.log_service(config.grpc)
            self._services[config.grpc] = logger, users + 1
            return ServiceLogger(config.grpc, logger.add, config.matches)
        if render is None:
            raise ValueError("a log without a format")
        made = AccessLogger(config.path, render, self._writer(config.path).write, config.matches)
        self._loggers.add(made)
        return made

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
            if isinstance(logger, ServiceLogger):
                self._leave(logger.target)
            if not isinstance(logger, AccessLogger):
                continue
            self._loggers.discard(logger)
            self._users[logger.path] -= 1
            if not self._users[logger.path]:
                del self._users[logger.path]
                self._writers.pop(logger.path).close()

    def _leave(self, target: GrpcLogTarget) -> None:
        service, users = self._services[target]
        if users > 1:
            self._services[target] = service, users - 1
            return
        del self._services[target]
        service.close()

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
            writer = self._writers[path] = LogWriter(path, self._file_stats, self._log_stats, self._bounds)
            if self._nursery is not None:
                self._nursery.start_soon(writer.run)
        return writer
