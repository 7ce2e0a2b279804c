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


def metadata_value(argument: str) -> Callable[[StreamInfo], object]:
    """Reads dynamic metadata as JSON has it, keys sorted as Envoy's: for JSON formats."""
    namespace, *path = argument.split(":")
    return lambda info: None if info.dynamic_metadata is None else _in_order(info.metadata(namespace, *path))


def _in_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _filter_state(argument: str) -> Reader:
    key, _, form = argument.partition(":")
    if form not in ("", "PLAIN", "TYPED"):
        message = f"Invalid filter state serialize type, only support PLAIN/TYPED: {form}"
        raise ValueError(message)

    def read(info: StreamInfo) -> Value:
        value = None if info.filter_state is None else info.filter_state.get(key)
        return value if isinstance(value, str) else None

    return read


def _shown(value: Any) -> Value:
    """A text as it is; numbers without a needless point; everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return json.dumps(_in_order(value), separators=(",", ":"), sort_keys=True)


OF_FILTERS = {"DYNAMIC_METADATA": _dynamic_metadata, "FILTER_STATE": _filter_state}
"""Operators that need an argument and may be cut to a length."""
