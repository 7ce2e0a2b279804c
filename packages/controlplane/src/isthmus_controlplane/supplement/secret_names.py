"""Which secrets a resource makes its receiver ask the control plane for. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

MAX_DEPTH = 100  # what protobuf's decoder takes
MAX_REMEMBERED = 100_000


def secret_names_of(message: Message) -> frozenset[str]:
    """Return the names of the secrets that ``message`` asks for by SDS, however deep and inside whatever extension.

    A secret without ``sds_config`` is one of the client's own bootstrap. An extension of a type that is not known here
    names nothing: better a secret too few than one too many.
    """
    return frozenset(_names(message, 0))


def _names(message: Any, depth: int) -> Iterator[str]:
    if isinstance(message, SdsSecretConfig):
        if message.HasField("sds_config"):
            yield message.name
        return
    if depth >= MAX_DEPTH:
        return
    if isinstance(message, AnyMessage):
        inner = _unpacked(message)
        if inner is not None:
            yield from _names(inner, depth + 1)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in _messages(field, value):
            yield from _names(each, depth + 1)


def _messages(field: Any, value: Any) -> Iterator[Any]:
    """Yield the messages that a field holds: one, many, or the values of a map."""
    if field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is not None:
            yield from value.values()
    elif isinstance(value, Message):
        yield value
    else:
        yield from value


def _unpacked(packed: Any) -> Message | None:
    """Unpack an extension; None where its type is not known here, or its bytes are not of that type."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
        found: Message = message_factory.GetMessageClass(descriptor).FromString(packed.value)
    except (KeyError, DecodeError):
        return None
    return found


class SecretNames:
    """Remembers what messages name, by identity: each is walked once, however often translations hold it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Message, frozenset[str]]] = {}

    def of(self, message: Message) -> frozenset[str]:
        """Return what `secret_names_of` does; the message must not change afterwards."""
        known = self._known.get(id(message))
        if known is not None:  # a message that is known here lives, so no other has its id
            return known[1]
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        names = secret_names_of(message)
        self._known[id(message)] = (message, names)
        return names
