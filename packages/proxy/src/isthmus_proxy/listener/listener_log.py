"""The access log of a listener: a line for each connection at its end, whatever its network filter is (Listener.access_log)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from isthmus_proxy.http.stream_info import StreamInfo, connection_info
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import AccessLogConfig


class AccessLog(Protocol):
    """Where an ended connection is reported."""

    def log(self, info: StreamInfo, /) -> None:
        """Report it."""


class AccessLogs(Protocol):
    """Opens and closes loggers (``observe.access_log.AccessLogManager``)."""

    def open_loggers(self, configs: tuple[AccessLogConfig, ...], /) -> tuple[AccessLog, ...]:
        """One logger for each config."""

    def close_loggers(self, loggers: tuple[AccessLog, ...], /) -> None:
        """Give loggers up."""


class ListenerLog:
    """The loggers of one version of a listener. ``clock`` gives the present as (monotonic, wall-clock) seconds."""

    __slots__ = ("_access_logs", "_clock", "_loggers", "configs")

    def __init__(
        self,
        configs: tuple[AccessLogConfig, ...],
        access_logs: AccessLogs,
        clock: Callable[[], tuple[float, float]],
    ) -> None:
        """Raises ConfigError for a bad format."""
        self.configs = configs
        self._access_logs = access_logs
        self._loggers = access_logs.open_loggers(configs) if configs else ()
        self._clock = clock

    def ended(self, seconds: float, describe: Callable[[], StreamInfo]) -> None:
        """Log a connection that lasted for ``seconds``. ``describe`` is asked only if there is a logger."""
        if not self._loggers:
            return
        info = describe()
        now, wall = self._clock()
        info.started_at, info.start_time, info.ended_at = now - seconds, wall - seconds, now
        for logger in self._loggers:
            logger.log(info)

    def close(self) -> None:
        """Give the loggers back."""
        loggers, self._loggers = self._loggers, ()
        if loggers:
            self._access_logs.close_loggers(loggers)


def accepted_info(accepted: AcceptedSocket) -> StreamInfo:
    """What is known of every connection; the log sets its times."""
    info = connection_info(accepted.connection_id, str(accepted.remote), str(accepted.local))
    info.downstream_direct_remote = str(accepted.direct_remote)
    return info


def unmatched(accepted: AcceptedSocket) -> StreamInfo:
    """A connection for which no filter chain was found. It was never one of the listener's, so it has no id."""
    info = accepted_info(accepted)
    info.connection_id = 0
    info.flag("NR")
    info.response_code_details = "filter_chain_not_found"
    return info
