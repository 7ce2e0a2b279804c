"""Reads a YAML document field by field and says exactly where a wrong value stands.

Used for the configuration and for the files of the ``file`` registry. Unknown fields, wrong types and repeated keys are
errors with file, path and value; nothing is ignored or guessed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from isthmus_mcp_bridge.errors import DocumentError, shorten


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe types, but a key that stands twice in a mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; refuses repeated keys, of which YAML would silently keep the last."""
        seen = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class Field:
    """One value of a document together with where it stands."""

    __slots__ = ("_file", "_path", "value")

    def __init__(self, value: object, file: str, path: str = "") -> None:
        self.value = value
        self._file = file
        self._path = path

    @property
    def path(self) -> str:
        """Where the value stands in the document, as ``services[0].ports[1].number``."""
        return self._path

    def error(self, message: str) -> DocumentError:
        """The error to raise when this value is wrong; ``message`` says what is expected."""
        return DocumentError(self._file, self._path or "(document)", self.value, message)

    def mapping(self, *allowed: str) -> dict[str, Field]:
        """The fields of a mapping; with ``allowed`` given, any other field is an error."""
        if not isinstance(self.value, dict):
            raise self.error("must be a mapping")
        fields = {}
        for name, value in self.value.items():
            if not isinstance(name, str):
                raise self.error(f"field names must be strings, {shorten(name)} is not")
            path = f"{self._path}.{name}" if self._path else name
            fields[name] = Field(value, self._file, path)
            if allowed and name not in allowed:
                raise fields[name].error(f"unknown field; known are {', '.join(allowed)}")
        return fields

    def items(self, limit: int) -> Iterator[Field]:
        """The elements of a list of at most ``limit``."""
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        if len(self.value) > limit:
            raise self.error(f"must hold at most {limit} elements, has {len(self.value)}")
        for index, value in enumerate(self.value):
            yield Field(value, self._file, f"{self._path}[{index}]")

    def string(self) -> str:
        """A string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.error("must be a string that is not empty (put it in quotes if it looks like a number)")
        return self.value

    def one_of(self, *choices: str) -> str:
        """One of the given strings."""
        if self.value not in choices:
            raise self.error(f"must be one of {', '.join(choices)}")
        return str(self.value)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.error("must be true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number within both bounds."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            raise self.error(f"must be a whole number from {low} to {high}")
        return self.value

    def number(self, low: float, high: float) -> float:
        """A number within both bounds."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not low <= self.value <= high:
            raise self.error(f"must be a number from {low:g} to {high:g}")
        return float(self.value)


def parse_document(data: bytes, file: str) -> Field:
    """Parse one YAML document; ``file`` is how errors name it. Raises DocumentError."""
    try:
        return Field(yaml.load(data, _StrictLoader), file)  # noqa: S506 - derives from the safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "(document)"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DocumentError(file, where, None, f"is not valid YAML: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise DocumentError(file, "(document)", None, f"cannot be read: {shorten(str(error))}") from error
