"""The files of a directory store as values: parsing with last good content, and duplicates. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from isthmus_controlplane.model.document import DocumentError, parse_document
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, keep_identity
from isthmus_controlplane.stores.yaml_text import YamlError, load_documents

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class FileContent:
    """What one file gives.

    Attributes:
        objects: the objects in use; those of the last good content while the file is bad.
        numbers: the document number of each.
        problems: what is wrong with the file now.
        good: whether ``objects`` are a content that was wholly good.
    """

    objects: Mapping[ObjectKey, ConfigObject] = dataclasses.field(default_factory=dict)
    numbers: Mapping[ObjectKey, int] = dataclasses.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    good: bool = False


def read_file(name: str, data: bytes, last: FileContent) -> FileContent:
    """Parse a file.

    Args:
        name: as shown in messages.
        data: its bytes.
        last: what the file gave before.
    """
    objects: dict[ObjectKey, ConfigObject] = {}
    numbers: dict[ObjectKey, int] = {}
    problems: list[Problem] = []
    try:
        documents = load_documents(_decode(data))
    except YamlError as error:
        return unreadable(name, str(error), last)
    for document in documents:
        origin = f"{name}#{document.number}"
        try:
            obj = parse_document(document.value, origin)
        except DocumentError as error:
            problems.extend(error.problems)
            continue
        if obj.key in objects:
            message = f"{obj.key} stands already in document {numbers[obj.key]} of this file: remove or rename one"
            problems.append(Problem(origin, "metadata.name", message))
            continue
        objects[obj.key], numbers[obj.key] = obj, document.number
    if problems and last.good:
        return dataclasses.replace(last, problems=_kept(problems))
    kept = keep_identity(last.objects, objects)
    return FileContent(kept, MappingProxyType(numbers), tuple(problems), good=not problems)


def unreadable(name: str, why: str, last: FileContent) -> FileContent:
    """A file that cannot be read at all keeps what it gave before."""
    problems = [Problem(name, "", why)]
    return dataclasses.replace(last, problems=_kept(problems) if last.objects else tuple(problems))


def _decode(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise YamlError(f"has {len(data)} bytes: at most {MAX_FILE_BYTES} are read; split the file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(f"is not UTF-8 at byte {error.start}: convert it") from error


def _kept(problems: list[Problem]) -> tuple[Problem, ...]:
    suffix = "; the last good content of the file stays in use"
    return tuple(dataclasses.replace(problem, message=problem.message + suffix) for problem in problems)


def merge_files(
    files: Mapping[str, FileContent], owners: Mapping[ObjectKey, str]
) -> tuple[dict[ObjectKey, ConfigObject], dict[ObjectKey, str], tuple[Problem, ...]]:
    """Put all files together; an object that stands in two files is taken from the one that had it first.

    Args:
        files: content by file name.
        owners: which file each object came from before.

    Returns:
        The objects, the file of each, and the problems.
    """
    objects: dict[ObjectKey, ConfigObject] = {}
    new_owners: dict[ObjectKey, str] = {}
    problems = [problem for content in files.values() for problem in content.problems]
    claims: dict[ObjectKey, list[str]] = {}
    for name in sorted(files):
        for key in files[name].objects:
            claims.setdefault(key, []).append(name)
    for key, names in claims.items():
        owner = owners[key] if owners.get(key) in names else names[0]
        objects[key], new_owners[key] = files[owner].objects[key], owner
        for name in names:
            if name != owner:
                first, other = objects[key].origin, files[name].objects[key].origin
                message = f"{key} is already defined in {first}, which stays in use: remove or rename one of them"
                problems.append(Problem(other, "metadata.name", message))
    return objects, new_owners, tuple(sorted(problems))


def patched(
    objects: Mapping[ObjectKey, ConfigObject],
    before: Mapping[str, FileContent],
    files: Mapping[str, FileContent],
    owners: Mapping[ObjectKey, str],
) -> Mapping[ObjectKey, ConfigObject] | None:
    """Put changed files into what `merge_files` gave; None where files must be merged anew.

    Args:
        objects: of the merge before.
        before: content by file name at that merge.
        files: content by file name now.
        owners: of the merge before.
    """
    if before.keys() != files.keys() or any(content.problems for content in files.values()):
        return None
    changes: dict[ObjectKey, ConfigObject] = {}
    for name, content in files.items():
        if content is before[name]:
            continue
        if content.objects.keys() != before[name].objects.keys() or any(owners[k] != name for k in content.objects):
            return None
        changes |= content.objects
    return MappingProxyType({**objects, **changes})
