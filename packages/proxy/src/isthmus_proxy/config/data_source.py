"""Reads config.core.v3.DataSource."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError


def read_data_source(source: Any, path: str, limit: int) -> bytes:
    """The bytes of ``source``. Raises ConfigError if there are none, or more than ``limit``."""
    chosen = source.WhichOneof("specifier")
    if chosen == "inline_string":
        data = str(source.inline_string).encode()
    elif chosen == "inline_bytes":
        data = bytes(source.inline_bytes)
    elif chosen == "filename":
        data = _read(source.filename, join(path, chosen), limit)
    else:
        raise ConfigError(path, "", "needs one of filename, inline_bytes and inline_string")
    if len(data) > limit:
        raise ConfigError(join(path, chosen), "", f"is longer than {limit} bytes")
    return data


def _read(name: str, path: str, limit: int) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(path, shown(name), f"cannot be read: {error.strerror}") from error
