"""Operators of what filters said of an exchange: ``DYNAMIC_METADATA(namespace:key:...)`` and ``FILTER_STATE(key:PLAIN)``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from isthmus_proxy.http.stream_info import StreamInfo

Value = str | int | None
Reader = Callable[[StreamInfo], Value]


def _dynamic_metadata(argument: str) -> Reader:
    namespace, *path = argument.split(":")

    def read(info: StreamInfo) -> Value:
        return None if info.dynamic_metadata is None else _shown(info.metadata(namespace, *path))

    return read


def _filter_state(argument: str) -> Reader:
    key, _, form = argument.partition(":")
    if form not in ("", "PLAIN", "TYPED"):
        message = f"Invalid filter state serialize type, only support PLAIN/TYPED: {form}"
        raise ValueError(message)

    def read(info: StreamInfo) -> Value:
        return None if info.filter_state is None else info.filter_state.get(key)

    return read


def _shown(value: Any) -> Value:
    """A text as it is; numbers without a needless point; everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return json.dumps(value, separators=(",", ":"))


OF_FILTERS = {"DYNAMIC_METADATA": _dynamic_metadata, "FILTER_STATE": _filter_state}
"""Operators that need an argument and may be cut to a length."""
