"""Durations as Istio's documentation writes them (``1h30m``, ``250ms``), brought to protobuf's JSON form (``5400s``)."""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any

MAX_TEXT = 64
MAX_DEPTH = 32
_NANOSECONDS = 10**9
# Units of Go's time.ParseDuration, which Istio reads durations with, in seconds.
_UNITS = {
    "ns": Fraction(1, _NANOSECONDS), "us": Fraction(1, 10**6), "µs": Fraction(1, 10**6), "ms": Fraction(1, 1000),
    "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600),
}  # fmt: skip
_PART = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PART})+")


def json_duration(text: str) -> str:
    """Return a duration in protobuf's JSON form; what is none comes back as it is.

    Parts below a nanosecond are cut off.
    """
    magnitude = text.removeprefix("-")
    if len(text) > MAX_TEXT or not _DURATION.fullmatch(magnitude):
        return text
    seconds = sum(Fraction(number) * _UNITS[unit] for number, unit in re.findall(_PART, magnitude))
    whole, nanoseconds = divmod(int(seconds * _NANOSECONDS), _NANOSECONDS)
    return f"{'-' if text != magnitude else ''}{whole}.{nanoseconds:09d}s"


def with_json_durations(value: object, descriptor: Any, depth: int = 0) -> Any:
    """Return the YAML form of a message of type ``descriptor`` with its durations in JSON form.

    What does not fit the message is left for its check to tell.
    """
    if not isinstance(value, dict) or depth > MAX_DEPTH or not _has_durations(descriptor):
        return value
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    return {name: _field(item, fields.get(name), depth) for name, item in value.items()}


def _field(value: object, field: Any, depth: int) -> object:
    if field is None or field.message_type is None:
        return value
    if isinstance(value, list):
        return [_field(item, field, depth) for item in value]
    if field.message_type.full_name == "google.protobuf.Duration":
        return json_duration(value) if isinstance(value, str) else value
    return with_json_durations(value, field.message_type, depth + 1)


@functools.cache  # one entry a message type
def _has_durations(descriptor: Any) -> bool:
    """Whether a message holds durations at any depth; Istio's messages do not hold themselves."""
    if descriptor.full_name.startswith("google.protobuf."):  # a Struct does
        return bool(descriptor.full_name == "google.protobuf.Duration")
    return any(_has_durations(field.message_type) for field in descriptor.fields if field.message_type is not None)
