"""Turn the ``spec`` of a YAML document into a protobuf message, with the path of whatever does not fit."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from isthmus_controlplane.model.duration import with_json_durations
from isthmus_controlplane.model.fields import FieldProblem, shown

MAX_DEPTH = 32

_EXPECTED = {
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number from 0",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number from 0",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
}


def parse_spec(value: object, message: type[Message], path: str = "spec") -> tuple[Message | None, list[FieldProblem]]:
    """Parse a YAML value as ``message``; returns it, or None and every field that does not fit."""
    value = _with_text_keys(with_json_durations(value, message.DESCRIPTOR), message.DESCRIPTOR, 0)
    problems = list(_check(value, message.DESCRIPTOR, path, 0))
    if problems:
        return None, problems
    assert isinstance(value, dict)
    parsed = message()
    try:
        json_format.ParseDict(value, parsed)
    except json_format.ParseError as error:  # a rule over several fields, such as two members of a oneof
        return None, [FieldProblem(path, str(error))]
    return parsed, []


def _with_text_keys(value: object, descriptor: Any, depth: int) -> object:
    """Write the numbers that are keys of maps, such as ports, as text: that is their JSON form."""
    if not isinstance(value, dict) or depth > MAX_DEPTH or not _has_number_keys(descriptor):
        return value
    by_name = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    return {name: _field_with_text_keys(item, by_name.get(name), depth) for name, item in value.items()}


def _field_with_text_keys(value: object, field: Any, depth: int) -> object:
    if field is None or field.message_type is None:
        return value
    if isinstance(value, dict) and _is_map_by_number(field):
        return {str(key) if type(key) is int else key: item for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item, field.message_type, depth + 1) for item in value]
    return _with_text_keys(value, field.message_type, depth + 1)


def _is_map_by_number(field: Any) -> bool:
    nested = field.message_type
    if nested is None or not nested.GetOptions().map_entry:
        return False
    return bool(nested.fields_by_name["key"].cpp_type != FieldDescriptor.CPPTYPE_STRING)


@functools.cache  # one entry a message type
def _has_number_keys(descriptor: Any) -> bool:
    """Whether a message holds such maps at any depth; Istio's messages do not hold themselves."""
    if descriptor.full_name.startswith("google.protobuf."):  # a Struct does
        return False
    nested = [field for field in descriptor.fields if field.message_type is not None]
    return any(_is_map_by_number(field) or _has_number_keys(field.message_type) for field in nested)


def _check(value: object, descriptor: Any, path: str, depth: int) -> Iterator[FieldProblem]:
    if depth > MAX_DEPTH:
        yield FieldProblem(path, f"is nested deeper than {MAX_DEPTH} levels: flatten it")
        return
    if not isinstance(value, dict):
        yield FieldProblem(path, f"{shown(value)} is not a mapping of fields")
        return
    by_name = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for name, item in value.items():
        field = by_name.get(name) if isinstance(name, str) else None
        if field is None:
            yield FieldProblem(f"{path}.{name}", f"unknown field with value {shown(item)}: check the spelling")
        elif item is not None:
            yield from _check_field(item, field, f"{path}.{name}", depth)


def _check_field(value: object, field: Any, path: str, depth: int) -> Iterator[FieldProblem]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        yield from _check_map(value, field, path, depth)
    elif field.is_repeated:
        if not isinstance(value, list):
            yield FieldProblem(path, f"{shown(value)} is not a list")
            return
        for index, item in enumerate(value):
            yield from _check_single(item, field, f"{path}[{index}]", depth)
    else:
        yield from _check_single(value, field, path, depth)


def _check_map(value: object, field: Any, path: str, depth: int) -> Iterator[FieldProblem]:
    if not isinstance(value, dict):
        yield FieldProblem(path, f"{shown(value)} is not a mapping")
        return
    item_field = field.message_type.fields_by_name["value"]
    for key, item in value.items():
        if not isinstance(key, str):
            yield FieldProblem(f"{path}.{key}", f"the key {shown(key)} is not text: quote it")
        else:
            yield from _check_single(item, item_field, f"{path}.{key}", depth)


def _check_single(value: object, field: Any, path: str, depth: int) -> Iterator[FieldProblem]:
    nested = field.message_type
    if nested is None:
        yield from _check_scalar(value, field, path)
    elif nested.full_name.startswith("google.protobuf."):
        yield from _check_well_known(value, nested, path)
    else:
        yield from _check(value, nested, path, depth + 1)


def _check_scalar(value: object, field: Any, path: str) -> Iterator[FieldProblem]:
    """Let protobuf itself judge one value, in an otherwise empty message, so that the answer carries this path."""
    if field.enum_type is not None:
        names = [each.name for each in field.enum_type.values]
        if value not in names:
            yield FieldProblem(path, f"{shown(value)} is not one of {', '.join(names)}")
        return
    holder: dict[str, Any] = {field.name: [value] if field.is_repeated else value}
    try:
        json_format.ParseDict(holder, GetMessageClass(field.containing_type)())
    except json_format.ParseError:
        expected = _EXPECTED.get(field.cpp_type, "of the right type")
        yield FieldProblem(path, f"{shown(value)} is not {expected}")


def _check_well_known(value: object, descriptor: Any, path: str) -> Iterator[FieldProblem]:
    """Check durations, timestamps and wrappers, whose YAML form is one value."""
    form: Any = value
    try:
        json_format.ParseDict(form, GetMessageClass(descriptor)())
    except (json_format.ParseError, AttributeError, TypeError, ValueError):
        expected = "a duration such as 5s, 250ms or 1h" if descriptor.name == "Duration" else f"a {descriptor.name}"
        yield FieldProblem(path, f"{shown(value)} is not {expected}")
