"""Readings of the fields of a TypedStruct, the form of messages that Envoy lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus_proxy.config.parse import duration_seconds, join, shown
from isthmus_proxy.errors import ConfigError


def plain_fields(struct: Any) -> dict[str, Any]:
    """The fields of a Struct; whole numbers as integers, since a Struct has none."""
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Any) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain_fields(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "null_value" or kind is None:
        return None
    found = getattr(value, kind)
    return int(found) if kind == "number_value" and float(found).is_integer() else found


def struct_seconds(value: Mapping[str, Any], name: str, default: float, path: str) -> float:
    """Duration field ``name`` in seconds. Raises ConfigError for a negative one."""
    if name not in value:
        return default
    found = duration_seconds(value[name], join(path, name))
    if found < 0:
        raise ConfigError(join(path, name), shown(value[name]), "must not be negative")
    return found


def struct_integer(value: Mapping[str, Any], name: str, default: int, path: str, low: int, high: int) -> int:
    """Whole number ``name``. Raises ConfigError outside of the bounds."""
    found = value.get(name, default)
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise ConfigError(join(path, name), shown(found), f"must be a whole number from {low} to {high}")
    return found


def struct_flag(value: Mapping[str, Any], name: str, path: str, *, default: bool) -> bool:
    """Truth value ``name``. Raises ConfigError."""
    found = value.get(name, default)
    if not isinstance(found, bool):
        raise ConfigError(join(path, name), shown(found), "must be true or false")
    return found
