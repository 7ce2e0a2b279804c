"""Gathers the resources of one translation with the objects they come from."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from google.protobuf.message import Message

from isthmus_controlplane.stores.base import ObjectKey, Problem
from isthmus_controlplane.translate.translation import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    Translation,
)

TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)


class Collector:
    """The growing result; `finish` freezes it."""

    def __init__(self, types: Iterable[str] = TYPES) -> None:
        self._messages: dict[str, dict[str, Message]] = {type_url: {} for type_url in types}
        self._origins: dict[tuple[str, str], tuple[ObjectKey, ...]] = {}
        self._problems: list[Problem] = []

    def add(self, type_url: str, name: str, message: Message, origins: Iterable[ObjectKey]) -> None:
        """Add one resource; names are unique per type."""
        assert name not in self._messages[type_url], name
        self._messages[type_url][name] = message
        self._origins[type_url, name] = tuple(sorted(set(origins)))

    def has(self, type_url: str, name: str) -> bool:
        """Whether a resource of that name was added."""
        return name in self._messages[type_url]

    def names(self, type_url: str) -> frozenset[str]:
        """Names added so far."""
        return frozenset(self._messages[type_url])

    def messages(self, type_url: str) -> dict[str, Message]:
        """Return what was added so far; a copy."""
        return dict(self._messages[type_url])

    def replace(self, type_url: str, name: str, message: Message, owner: ObjectKey) -> None:
        """Put another message in the place of one, for the sake of another object."""
        self._messages[type_url][name] = message
        self._origins[type_url, name] = tuple(sorted({*self._origins[type_url, name], owner}))

    def remove(self, type_url: str, name: str) -> None:
        """Take one away."""
        del self._messages[type_url][name], self._origins[type_url, name]

    def report(self, problem: Problem) -> None:
        """Add a problem."""
        self._problems.append(problem)

    def finish(self, imported: frozenset[str] | None = None) -> Translation:
        """Return everything, sorted and read-only, with the hosts that the scope gets."""
        messages = {
            type_url: MappingProxyType(dict(sorted(resources.items())))
            for type_url, resources in self._messages.items()
        }
        return Translation(
            MappingProxyType(messages), MappingProxyType(self._origins), tuple(sorted(set(self._problems))), imported
        )
