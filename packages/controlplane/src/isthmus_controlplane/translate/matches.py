"""RouteMatch from an HTTPMatchRequest."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

_PSEUDO_HEADERS = (("method", ":method"), ("authority", ":authority"))


def match_everything() -> Any:
    """The match of a route that takes every request."""
    return RouteMatch(prefix="/")


def route_match(match: Any) -> Any:
    """Translate one HTTPMatchRequest; ``port``, ``sourceNamespace`` and ``gateways`` are decided before."""
    result = RouteMatch()
    match match.uri.WhichOneof("match_type"):
        case "exact":
            result.path = match.uri.exact
        case "regex":
            result.safe_regex.CopyFrom(RegexMatcher(regex=match.uri.regex))
        case kind:
            result.prefix = match.uri.prefix if kind == "prefix" and match.uri.prefix else "/"
    if match.ignore_uri_case:
        result.case_sensitive.CopyFrom(BoolValue(value=False))
    for field, header in _PSEUDO_HEADERS:
        if match.HasField(field):
            result.headers.append(_header(header, getattr(match, field)))
    result.headers.extend(_header(name, condition) for name, condition in sorted(match.headers.items()))
    result.headers.extend(_without(name, condition) for name, condition in sorted(match.without_headers.items()))
    result.query_parameters.extend(_query(name, condition) for name, condition in sorted(match.query_params.items()))
    return result


def _string(condition: Any) -> Any:
    match condition.WhichOneof("match_type"):
        case "exact":
            return StringMatcher(exact=condition.exact)
        case "prefix" if condition.prefix:
            return StringMatcher(prefix=condition.prefix)
        case "regex":
            return StringMatcher(safe_regex=RegexMatcher(regex=condition.regex))
        case _:  # nothing given, or the prefix that everything has: present is enough
            return None


def string_match(condition: Any) -> Any:
    """Translate a StringMatch; one that everything matches is an empty prefix, which clients refuse, as a regex."""
    matcher = _string(condition)
    return matcher if matcher is not None else StringMatcher(safe_regex=RegexMatcher(regex=".*"))


def _header(name: str, condition: Any) -> Any:
    value = _string(condition)
    return (
        HeaderMatcher(name=name, present_match=True) if value is None else HeaderMatcher(name=name, string_match=value)
    )


def _without(name: str, condition: Any) -> Any:
    """A header that must not be there, or must not have this value (a missing one has not)."""
    matcher = _header(name, condition)
    matcher.invert_match = True
    matcher.treat_missing_header_as_empty = matcher.HasField("string_match")
    return matcher


def _query(name: str, condition: Any) -> Any:
    value = _string(condition)
    if value is None:
        return QueryParameterMatcher(name=name, present_match=True)
    return QueryParameterMatcher(name=name, string_match=value)
