"""Merging one message into another, as patches ask for it."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from isthmus_controlplane.translate.message import packed

_WELL_KNOWN = "google.protobuf."
_ANY = AnyMessage.DESCRIPTOR.full_name


def merge(target: Any, source: Any) -> None:
    """Put what is set in ``source`` into ``target``: fields are set, lists grow, messages merge, also inside extensions."""
    for field, value in source.ListFields():
        nested = field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            _merge_map(getattr(target, field.name), nested.fields_by_name["value"].message_type, value)
        elif field.is_repeated:
            getattr(target, field.name).extend(value)
        elif nested is None:
            setattr(target, field.name, value)
        else:
            _merge_message(getattr(target, field.name), nested, value)


def _merge_map(target: Any, nested: Any, source: Any) -> None:
    for key, value in source.items():
        if nested is None:
            target[key] = value
        else:
            _merge_message(target[key], nested, value)


def _merge_message(target: Any, nested: Any, source: Any) -> None:
    if nested.full_name == _ANY:
        _merge_any(target, source)
    elif nested.full_name.startswith(_WELL_KNOWN):  # one value, which may be the zero one
        target.CopyFrom(source)
    else:
        target.SetInParent()
        merge(target, source)


def _merge_any(target: Any, source: Any) -> None:
    """Merge extensions of one type; one of another type takes the place of the first."""
    if not target.type_url or target.type_url != source.type_url:
        target.CopyFrom(source)
        return
    kind: Any = GetMessageClass(Default().FindMessageTypeByName(target.type_url.rpartition("/")[2]))
    merged = kind.FromString(target.value)
    merge(merged, kind.FromString(source.value))
    target.CopyFrom(packed(merged))
