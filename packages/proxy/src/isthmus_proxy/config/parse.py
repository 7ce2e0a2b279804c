"""Plain values into protobuf messages, by the rules of protobuf's JSON mapping, with errors that name field path and value.

Written out because the runtime's own parser names neither the path nor the value, and needs every extension imported.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from isthmus_proxy.config.extensions import message_class
from isthmus_proxy.errors import ConfigError

MAX_DEPTH = 100  # as deep as the protobuf decoder goes
_INTEGER_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_BY_RUNTIME = frozenset(
    f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue", "Timestamp", "FieldMask", "Empty")
)


def fill(message: Message, value: object, path: str = "", depth: int = 0) -> None:
    """Set the fields of ``message`` from ``value``. Raises ConfigError below ``path``."""
    if depth > MAX_DEPTH:
        raise ConfigError(path, "", f"is nested more than {MAX_DEPTH} deep")
    special = _special(message.DESCRIPTOR.full_name)
    if special is not None:
        special(message, value, path, depth)
        return
    if not isinstance(value, Mapping):
        raise _wrong(path, value, f"a mapping with the fields of {message.DESCRIPTOR.full_name}")
    chosen: dict[str, str] = {}
    for name, item in value.items():
        field = _field(message.DESCRIPTOR, name, path)
        if item is None:
            continue  # protobuf's JSON null: the field is not set
        oneof = field.containing_oneof
        if oneof is not None and chosen.setdefault(oneof.name, name) != name:
            reason = f"only one of {chosen[oneof.name]} and {name} may be set"
            raise ConfigError(join(path, name), shown(item), reason)
        _set(message, field, item, join(path, field.name), depth)


def join(path: str, name: str) -> str:
    """Return the path of field ``name`` below ``path``."""
    return f"{path}.{name}" if path else name


def shown(value: object) -> str:
    """Return ``value`` as short text for an error."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _wrong(path: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(path or "(top level)", shown(value), f"must be {wanted}")


def _field(descriptor: Any, name: object, path: str) -> FieldDescriptor:
    field: FieldDescriptor | None = descriptor.fields_by_name.get(str(name)) or descriptor.fields_by_camelcase_name.get(
        str(name)
    )
    if field is None:
        from difflib import get_close_matches  # noqa: PLC0415 - only for the error

        near = get_close_matches(str(name), [each.name for each in descriptor.fields], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(join(path, str(name)), "", f"is not a field of {descriptor.full_name}{hint}")
    return field


def _set(message: Message, field: FieldDescriptor, value: object, path: str, depth: int) -> None:
    if _is_map(field):
        _fill_map(message, field, value, path, depth)
    elif field.is_repeated:
        if not isinstance(value, list):
            raise _wrong(path, value, "a list")
        target = getattr(message, field.name)
        for index, item in enumerate(value):
            place = f"{path}[{index}]"
            if field.message_type is not None:
                fill(target.add(), item, place, depth + 1)
            else:
                target.append(_scalar(field, item, place))
    elif field.message_type is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        fill(target, value, path, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, value, path))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _fill_map(message: Message, field: FieldDescriptor, value: object, path: str, depth: int) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(path, value, "a mapping")
    target = getattr(message, field.name)
    entry: Any = field.message_type
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for name, item in value.items():
        place = f'{path}["{name}"]'
        key = _scalar(key_field, name, place)
        if value_field.message_type is not None:
            fill(target[key], item, place, depth + 1)
        else:
            target[key] = _scalar(value_field, item, place)


def _scalar(field: FieldDescriptor, value: object, path: str) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _bytes(value, path) if field.type == FieldDescriptor.TYPE_BYTES else _string(value, path)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise _wrong(path, value, "true or false")
        return value
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, value, path)
    if kind in _INTEGER_BITS:
        return _integer(value, path, *_INTEGER_BITS[kind])
    return _number(value, path)


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, value, "text (put it in quotes)")
    return value


def _bytes(value: object, path: str) -> bytes:
    try:
        return base64.b64decode(_string(value, path), validate=True)
    except binascii.Error as error:
        raise _wrong(path, value, "base64 text") from error


def _enum(field: FieldDescriptor, value: object, path: str) -> int:
    enum: Any = field.enum_type
    values = enum.values_by_name
    if isinstance(value, str) and value in values:
        return int(values[value].number)
    if isinstance(value, int) and not isinstance(value, bool) and value in enum.values_by_number:
        return value
    raise _wrong(path, value, "one of " + ", ".join(values))


def _integer(value: object, path: str, low: int, high: int) -> int:
    number = value
    if (isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value, re.ASCII)) or (
        isinstance(value, float) and value.is_integer()
    ):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise _wrong(path, value, f"a whole number from {low} to {high}")
    return number


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong(path, value, "a number")
    try:
        return float(value)
    except ValueError as error:
        raise _wrong(path, value, "a number") from error


_Special = Callable[[Any, object, str, int], None]


def _special(name: str) -> _Special | None:
    if name in _WRAPPERS:
        return _fill_wrapper
    if name in _BY_RUNTIME:
        return _fill_by_runtime
    return {"google.protobuf.Any": _fill_any, "google.protobuf.Duration": _fill_duration}.get(name)


def _fill_wrapper(message: Any, value: object, path: str, _depth: int) -> None:
    message.value = _scalar(message.DESCRIPTOR.fields_by_name["value"], value, path)


def duration_seconds(value: object, path: str) -> float:
    """The seconds of a duration that is written as text. Raises ConfigError."""
    sign, whole, nanos = _duration(value, path)
    return sign * (whole + nanos / 1e9)


def _duration(value: object, path: str) -> tuple[int, int, int]:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong(path, value, 'a duration in seconds, such as "0.25s"')
    return -1 if found[1] else 1, int(found[2]), int((found[3] or "0").ljust(9, "0"))


def _fill_duration(message: Any, value: object, path: str, _depth: int) -> None:
    sign, whole, nanos = _duration(value, path)
    message.seconds = sign * whole
    message.nanos = sign * nanos


def _fill_any(message: Any, value: object, path: str, depth: int) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(path, value, 'a mapping with "@type" and the fields of that message')
    type_url = value.get("@type")
    if not isinstance(type_url, str):
        raise ConfigError(join(path, "@type"), shown(type_url), 'must be a type URL, "type.googleapis.com/envoy..."')
    inner = message_class(type_url, join(path, "@type"))()
    fill(inner, {name: item for name, item in value.items() if name != "@type"}, path, depth + 1)
    message.type_url = type_url
    message.value = inner.SerializeToString(deterministic=True)


def _fill_by_runtime(message: Message, value: Any, path: str, _depth: int) -> None:
    from google.protobuf import json_format  # noqa: PLC0415 - few files have such a field

    try:
        json_format.ParseDict(value, message)
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        raise _wrong(path, value, f"a {message.DESCRIPTOR.name} ({error})") from error
