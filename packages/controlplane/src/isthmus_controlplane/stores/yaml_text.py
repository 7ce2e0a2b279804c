"""YAML text as documents, and edits of single documents in a text that leave the others as they were written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from isthmus_controlplane.errors import ControlPlaneError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DOCUMENTS = 10_000
MAX_DEPTH = 100  # what protobuf's decoder takes


class YamlError(ControlPlaneError):
    """The text is not YAML that can be used; the message says where and why."""


class _StrictLoader(_Loader):  # type: ignore[misc] # one of two classes, by how PyYAML was built
    """A safe loader that refuses a key which stands twice in a mapping: the first would silently be lost."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, checking its keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
                raise YamlError(f"line {key.start_mark.line + 1}: the key {key.value!r} stands there twice: remove one")
            seen.add(str(key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One document: its number in the text, from 1, and its value."""

    number: int
    value: Any


def load_documents(text: str) -> list[Document]:
    """Load all documents of a text; empty ones are left out.

    Raises:
        YamlError: the text is no YAML, has aliases (which can blow up without bound) or too many documents.
    """
    try:
        _check_events(text)
        return list(_documents(text))
    except yaml.YAMLError as error:
        raise YamlError(_describe(error)) from error
    except (ValueError, RecursionError) as error:
        raise YamlError(f"a value cannot be read: {error}: quote or correct it") from error


def _check_events(text: str) -> None:
    """Refuse what would take the process down: libyaml's composer recurses in C, and aliases multiply."""
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(f"line {line}: aliases are not supported: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlError(_too_deep(line))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(line: int) -> str:
    return f"line {line}: is nested more than {MAX_DEPTH} deep: no object needs that"


def _documents(text: str) -> Iterator[Document]:
    for number, value in enumerate(yaml.load_all(text, Loader=_StrictLoader), start=1):
        if number > MAX_DOCUMENTS:
            raise YamlError(f"more than {MAX_DOCUMENTS} documents: split the file")
        if value is not None:
            yield Document(number, value)


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
    if mark is not None and "nesting depth" in problem:  # libyaml has a bound of its own since PyYAML 6.0.4
        return _too_deep(mark.line + 1)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else problem


def dump(document: Mapping[str, Any]) -> str:
    """Write one document in block style."""
    text: str = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)
    return text


def replace_document(text: str, number: int, replacement: str) -> str:
    """Put another text in the place of document ``number``; comments before it and the other documents stay."""
    start, end = _span(text, number)
    return text[:start] + replacement + text[end:]


def remove_document(text: str, number: int) -> str:
    """Empty document ``number``; the numbers of the others stay as they are."""
    return replace_document(text, number, "")


def _span(text: str, number: int) -> tuple[int, int]:
    # The pure Python loader counts characters, as slicing does.
    nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    node = nodes[number - 1]
    return node.start_mark.index, node.end_mark.index
