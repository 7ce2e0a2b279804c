"""Removes secrets from messages before they are shown: every field that Envoy's API annotates as sensitive."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from udpa.annotations import sensitive_pb2

from isthmus_proxy.config.extensions import message_class
from isthmus_proxy.errors import ConfigError

REDACTED = "[redacted]"


def redacted(message: Message) -> Message:
    """A copy of ``message`` in which texts and bytes of sensitive fields, at any depth, read ``[redacted]``."""
    copy = type(message)()
    copy.CopyFrom(message)
    _walk(copy, sensitive=False)
    return copy


def _walk(message: Message, *, sensitive: bool) -> None:
    if isinstance(message, AnyMessage):
        _walk_any(message, sensitive=sensitive)
        return
    for field, value in message.ListFields():
        hidden = sensitive or bool(field.GetOptions().Extensions[sensitive_pb2.sensitive])
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            _walk_map(entry.fields_by_name["value"], value, sensitive=hidden)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                _walk(item, sensitive=hidden)
        elif hidden:
            _hide(message, field, value)


def _walk_map(inner: FieldDescriptor, value: Any, *, sensitive: bool) -> None:
    for key in value:
        if inner.type == FieldDescriptor.TYPE_MESSAGE:
            _walk(value[key], sensitive=sensitive)
        elif sensitive and inner.type == FieldDescriptor.TYPE_STRING:
            value[key] = REDACTED


def _walk_any(message: AnyMessage, *, sensitive: bool) -> None:
    try:
        inner = message_class(message.type_url, "")()
    except ConfigError:
        if sensitive:
            message.Clear()
        return
    inner.ParseFromString(message.value)
    _walk(inner, sensitive=sensitive)
    message.Pack(inner, deterministic=True)


def _hide(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        message.ClearField(field.name)
        return
    shown: str | bytes = REDACTED if field.type == FieldDescriptor.TYPE_STRING else REDACTED.encode()
    if field.is_repeated:
        value[:] = [shown] * len(value)
    else:
        setattr(message, field.name, shown)
