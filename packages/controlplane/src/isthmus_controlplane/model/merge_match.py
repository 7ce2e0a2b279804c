"""Two matches of HTTP requests as one, where the second lies within the first: Istio's rules for delegates. Pure.

What only one of them asks for is asked for. What both ask for must be narrower in the second: an exact text within a prefix or equal to
it, a longer prefix within a shorter one. A regular expression lies in nothing but where the other asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXTS = ("uri", "scheme", "method", "authority")
_MAPS = ("headers", "without_headers", "query_params")
_VALUES = ("port", "source_namespace", "stat_prefix")


def merged_match(wide: Any, narrow: Any) -> Any:
    """Return the match of what both take; None where ``narrow`` does not lie within ``wide``."""
    if _conflicts(wide, narrow):
        return None
    merged = type(narrow)()
    merged.CopyFrom(wide)
    for field in _TEXTS:
        if narrow.HasField(field):
            getattr(merged, field).CopyFrom(getattr(narrow, field))
    for field in _MAPS:
        for name, condition in getattr(narrow, field).items():
            getattr(merged, field)[name].CopyFrom(condition)
    for field in _VALUES:
        setattr(merged, field, getattr(narrow, field) or getattr(wide, field))
    merged.ignore_uri_case = wide.ignore_uri_case or narrow.ignore_uri_case
    merged.source_labels.update(narrow.source_labels)
    if narrow.gateways:
        merged.gateways[:] = narrow.gateways
    merged.name = "-".join(filter(None, (wide.name, narrow.name)))
    return merged


def _conflicts(wide: Any, narrow: Any) -> bool:
    if any(_texts_conflict(_text(wide, field), _text(narrow, field)) for field in _TEXTS):
        return True
    if any(_maps_conflict(getattr(wide, field), getattr(narrow, field)) for field in _MAPS):
        return True
    both = wide.HasField("uri") and narrow.HasField("uri")
    if both and wide.ignore_uri_case != narrow.ignore_uri_case:
        return True
    for field in ("port", "source_namespace"):
        if getattr(wide, field) and getattr(narrow, field) and getattr(wide, field) != getattr(narrow, field):
            return True
    labels = wide.source_labels
    if any(name in labels and labels[name] != value for name, value in narrow.source_labels.items()):
        return True
    return bool(wide.gateways and not set(narrow.gateways) <= set(wide.gateways))


def _text(match: Any, field: str) -> Any:
    return getattr(match, field) if match.HasField(field) else None


def _maps_conflict(wide: Mapping[str, Any], narrow: Mapping[str, Any]) -> bool:
    return any(name in wide and _texts_conflict(wide[name], each) for name, each in narrow.items())


def _texts_conflict(wide: Any, narrow: Any) -> bool:
    """Whether a text that ``narrow`` takes may be one that ``wide`` does not."""
    if wide is None or narrow is None or wide.WhichOneof("match_type") is None:
        return False
    kinds = (wide.WhichOneof("match_type"), narrow.WhichOneof("match_type"))
    match kinds:
        case ("exact", "exact"):
            return bool(wide.exact != narrow.exact)
        case ("prefix", "prefix"):
            return not narrow.prefix.startswith(wide.prefix)
        case ("prefix", "exact"):
            return not narrow.exact.startswith(wide.prefix)
        case _:
            return True
