"""Delegation: routes of a VirtualService that stand in another one, which has no hosts of its own.

As in Istio, a delegate's route is taken where its matches lie within those of the route that delegates; fields that it does not
set are those of that route. One that lies outside is left out, and that is said. Names in a delegate mean what they mean in its
own namespace.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.composed import Composed, Part
from isthmus_controlplane.model.gateway import full_names
from isthmus_controlplane.model.merge_match import merged_match
from isthmus_controlplane.model.model import full_host, is_visible
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import VERSION_HEX_DIGITS, ConfigObject, ObjectKey, Problem

KIND = "VirtualService"
# What a delegate's route takes from the route that delegates, each where it does not set it itself.
_INHERITED = ("rewrite", "timeout", "retries", "fault", "cors_policy", "headers")


@dataclasses.dataclass(frozen=True, slots=True)
class Delegated:
    """A VirtualService with the routes of its delegates.

    Attributes:
        obj: as it is to be used.
        missing: why it cannot be, by path in it.
        left_out: routes of delegates that its own matches exclude.
    """

    obj: ConfigObject
    missing: tuple[tuple[str, str], ...] = ()
    left_out: tuple[Problem, ...] = ()


def is_delegate(obj: ConfigObject) -> bool:
    """Whether an object only continues others."""
    spec: Any = obj.spec
    return not spec.hosts


def delegates(obj: ConfigObject) -> bool:
    """Whether routes of an object stand in others."""
    spec: Any = obj.spec
    return any(http.HasField("delegate") for http in spec.http)


def delegate_keys(obj: ConfigObject) -> frozenset[ObjectKey]:
    """Return the objects that routes of this one name."""
    spec: Any = obj.spec
    return frozenset(_key(http.delegate, obj) for http in spec.http if http.HasField("delegate"))


def _key(delegate: Any, root: ConfigObject) -> ObjectKey:
    return ObjectKey(KIND, delegate.namespace or root.key.namespace, delegate.name)


def with_delegates(
    root: ConfigObject, objects: Mapping[ObjectKey, ConfigObject], services: Mapping[str, Service]
) -> Delegated:
    """Put the routes of delegates in the places that name them. Pure.

    Args:
        root: a VirtualService with hosts.
        objects: all VirtualServices.
        services: to write out short names of hosts.
    """
    if not delegates(root):
        return Delegated(root)
    spec: Any = type(root.spec)()
    spec.CopyFrom(root.spec)
    del spec.http[:]
    parts: list[Part] = []
    missing: list[tuple[str, str]] = []
    left_out: list[Problem] = []
    used: dict[ObjectKey, ConfigObject] = {}
    for number, http in enumerate(root.spec.http):  # type: ignore[attr-defined]
        path = f"spec.http[{number}]"
        if not http.HasField("delegate"):
            spec.http.append(http)
            parts.append(_part(root, http, number))
            continue
        delegate = objects.get(_key(http.delegate, root))
        wrong = _wrong(delegate, _key(http.delegate, root), root)
        if wrong or delegate is None:
            missing.append((f"{path}.delegate.name", wrong))
            continue
        used[delegate.key] = delegate
        taken = list(_routes(root, http, delegate, services))
        for part, route in taken:
            if route is None:
                left_out.append(_left_out(root, path, delegate, part))
            else:
                spec.http.append(route)
                parts.append(part)
        if all(route is None for _, route in taken):
            missing.append(
                (f"{path}.match", f"no route of {delegate.key} lies within it: widen it, or mend the delegate")
            )
    obj = Composed(
        root.key, spec, root.labels, root.annotations, root.create_time, _version(root, used.values()), root.origin,
        tuple(parts),
    )  # fmt: skip
    return Delegated(obj, tuple(missing), tuple(left_out))


def _wrong(delegate: ConfigObject | None, key: ObjectKey, root: ConfigObject) -> str:
    if delegate is None:
        return f"there is no {key}: add it or correct the name"
    if not is_delegate(delegate):
        return f"{key} has hosts of its own: only a VirtualService without hosts can be delegated to"
    if not is_visible(delegate, root.key.namespace):
        return f"{key} is not exported to {root.key.namespace!r}: add that to its exportTo"
    return ""


def _left_out(root: ConfigObject, path: str, delegate: ConfigObject, part: Part) -> Problem:
    message = f"no match of {root.key} {path} includes this one: the route takes nothing there; narrow it or remove it"
    return Problem(f"{delegate.origin} ({delegate.key})", f"{part.path}.match", message)


def _version(root: ConfigObject, used: Iterable[ConfigObject]) -> str:
    versions = " ".join((root.version, *(f"{obj.key}={obj.version}" for obj in used)))
    return hashlib.sha256(versions.encode()).hexdigest()[:VERSION_HEX_DIGITS]


def _part(obj: ConfigObject, http: Any, number: int, matches: Iterable[int] | None = None) -> Part:
    path = f"spec.http[{number}]"
    positions = range(len(http.match)) if matches is None else matches
    return Part(obj.key, obj.origin, path, tuple(f"{path}.match[{each}]" for each in positions))


def _routes(
    root: ConfigObject, http: Any, delegate: ConfigObject, services: Mapping[str, Service]
) -> Iterator[tuple[Part, Any]]:
    """Yield (where it stands, route) of each route of a delegate; None for one that lies outside."""
    spec: Any = delegate.spec
    for number, own in enumerate(spec.http):
        route = type(own)()
        route.CopyFrom(own)
        _write_out(route, delegate, services)
        matches = list(_matches(_in_full(http.match, root), _in_full(route.match, delegate)))
        if not matches and (http.match or route.match):
            yield _part(delegate, own, number), None
            continue
        del route.match[:]
        route.match.extend(match for _, match in matches)
        _inherit(route, http)
        part = _part(delegate, own, number, [position for position, _ in matches] if own.match else ())
        yield part, route


def _matches(outer: Any, inner: Any) -> Iterator[tuple[int, Any]]:
    """Yield (position in the delegate, match) of every pair that lies within each other; all of one side where the other has none."""
    if not outer or not inner:
        yield from enumerate(inner or outer)
        return
    for position, narrow in enumerate(inner):
        for wide in outer:
            match = merged_match(wide, narrow)
            if match is not None:
                yield position, match


def _in_full(matches: Iterable[Any], obj: ConfigObject) -> list[Any]:
    """Copy the matches of an object with the names of gateways written out."""
    found = []
    for match in matches:
        copy = type(match)()
        copy.CopyFrom(match)
        copy.gateways[:] = full_names(match.gateways, obj.key.namespace)
        found.append(copy)
    return found


def _write_out(route: Any, delegate: ConfigObject, services: Mapping[str, Service]) -> None:
    """Write the hosts of destinations as they mean the same in the namespace of the root."""
    destinations = [target.destination for target in route.route] + [mirror.destination for mirror in route.mirrors]
    if route.HasField("mirror"):
        destinations.append(route.mirror)
    for destination in destinations:
        destination.host = full_host(services, destination.host, delegate.key.namespace)


def _inherit(route: Any, http: Any) -> None:
    route.name = "-".join(filter(None, (http.name, route.name)))
    for field in _INHERITED:
        if http.HasField(field) and not route.HasField(field):
            getattr(route, field).CopyFrom(getattr(http, field))
    if route.HasField("mirror") or route.mirrors:
        return
    route.mirrors.extend(http.mirrors)
    for field in ("mirror", "mirror_percentage"):
        if http.HasField(field):
            getattr(route, field).CopyFrom(getattr(http, field))
