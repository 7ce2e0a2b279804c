"""Conditions on metadata (type.matcher.v3.MetadataMatcher, ValueMatcher), compiled into predicates. Pure.

Metadata is plain data: mappings, lists, strings, numbers, booleans and None, by namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from isthmus_proxy.route.matcher import string_test
from isthmus_proxy.route.model import StringMatch

Metadata = Mapping[str, Mapping[str, object]]
"""Values by namespace."""

MetadataTest = Callable[[Metadata], bool]
ValueTest = Callable[[object], bool]

UNSET: Final = object()
"""Stands for a value that is not there."""


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """type.matcher.v3.ValueMatcher: exactly one field is set, or ``null`` is meant where none is.

    ``range`` is half-open; ``one_of`` asks for an element of a list; ``present`` False holds for nothing, as in Envoy.
    """

    number: float | None = None
    range: tuple[float, float] | None = None
    string: StringMatch | None = None
    boolean: bool | None = None
    present: bool | None = None
    one_of: ValueMatch | None = None
    alternatives: tuple[ValueMatch, ...] | None = None


@dataclass(frozen=True, slots=True)
class MetadataMatch:
    """type.matcher.v3.MetadataMatcher: the value at ``path`` in ``namespace`` matches; not so with ``invert``."""

    namespace: str
    path: tuple[str, ...]
    value: ValueMatch
    invert: bool = False


def metadata_test(match: MetadataMatch) -> MetadataTest:
    """Compile a condition on metadata."""
    namespace, path, invert = match.namespace, match.path, match.invert
    test = value_test(match.value)
    return lambda metadata: test(value_at(metadata.get(namespace, UNSET), path)) != invert


def value_at(value: object, path: tuple[str, ...]) -> object:
    """What stands at ``path`` below ``value``; UNSET if nothing does."""
    for key in path:
        if not isinstance(value, Mapping):
            return UNSET
        value = value.get(key, UNSET)
    return value


def value_test(match: ValueMatch) -> ValueTest:
    """Compile a condition on one value."""
    if match.alternatives is not None:
        tests = tuple(value_test(each) for each in match.alternatives)
        return lambda value: any(test(value) for test in tests)
    if match.one_of is not None:
        inner = value_test(match.one_of)
        return lambda value: isinstance(value, list | tuple) and any(map(inner, value))
    if match.present is not None:
        wanted = match.present
        return lambda value: wanted and value is not UNSET
    return _scalar_test(match)


def _scalar_test(match: ValueMatch) -> ValueTest:
    if match.string is not None:
        text = string_test(match.string)
        return lambda value: isinstance(value, str) and text(value.encode())
    if match.boolean is not None:
        boolean = match.boolean
        return lambda value: value is boolean
    if match.range is not None:
        low, high = match.range
        return lambda value: _is_number(value) and low <= float(value) < high  # type: ignore[arg-type]
    if match.number is not None:
        number = match.number
        return lambda value: _is_number(value) and float(value) == number  # type: ignore[arg-type]
    return lambda value: value is None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
