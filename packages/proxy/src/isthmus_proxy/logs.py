"""Log lines of the proxy itself on standard error: text as Envoy's, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}
"""Envoy's level names."""

LogFormat = Literal["text", "json"]


class TextFormatter(logging.Formatter):
    """``[2026-11-23 20:42:41.663][info][isthmus_proxy.xds.client] message``, in UTC."""

    def __init__(self) -> None:
        self.converter = time.gmtime
        super().__init__("[%(asctime)s.%(msecs)03d][%(lowername)s][%(name)s] %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        record.lowername = record.levelname.lower()
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """``{"time":...,"level":...,"logger":...,"message":...}``, with ``exception`` where there is one."""

    def __init__(self) -> None:
        self.converter = time.gmtime
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        document = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def configure(level: str, log_format: LogFormat) -> None:
    """Send the proxy's log to standard error from ``level`` (a key of ``LEVELS``) upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logger = logging.getLogger("isthmus_proxy")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(LEVELS[level])
