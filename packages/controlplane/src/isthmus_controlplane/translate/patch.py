"""A translation that differs from the one before in a few resources."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from isthmus_controlplane.stores.base import ObjectKey
from isthmus_controlplane.translate.translation import Translation


class Patch:
    """Gathers resources that replace those of the same name; copies a table only when something in it differs."""

    def __init__(self, previous: Translation) -> None:
        self._previous = previous
        self._messages: dict[str, dict[str, Message]] = {}
        self._origins: dict[tuple[str, str], tuple[ObjectKey, ...]] = {}

    def put(self, type_url: str, name: str, message: Message, origins: tuple[ObjectKey, ...]) -> None:
        """Replace one resource, which the translation before has."""
        before = self._previous.messages[type_url][name]
        if message is not before and message != before:
            self._messages.setdefault(type_url, {})[name] = message
        keys = tuple(sorted(set(origins)))
        if keys != self._previous.origins[type_url, name]:
            self._origins[type_url, name] = keys

    def finish(self) -> Translation:
        """Return the translation before with the replacements."""
        changed: Mapping[str, Mapping[str, Message]] = self._messages
        messages = {
            type_url: MappingProxyType({**table, **changed[type_url]}) if type_url in changed else table
            for type_url, table in self._previous.messages.items()
        }
        origins = self._previous.origins
        return Translation(
            MappingProxyType(messages),
            MappingProxyType({**origins, **self._origins}) if self._origins else origins,
            self._previous.problems,
            self._previous.imported,
            {type_url: frozenset(names) for type_url, names in changed.items()},
        )
