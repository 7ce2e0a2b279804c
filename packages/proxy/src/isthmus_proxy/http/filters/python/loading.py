"""Finds filters in installed packages, by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.extension.http_filter import ENTRY_POINT_GROUP, HttpFilter


def load_filter(name: str, path: str) -> type[HttpFilter[Any]]:
    """The class behind the entry point ``name``. Raises ConfigError at ``path``."""
    found = [each for each in entry_points(group=ENTRY_POINT_GROUP) if each.name == name]
    if not found:
        known = ", ".join(sorted({each.name for each in entry_points(group=ENTRY_POINT_GROUP)})) or "none"
        reason = f"no installed package has this entry point in the group {ENTRY_POINT_GROUP}; installed: {known}"
        raise ConfigError(path, f'"{name}"', reason)
    if len({each.value for each in found}) > 1:
        places = " and ".join(sorted(each.value for each in found))
        raise ConfigError(path, f'"{name}"', f"several installed packages have this entry point: {places}")
    try:
        kind = found[0].load()
    except Exception as error:
        raise ConfigError(path, f'"{name}"', f"{found[0].value} cannot be imported: {_told(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, HttpFilter)):
        raise ConfigError(path, f'"{name}"', f"{found[0].value} is no isthmus_proxy.extension.HttpFilter")
    return kind


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
