"""What of a configuration dump is asked for: one resource list, some fields, some names. Envoy's rules; no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool

_TYPE = "type.googleapis.com/envoy.admin.v3."

Field = str | Callable[[], dict[str, Any]] | Iterable[dict[str, Any]]
"""A text, a message that is made when it is written, or the entries of a repeated field, made one by one."""


@dataclass(frozen=True, slots=True)
class Section:
    """A message of envoy.admin.v3 by its name, and those of its fields that are set."""

    kind: str
    fields: Mapping[str, Field]


class SelectionError(Exception):
    """The answer to a question that cannot be answered."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


_LISTS: dict[str, dict[str, str]] = {
    "BootstrapConfigDump": {},
    "ClustersConfigDump": {
        "static_clusters": "StaticCluster",
        "dynamic_active_clusters": "DynamicCluster",
        "dynamic_warming_clusters": "DynamicCluster",
    },
    "EndpointsConfigDump": {
        "static_endpoint_configs": "StaticEndpointConfig",
        "dynamic_endpoint_configs": "DynamicEndpointConfig",
    },
    "EcdsConfigDump": {"ecds_filters": "EcdsFilterConfig"},
    "ListenersConfigDump": {"static_listeners": "StaticListener", "dynamic_listeners": "DynamicListener"},
    "ScopedRoutesConfigDump": {
        "inline_scoped_route_configs": "InlineScopedRouteConfigs",
        "dynamic_scoped_route_configs": "DynamicScopedRouteConfigs",
    },
    "RoutesConfigDump": {"static_route_configs": "StaticRouteConfig", "dynamic_route_configs": "DynamicRouteConfig"},
    "SecretsConfigDump": {
        "static_secrets": "StaticSecret",
        "dynamic_active_secrets": "DynamicSecret",
        "dynamic_warming_secrets": "DynamicSecret",
    },
}
"""The repeated fields of each message, and the message of their elements."""

_SINGLE: dict[str, tuple[str, ...]] = {
    "BootstrapConfigDump": ("bootstrap", "last_updated"),
    "ClustersConfigDump": ("version_info",),
    "ListenersConfigDump": ("version_info",),
}

_RESOURCES = ("cluster", "listener", "route_config", "endpoint_config", "ecds_filter")
"""Fields of an element that hold the resource, as an Any."""

_ELEMENT = frozenset(("name", "version_info", "last_updated", "error_state", "client_status", *_RESOURCES))
_STATES = frozenset(("active_state", "warming_state", "draining_state"))


@dataclass(frozen=True, slots=True)
class Selection:
    """``resource`` names a repeated field, ``mask`` paths of fields, ``name`` what the whole name of a resource matches."""

    resource: str
    mask: tuple[tuple[str, ...], ...]
    name: re.Pattern[str] | None

    @classmethod
    def of(cls, resource: str, mask: str, name_regex: str) -> Selection:
        """That of the parameters of a request, each empty if it is not given. Raises SelectionError."""
        try:
            name = re.compile(name_regex) if name_regex else None
        except re.error as error:
            message = f"INVALID_ARGUMENT: Error while parsing name_regex from {name_regex}: {error}"
            raise SelectionError(message, 400) from error
        return cls(resource, tuple(tuple(path.split(".")) for path in mask.split(",") if path), name)

    def sections(self, sections: Iterable[Section]) -> Iterator[Section]:
        """What to write. Raises SelectionError, maybe only while it is iterated."""
        every = [Section(each.kind, self._named(each)) for each in sections]
        if self.resource:
            yield from self._elements(every)
        elif self.mask:
            yield from self._masked(every)
        else:
            yield from every

    def _named(self, section: Section) -> dict[str, Field]:
        if self.name is None:
            return dict(section.fields)
        lists = _LISTS[section.kind]
        return {
            field: (entry for entry in _entries(value) if self._is_wanted(entry)) if field in lists else value
            for field, value in section.fields.items()
        }

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        return self.name is not None and self.name.fullmatch(name_of(entry)) is not None

    def _elements(self, sections: list[Section]) -> Iterator[Section]:
        for section in sections:
            element = _LISTS[section.kind].get(self.resource)
            if element is not None:
                kind = f"{section.kind}.{element}"
                for entry in _entries(section.fields.get(self.resource, ())):
                    yield Section(kind, {key: _shown(value) for key, value in self._trimmed(entry).items()})
                return
            if self.resource in _SINGLE.get(section.kind, ()):
                message = f"{self.resource} is not a repeated field. Use ?mask={self.resource} to get only this field"
                raise SelectionError(message, 400)
        raise SelectionError(f"{self.resource} not found in config dump", 404)

    def _trimmed(self, entry: dict[str, Any]) -> dict[str, Any]:
        if not self.mask:
            return entry
        if not all(_exists_in_entry(entry, path) for path in self.mask):
            message = f"FieldMask {','.join('.'.join(path) for path in self.mask)} could not be successfully used."
            raise SelectionError(message, 400)
        return masked(entry, self.mask)

    def _masked(self, sections: list[Section]) -> Iterator[Section]:
        found = False
        for section in sections:
            known = (*_SINGLE.get(section.kind, ()), *_LISTS[section.kind])
            if all(path[0] in known and (len(path) == 1 or path[0] == "bootstrap") for path in self.mask):
                found = True
                tops = {path[0]: value for path in self.mask if (value := section.fields.get(path[0])) is not None}
                yield Section(section.kind, {name: self._below(name, value) for name, value in tops.items()})
        if not found:
            paths = ",".join(".".join(path) for path in self.mask)
            raise SelectionError(f"FieldMask {paths} could not be successfully applied to any configs.", 400)

    def _below(self, name: str, value: Field) -> Field:
        paths = tuple(path[1:] for path in self.mask if path[0] == name)
        if () in paths or not callable(value):
            return value
        message = value()
        return lambda: masked(message, paths)


