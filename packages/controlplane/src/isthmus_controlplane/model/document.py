"""One YAML document as a configuration object: envelope, schema, supported fields, and the object's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format

from isthmus_controlplane.errors import ControlPlaneError
from isthmus_controlplane.model.fields import FieldProblem, check_fields, shown
from isthmus_controlplane.model.kinds import KINDS, Kind
from isthmus_controlplane.model.shape import parse_spec
from isthmus_controlplane.model.validate import validate
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, config_object

DEFAULT_NAMESPACE = "default"
MAX_NAME = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_TOP_LEVEL = {"apiVersion", "kind", "metadata", "spec", "status"}
# Written by other tools into metadata and without meaning here; everything else is refused.
_METADATA = {
    "name", "namespace", "labels", "annotations", "creationTimestamp", "generation", "resourceVersion", "uid",
    "managedFields",
}  # fmt: skip


class DocumentError(ControlPlaneError):
    """A document was refused; ``problems`` says where and why, at least one."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


def parse_document(document: object, origin: str) -> ConfigObject:
    """Parse one YAML document, already loaded.

    Raises:
        DocumentError: it is not an object of a known kind, or a field is unknown, mistyped, unsupported or wrong.
    """
    problems = list(_envelope_problems(document))
    if problems:
        raise _refused(origin, problems)
    assert isinstance(document, dict)
    kind = _kind(document)
    assert kind is not None
    metadata = document["metadata"]
    spec, problems = parse_spec(document.get("spec", {}), kind.message)
    if spec is None:
        raise _refused(origin, problems)
    problems = spec_problems(kind, spec)
    if problems:
        raise _refused(origin, problems)
    return config_object(
        ObjectKey(kind.name, metadata.get("namespace") or DEFAULT_NAMESPACE, metadata["name"]),
        spec,
        origin=origin,
        labels=metadata.get("labels"),
        annotations=metadata.get("annotations"),
    )


def spec_problems(kind: Kind, spec: Any) -> list[FieldProblem]:
    """Everything wrong with one object on its own: unsupported fields first, then its own rules."""
    return list(check_fields(spec, kind.supported)) or list(validate(kind.name, spec))


def object_problems(obj: ConfigObject) -> tuple[Problem, ...]:
    """The same check for an object that arrived as a message, such as from MCP."""
    kind = KINDS.get(obj.key.kind)
    if kind is None:
        return (Problem(obj.origin, "kind", f"{obj.key.kind!r} is not supported: use one of {', '.join(KINDS)}"),)
    found = spec_problems(kind, obj.spec)
    return tuple(Problem(f"{obj.origin} ({obj.key})", each.path, each.message) for each in found)


def to_document(obj: ConfigObject) -> dict[str, Any]:
    """Render an object as the YAML document that `parse_document` reads."""
    metadata: dict[str, Any] = {"name": obj.key.name, "namespace": obj.key.namespace}
    if obj.labels:
        metadata["labels"] = dict(sorted(obj.labels.items()))
    if obj.annotations:
        metadata["annotations"] = dict(sorted(obj.annotations.items()))
    spec = json_format.MessageToDict(obj.spec)
    return {
        "apiVersion": KINDS[obj.key.kind].api_versions[0],
        "kind": KINDS[obj.key.kind].in_yaml,
        "metadata": metadata,
        "spec": spec,
    }


def _refused(origin: str, found: list[FieldProblem]) -> DocumentError:
    return DocumentError(tuple(Problem(origin, each.path, each.message) for each in found))


def _kind(document: Mapping[str, Any]) -> Kind | None:
    """Find the kind of a document: of two that share a name the one of its ``apiVersion``, else the first."""
    named = [each for each in KINDS.values() if each.in_yaml == document.get("kind")]
    fitting = (each for each in named if document.get("apiVersion") in each.api_versions)
    return next(fitting, None) or next(iter(named), None)


def _envelope_problems(document: object) -> Iterator[FieldProblem]:
    if not isinstance(document, dict):
        yield FieldProblem("", f"{shown(document)} is not an object with apiVersion, kind, metadata and spec")
        return
    for name in document:
        if name not in _TOP_LEVEL:
            yield FieldProblem(str(name), f"unknown field with value {shown(document[name])}: check the spelling")
    kind = _kind(document)
    if kind is None:
        yield FieldProblem("kind", f"{shown(document.get('kind'))} is not supported: use one of {', '.join(KINDS)}")
    alike = [each for each in KINDS.values() if kind is None or each.in_yaml == kind.in_yaml]
    versions = dict.fromkeys(version for each in alike for version in each.api_versions)
    if document.get("apiVersion") not in versions:
        yield FieldProblem("apiVersion", f"{shown(document.get('apiVersion'))} is not one of {', '.join(versions)}")
    yield from _metadata_problems(document.get("metadata"))


def _metadata_problems(metadata: object) -> Iterator[FieldProblem]:
    if not isinstance(metadata, dict):
        yield FieldProblem("metadata", f"{shown(metadata)} is not a mapping with at least a name")
        return
    for name in metadata:
        if name not in _METADATA:
            yield FieldProblem(f"metadata.{name}", f"unknown field with value {shown(metadata[name])}: remove it")
    for name in ("name", "namespace"):
        value = metadata.get(name)
        if name == "namespace" and value is None:
            continue
        if not isinstance(value, str) or len(value) > MAX_NAME or not _NAME.fullmatch(value):
            message = f"{shown(value)} is not a name: use lower-case letters, digits, '-' and '.'"
            yield FieldProblem(f"metadata.{name}", message)
    for name in ("labels", "annotations"):
        yield from _text_map_problems(metadata.get(name), f"metadata.{name}")


def _text_map_problems(value: object, path: str) -> Iterator[FieldProblem]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield FieldProblem(path, f"{shown(value)} is not a mapping of text to text")
        return
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            yield FieldProblem(f"{path}.{key}", f"{shown(item)} is not text: quote it")
