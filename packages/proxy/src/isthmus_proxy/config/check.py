"""Refuses what the proxy would have to ignore: one walk over the set fields of a message against the table ``supported``.

A field that the table does not have is refused by path, in a bootstrap file and in an xDS resource alike (its text is the
NACK). Fields of no effect here are in the table, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from isthmus_proxy.config.extensions import unpack
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.rules import MessageRules
from isthmus_proxy.config.supported import SUPPORTED
from isthmus_proxy.errors import ConfigError


def check(message: Message, path: str = "") -> None:
    """Raise ConfigError for the first set field of ``message``, at any depth, that is not supported."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        check(unpack(message, path), path)  # type: ignore[arg-type]
        return
    if name.startswith("google.protobuf."):
        return
    rules = SUPPORTED.get(name)
    if rules is None:
        raise ConfigError(path, "", f"{name} is not supported; remove it")
    for field, value in message.ListFields():
        _check_field(rules, field, value, join(path, field.name))


def _check_field(rules: MessageRules, field: FieldDescriptor, value: Any, path: str) -> None:
    name = field.name
    if name in rules.no_effect or name in rules.elsewhere:
        return
    allowed = rules.only.get(name)
    if allowed is not None:
        for place, item in _items(field, value, path):
            found = _plain(field, item)
            if found not in allowed:
                choice = " or ".join(str(each).lower() if isinstance(each, bool) else str(each) for each in allowed)
                raise ConfigError(place, shown(found), f"is not supported; only {choice} is")
    elif name not in rules.supported:
        raise ConfigError(
            path, _brief(field, value), "is not supported, and ignoring it would change behaviour; remove it"
        )
    elif field.message_type is not None:
        for place, item in _items(field, value, path):
            if isinstance(item, Message):
                check(item, place)


def _items(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key in value:
            yield f'{path}["{key}"]', value[key]
    elif field.is_repeated:
        for index, item in enumerate(value):
            yield f"{path}[{index}]", item
    else:
        yield path, value


def _plain(field: FieldDescriptor, value: Any) -> object:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if isinstance(value, Message) and "value" in value.DESCRIPTOR.fields_by_name:
        return value.value  # type: ignore[attr-defined]
    return value


def _brief(field: FieldDescriptor, value: Any) -> str:
    if field.message_type is None:
        return shown(_plain(field, value) if not field.is_repeated else list(value))
    plain = None if field.is_repeated else _plain(field, value)
    return "" if plain is None or isinstance(plain, Message) else shown(plain)
