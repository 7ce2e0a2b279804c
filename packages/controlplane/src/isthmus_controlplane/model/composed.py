"""VirtualServices that are put together from the parts of several objects, and which part came from where."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from isthmus_controlplane.stores.base import ConfigObject, ObjectKey

_KIND = "VirtualService"
_ROUTE = re.compile(r"spec\.http\[(\d+)\](.*)", re.DOTALL)
_MATCH = re.compile(r"\.match\[(\d+)\](.*)", re.DOTALL)
_TARGET = re.compile(r"\.route\[(\d+)\](.*)", re.DOTALL)


class Part(NamedTuple):
    """Where one HTTP route was written.

    Attributes:
        key: the object.
        origin: where that was read.
        path: the route in it.
        matches: the path of each of its matches.
        targets: the path of each of its destinations; empty where they stand below ``path`` as in a VirtualService.
    """

    key: ObjectKey
    origin: str
    path: str
    matches: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


class Place(NamedTuple):
    """A field of a user's object."""

    key: ObjectKey
    origin: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Composed(ConfigObject):
    """A VirtualService whose HTTP routes stand in several objects.

    Attributes:
        parts: where each of ``spec.http`` was written.
    """

    parts: tuple[Part, ...]


def place_of(obj: ConfigObject, path: str) -> Place:
    """Return where a field was written that stands at ``path`` of the form in use."""
    found = _ROUTE.fullmatch(path) if isinstance(obj, Composed) else None
    if found is None or not isinstance(obj, Composed) or int(found[1]) >= len(obj.parts):
        return Place(obj.key, obj.origin, path)
    part = obj.parts[int(found[1])]
    same = part.key.kind == _KIND  # else what lies below is named otherwise
    for pattern, paths in ((_MATCH, part.matches), (_TARGET, part.targets)):
        below = pattern.fullmatch(found[2])
        if below is not None and int(below[1]) < len(paths):
            return Place(part.key, part.origin, paths[int(below[1])] + (below[2] if same else ""))
    return Place(part.key, part.origin, part.path + (found[2] if same else ""))


def keys_of(obj: ConfigObject) -> tuple[ObjectKey, ...]:
    """Return the objects that a VirtualService is made from."""
    parts = (part.key for part in obj.parts) if isinstance(obj, Composed) else ()
    return tuple(dict.fromkeys((obj.key, *parts)))
