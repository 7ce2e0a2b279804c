"""Compiles type.matcher.v3.MetadataMatcher and ValueMatcher."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join
from isthmus_proxy.config.route_match import compile_string
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.metadata_match import MetadataMatch, ValueMatch


def compile_metadata_match(matcher: Any, path: str) -> MetadataMatch:
    """Compile a condition on metadata. Raises ConfigError."""
    if not matcher.path:
        raise ConfigError(join(path, "path"), "", "needs at least one key")
    if not matcher.HasField("value"):
        raise ConfigError(join(path, "value"), "", "is required")
    keys = tuple(required(each, "key", f"{join(path, 'path')}[{i}]") for i, each in enumerate(matcher.path))
    value = compile_value_match(matcher.value, join(path, "value"))
    return MetadataMatch(required(matcher, "filter", path), keys, value, matcher.invert)


def compile_value_match(matcher: Any, path: str) -> ValueMatch:
    """Compile a condition on one value. Raises ConfigError."""
    chosen = matcher.WhichOneof("match_pattern")
    place = join(path, chosen or "")
    if chosen is None:
        raise ConfigError(
            path,
            "",
            "needs one of null_match, double_match, string_match, bool_match, present_match, list_match and or_match",
        )
    if chosen == "double_match":
        return _number(matcher.double_match, place)
    if chosen == "string_match":
        return ValueMatch(string=compile_string(matcher.string_match, place))
    if chosen == "bool_match":
        return ValueMatch(boolean=matcher.bool_match)
    if chosen == "present_match":
        return ValueMatch(present=matcher.present_match)
    if chosen == "list_match":
        if matcher.list_match.WhichOneof("match_pattern") is None:
            raise ConfigError(place, "", "needs one_of")
        return ValueMatch(one_of=compile_value_match(matcher.list_match.one_of, join(place, "one_of")))
    if chosen == "or_match":
        return _alternatives(matcher.or_match.value_matchers, join(place, "value_matchers"))
    return ValueMatch()


def _number(matcher: Any, path: str) -> ValueMatch:
    chosen = matcher.WhichOneof("match_pattern")
    if chosen is None:
        raise ConfigError(path, "", "needs one of range and exact")
    if chosen == "exact":
        return ValueMatch(number=matcher.exact)
    return ValueMatch(range=(matcher.range.start, matcher.range.end))


def _alternatives(matchers: Any, path: str) -> ValueMatch:
    if len(matchers) < 2:
        raise ConfigError(path, "", "needs at least two")
    return ValueMatch(alternatives=tuple(compile_value_match(each, f"{path}[{i}]") for i, each in enumerate(matchers)))
