"""Optional fields with defaults."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus_mcp_bridge.document import Field


def integer(fields: Mapping[str, Field], name: str, low: int, high: int, default: int) -> int:
    """The field as a whole number within bounds, or the default. Raises DocumentError."""
    return fields[name].integer(low, high) if name in fields else default


def number(fields: Mapping[str, Field], name: str, low: float, high: float, default: float) -> float:
    """The field as a number within bounds, or the default. Raises DocumentError."""
    return fields[name].number(low, high) if name in fields else default
