"""Metadata values as load balancing compares them: those of google.protobuf.Value, hashable and of distinct kinds.

A string is itself, every other kind a pair of its name and what it holds, so that true, 1 and "1" are three things.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["null", "bool", "number", "list", "struct"]
Value = str | tuple[Kind, "bool | float | tuple[Value, ...] | tuple[tuple[str, Value], ...] | None"]

Criteria = tuple[tuple[str, Value], ...]
"""Names and values, sorted by name: an endpoint's metadata of the namespace ``envoy.lb``, or what a route asks of it."""


def merge(base: Criteria, over: Criteria) -> Criteria:
    """Return ``base`` with the values of ``over`` added or put in place (weighted clusters refine their route)."""
    if not over:
        return base
    return tuple(sorted({**dict(base), **dict(over)}.items(), key=_name))


def items(value: Value) -> tuple[Value, ...]:
    """Return the elements of a list, and a value of another kind as the only element."""
    if isinstance(value, tuple) and value[0] == "list":
        return value[1]  # type: ignore[return-value]
    return (value,)


def _name(item: tuple[str, Value]) -> str:
    return item[0]
