"""Envoy resources written by hand: files in the form of Envoy's own file subscriptions, with whom they are for."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.names import name_of
from isthmus_controlplane.snapshot.resource_type import RESOURCE_TYPES, SECRET, TYPE_PREFIX
from isthmus_controlplane.stores.base import ObjectKey, Problem
from isthmus_controlplane.stores.yaml_text import YamlError, load_documents

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 1_000
MAX_BYTES = 4 * 1024 * 1024
KINDS = ("sidecar", "gateway", "grpc")
_PROXIES = frozenset({"sidecar", "gateway"})
_SERVED = {kind.type_url: kind.short for kind in RESOURCE_TYPES if kind.type_url != SECRET}


@dataclasses.dataclass(frozen=True, slots=True)
class Nodes:
    """For whom resources are.

    Attributes:
        kinds: of nodes; gRPC clients take few resources, so they have to be named.
        namespaces: of nodes; empty for all.
    """

    kinds: frozenset[str] = _PROXIES
    namespaces: frozenset[str] = frozenset()

    def matches(self, scope: Scope) -> bool:
        """Whether nodes of a scope get them."""
        return scope.kind in self.kinds and (not self.namespaces or scope.namespace in self.namespaces)


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """One resource as it was written.

    Attributes:
        key: names the file and the place in it, where others have the key of a user's object.
        type_url: resource type.
        name: of the resource.
        message: the resource.
        nodes: for whom.
    """

    key: ObjectKey
    type_url: str
    name: str
    message: Message
    nodes: Nodes


class _RefusedError(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def read_resources(
    root: Path, last: dict[str, tuple[Given, ...]]
) -> tuple[dict[str, tuple[Given, ...]], tuple[Problem, ...]]:
    """Read all files of a directory; one that is bad keeps what it gave when it was good last.

    Args:
        root: the directory, in which hidden files are left out.
        last: what was read before, by file.
    """
    found: dict[str, tuple[Given, ...]] = {}
    problems: list[Problem] = []
    paths = (path for path in sorted(root.iterdir()) if path.suffix in SUFFIXES and not path.name.startswith("."))
    for path in list(paths)[:MAX_FILES]:
        try:
            given = tuple(_read(root, path))
        except _RefusedError as error:
            problems.append(Problem(str(path), error.path, str(error)))
            given = last.get(path.name, ())
        found[path.name] = last[path.name] if last.get(path.name) == given else given
    return found, tuple(problems)


def _read(root: Path, path: Path) -> Iterator[Given]:
    try:
        raw = path.read_bytes()
        documents = load_documents(raw.decode()) if len(raw) <= MAX_BYTES else None
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise _RefusedError("", f"cannot be read: {error}") from error
    if documents is None:
        raise _RefusedError("", f"has more than {MAX_BYTES} bytes: split it")
    seen: set[tuple[str, str]] = set()
    for document in documents:
        value = document.value
        if not isinstance(value, dict) or not isinstance(value.get("resources"), list):
            raise _RefusedError("resources", "is no list: write resources: and below it one entry with '@type' each")
        for name in value:
            if name not in {"resources", "nodes", "version_info"}:
                raise _RefusedError(str(name), "unknown field: use resources and nodes")
        nodes = _nodes(value.get("nodes", {}))
        for number, entry in enumerate(value["resources"]):
            place = f"resources[{number}]"
            type_url, name, message = _resource(entry, place)
            if (type_url, name) in seen:
                raise _RefusedError(place, f"{_SERVED[type_url]} {name!r} stands in this file twice: remove one")
            seen.add((type_url, name))
            key = ObjectKey("File", str(root), f"{path.name} {place}")
            yield Given(key, type_url, name, message, nodes)


def _nodes(value: object) -> Nodes:
    if not isinstance(value, dict) or not value.keys() <= {"kinds", "namespaces"}:
        raise _RefusedError("nodes", f"{value!r} is not a mapping with kinds, namespaces or both")
    kinds, namespaces = value.get("kinds", sorted(_PROXIES)), value.get("namespaces", [])
    if not isinstance(kinds, list) or not kinds or not set(map(str, kinds)) <= set(KINDS):
        raise _RefusedError("nodes.kinds", f"{kinds!r} is not a list of {', '.join(KINDS)}")
    if not isinstance(namespaces, list) or not all(isinstance(each, str) for each in namespaces):
        raise _RefusedError("nodes.namespaces", f"{namespaces!r} is not a list of names")
    return Nodes(frozenset(kinds), frozenset(namespaces))


def _resource(entry: object, place: str) -> tuple[str, str, Message]:
    if not isinstance(entry, dict) or not isinstance(entry.get("@type"), str):
        raise _RefusedError(f"{place}.@type", "is missing: every resource names its type")
    type_url = TYPE_PREFIX + entry["@type"].rpartition("/")[2]
    if type_url == SECRET:
        raise _RefusedError(f"{place}.@type", "secrets do not belong here: give their files with --secrets")
    if type_url not in _SERVED:
        raise _RefusedError(f"{place}.@type", f"{entry['@type']!r} is not one of {', '.join(sorted(_SERVED))}")
    for name in set(_types_in(entry)):
        _import(name)
    packed = AnyMessage()
    try:
        json_format.ParseDict(entry, packed)
    except (json_format.ParseError, ValueError, TypeError) as error:
        raise _RefusedError(place, f"is no {entry['@type']}: {error}") from error
    message = _unpack(packed)
    name = name_of(message)
    if not name:
        raise _RefusedError(f"{place}.name", "is missing: clients subscribe by it")
    return type_url, name, message


def _unpack(packed: Any) -> Message:
    from google.protobuf import descriptor_pool, message_factory  # noqa: PLC0415

    descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    message: Message = message_factory.GetMessageClass(descriptor).FromString(packed.value)
    return message


def _types_in(value: object) -> Iterator[str]:
    """Yield the names of all message types that a resource holds."""
    if isinstance(value, dict):
        if isinstance(value.get("@type"), str):
            yield value["@type"].rpartition("/")[2]
        for each in value.values():
            yield from _types_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _types_in(each)


def _import(type_name: str) -> None:
    """Load the generated modules of a message's package, so that its JSON form can be read."""
    package = type_name.rpartition(".")[0]
    if not all(part.isidentifier() for part in package.split(".")) or package.split(".")[0] not in {
        "envoy",
        "xds",
        "udpa",
    }:
        return  # the parser says that it does not know the type
    try:
        found = importlib.import_module(package)
    except ImportError:
        return
    for module in pkgutil.iter_modules(found.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