def written(section: Section) -> Iterator[str]:
    """The message as JSON, in pieces; lists without entries are left out."""
    yield f'{{"@type": "{_TYPE}{section.kind}"'
    for name, value in section.fields.items():
        if isinstance(value, str):
            if value:
                yield f",\n {json.dumps(name)}: {json.dumps(value)}"
        elif callable(value):
            yield f",\n {json.dumps(name)}: {json.dumps(value(), indent=1)}"
        else:
            yield from _list(name, value)
    yield "\n}"


def _list(name: str, entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    opening, closing = f",\n {json.dumps(name)}: [", ""
    for entry in entries:
        yield opening + json.dumps(entry, indent=1)
        opening, closing = ",\n", "]"
    yield closing


def _shown(value: Any) -> Field:
    return value if isinstance(value, str) else lambda: value


def _entries(value: Field) -> Iterable[dict[str, Any]]:
    return () if isinstance(value, str) or callable(value) else value


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of the resource of an entry; empty for one that was refused before it had any."""
    if "name" in entry:
        return str(entry["name"])
    for field in _RESOURCES:
        if field in entry:
            return str(entry[field].get("name", entry[field].get("cluster_name", "")))
    return ""


def masked(message: Mapping[str, Any], paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """The fields of ``message`` at ``paths``; a path that ends at a message shows all of it. Type names stay."""
    result: dict[str, Any] = {}
    for path in paths:
        value = message.get(path[0])
        if value is None:
            continue
        if len(path) > 1 and isinstance(value, dict):
            below = masked(value, (path[1:],))
            result.setdefault(path[0], {}).update(below)
        else:
            result[path[0]] = value
    if "@type" in message:
        result = {"@type": message["@type"], **result}
    return result


def _exists_in_entry(entry: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether a mask may name ``path``: not a whole resource (an Any, which masks cannot hold), nor an unknown field."""
    first, below = path[0], path[1:]
    if first in _STATES:
        state = entry.get(first)
        return not below or not isinstance(state, dict) or _exists_in_entry(state, below)
    if first in _RESOURCES:
        if first not in entry:
            return bool(below)
        return bool(below) and _exists(entry[first]["@type"].rpartition("/")[2], below)
    return first in _ELEMENT


def _exists(message: str, path: tuple[str, ...]) -> bool:
    descriptor: Any = descriptor_pool.Default().FindMessageTypeByName(message)
    for index, name in enumerate(path):
        field = descriptor.fields_by_name.get(name) if descriptor is not None else None
        if field is None:
            return False
        if field.is_repeated and index < len(path) - 1:
            return False
        descriptor = field.message_type
    return True
