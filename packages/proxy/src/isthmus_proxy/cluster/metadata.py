"""Metadata values as load balancing compares them: those of google.protobuf.Value, hashable and of distinct kinds.

A string is itself, every other kind a pair of its name and what it holds, so that true, 1 and "1" are three things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["null", "bool", "number", "list", "struct"]
Value = str | tuple[Kind, "bool | float | tuple[Value, ...] | tuple[tuple[str, Value], ...] | None"]

Criteria = tuple[tuple[str, Value], ...]
"""Names and values, sorted by name: an endpoint's metadata of the namespace ``envoy.lb``, or what a route asks of it."""


def merge(base: Criteria, over: Criteria) -> Criteria:
    """Return ``base`` with the values of ``over`` added or put in place (weighted clusters refine their route)."""
    if not over:
        return base
    return tuple(sorted({**dict(base), **dict(over)}.items(), key=_name))


def of_json(values: Mapping[str, Any]) -> Criteria:
    """Names and values, sorted by name, of values as JSON has them: dynamic metadata."""
    return tuple((name, _of_json(values[name])) for name in sorted(values))


def _of_json(value: Any) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", float(value)
    if isinstance(value, list | tuple):
        return "list", tuple(_of_json(item) for item in value)
    return ("struct", of_json(value)) if isinstance(value, Mapping) else ("null", None)


def items(value: Value) -> tuple[Value, ...]:
    """Return the elements of a list, and a value of another kind as the only element."""
    if isinstance(value, tuple) and value[0] == "list":
        return value[1]  # type: ignore[return-value]
    return (value,)


def _name(item: tuple[str, Value]) -> str:
    return item[0]
