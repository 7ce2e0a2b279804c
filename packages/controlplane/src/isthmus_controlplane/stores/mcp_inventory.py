"""What an MCP source has delivered so far: good objects, refused ones, and why. Pure; outlives every connection."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, config_object

KIND = "ServiceEntry"
MAX_PORT = 65535
MAX_OBJECTS = 200_000
NAMES_IN_ERROR = 10


class BadResourceError(ValueError):
    """A resource that cannot be taken; the message says why and what the source has to send instead."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One resource as it came.

    Attributes:
        name: ``namespace/name``; empty where the resource does not say.
        version: the source's version, empty where it gives none.
        body: the packed ``istio.mcp.v1alpha1.Resource``.
    """

    name: str
    version: str
    body: Any


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    version: str
    value: ConfigObject


class Inventory:
    """The objects of one source.

    Attributes:
        synced: a first response arrived.
    """

    def __init__(self, source: str) -> None:
        """Start empty; ``source`` names the origin of objects and problems."""
        self.synced = False
        self._source = source
        self._entries: dict[str, _Entry] = {}
        self._problems: dict[str, Problem] = {}

    def objects(self) -> Mapping[ObjectKey, ConfigObject]:
        """Return all good objects, in name order."""
        return MappingProxyType({(value := self._entries[n].value).key: value for n in sorted(self._entries)})

    def problems(self) -> tuple[Problem, ...]:
        """Return what was refused, sorted."""
        return tuple(sorted(self._problems.values()))

    def versions(self) -> dict[str, str]:
        """Return the source's version of each object, for ``initial_resource_versions``."""
        return {name: entry.version for name, entry in self._entries.items() if entry.version}

    def apply(self, items: Iterable[Item], removed: Iterable[str]) -> str | None:
        """Take changes. Of a bad resource the last good copy stays; good ones count although others are bad.

        Returns:
            None when all was taken, else a text for the source that names what was refused.
        """
        for name in removed:
            self._entries.pop(name, None)
            self._problems.pop(name, None)
        refused = [text for item in items if (text := self._take(item)) is not None]
        self.synced = True
        if not refused:
            return None
        more = "" if len(refused) <= NAMES_IN_ERROR else f"; and {len(refused) - NAMES_IN_ERROR} more"
        return f"refused {len(refused)} resources: " + "; ".join(refused[:NAMES_IN_ERROR]) + more

    def replace(self, items: Iterable[Item]) -> str | None:
        """Take the whole state of the source: what is not in it is gone. See `apply`."""
        items = list(items)
        names = {item.name for item in items}
        return self.apply(items, [name for name in (*self._entries, *self._problems) if name not in names])

    def _take(self, item: Item) -> str | None:
        known = self._entries.get(item.name)
        if known is not None and item.version and known.version == item.version:
            self._problems.pop(item.name, None)
            return None
        try:
            self._check_room(known)
            value = decode(item, self._source)
        except BadResourceError as error:
            self._problems[item.name] = Problem(
                f"{self._source} {item.name or 'resource without name'}", "", str(error)
            )
            return f"{item.name or 'resource without name'}: {error}"
        self._problems.pop(item.name, None)
        unchanged = known is not None and known.value == value
        self._entries[item.name] = _Entry(item.version, known.value if known is not None and unchanged else value)
        return None

    def _check_room(self, known: _Entry | None) -> None:
        if known is None and len(self._entries) >= MAX_OBJECTS:
            raise BadResourceError(f"more than {MAX_OBJECTS} resources; split the source")


def unpack(body: Any) -> Item:
    """Read name and version out of a packed resource, as a SotW response carries it."""
    try:
        metadata = _resource(body).metadata
    except BadResourceError:
        return Item("", "", body)
    return Item(metadata.name, metadata.version, body)


def decode(item: Item, source: str) -> ConfigObject:
    """Turn a resource into an object.

    Raises:
        BadResourceError: it is no ``ServiceEntry`` that can be used.
    """
    resource = _resource(item.body)
    metadata = resource.metadata
    namespace, _, name = metadata.name.partition("/")
    if not namespace or not name or "/" in name:
        raise BadResourceError(f"metadata.name: {metadata.name!r} is not of the form namespace/name")
    if item.name != metadata.name:
        raise BadResourceError(f"metadata.name: {metadata.name!r} is not the name of the resource")
    return config_object(
        ObjectKey(KIND, namespace, name),
        _service_entry(resource.body),
        origin=source,
        labels=metadata.labels,
        annotations=metadata.annotations,
        create_time=metadata.create_time.ToNanoseconds() / 1e9 if metadata.HasField("create_time") else None,
    )


def _resource(body: Any) -> Resource:
    if not body.Is(Resource.DESCRIPTOR):
        raise BadResourceError(f"{body.type_url!r} is not a packed {Resource.DESCRIPTOR.full_name}")
    try:
        return Resource.FromString(body.value)
    except DecodeError as error:
        raise BadResourceError(f"not a {Resource.DESCRIPTOR.full_name}: {error}") from error


def _service_entry(body: Any) -> ServiceEntry:
    if not body.Is(ServiceEntry.DESCRIPTOR):
        raise BadResourceError(f"body: {body.type_url!r} is not a packed {ServiceEntry.DESCRIPTOR.full_name}")
    try:
        entry = ServiceEntry.FromString(body.value)
    except DecodeError as error:
        raise BadResourceError(f"body: not a {ServiceEntry.DESCRIPTOR.full_name}: {error}") from error
    if not entry.hosts:
        raise BadResourceError("body.hosts: is empty; a service needs a host name")
    for index, port in enumerate(entry.ports):
        if not 0 < port.number <= MAX_PORT:
            raise BadResourceError(f"body.ports[{index}].number: {port.number} is not in 1..{MAX_PORT}")
    return entry
