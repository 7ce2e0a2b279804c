"""Which virtual host and which route of a configuration take a request, as Envoy decides it. Pure.

For explanations, so nothing here is fast. A condition that depends on more than the request (a percentage, metadata) is named
and counts as met or not met, one route for each.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What decides how a request is routed.

    Attributes:
        host: its authority, as sent.
        path: with query.
        method: HTTP method.
        headers: by lower-case name.
    """

    host: str
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return a header, or one of HTTP/2's pseudo-headers."""
        own = {":authority": self.host, ":path": self.path, ":method": self.method, ":scheme": "http"}
        return own.get(name) if name in own else self.headers.get(name.lower())


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A route that takes the request.

    Attributes:
        position: of the route in its virtual host.
        route: the route.
        conditions: what has to hold besides, in words; empty for the one that takes what is left.
    """

    position: int
    route: Any
    conditions: tuple[str, ...] = ()


def best_host(hosts: Iterable[Any], host: str) -> Any:
    """Return the virtual host whose domain matches best: exact, then the longest ``*suffix``, ``prefix*``, and ``*``."""
    wanted = host.lower()
    ranked = [
        (rank, each) for each in hosts for domain in each.domains if (rank := _rank(domain.lower(), wanted)) is not None
    ]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _rank(domain: str, host: str) -> tuple[int, int] | None:
    if domain == host:
        return (4, 0)
    if domain == "*":
        return (1, 0)
    if domain.startswith("*") and host.endswith(domain[1:]) and len(host) >= len(domain):
        return (3, len(domain))
    if domain.endswith("*") and host.startswith(domain[:-1]) and len(host) >= len(domain):
        return (2, len(domain))
    return None


def taken_by(routes: Iterable[Any], request: Request) -> Iterator[Taken]:
    """Yield the routes that may take a request, in order, up to the first that takes it whatever else holds."""
    for position, route in enumerate(routes):
        match = route.match
        if not _path_matches(match, request.path.partition("?")[0]):
            continue
        if not all(header_matches(each, request) for each in match.headers):
            continue
        if not all(_query_matches(each, request) for each in match.query_parameters):
            continue
        conditions = tuple(_conditions(match))
        yield Taken(position, route, conditions)
        if not conditions:
            return


def _conditions(match: Any) -> Iterator[str]:
    if match.HasField("runtime_fraction"):
        fraction = match.runtime_fraction.default_value
        yield f"{fraction.numerator} of {(100, 10_000, 1_000_000)[fraction.denominator]} requests"
    for name in ("tls_context", "grpc"):
        if match.HasField(name):
            yield name
    if match.dynamic_metadata:
        yield "dynamic_metadata"


def _path_matches(match: Any, path: str) -> bool:
    fold = str.lower if match.HasField("case_sensitive") and not match.case_sensitive.value else str
    given = fold(path)
    match match.WhichOneof("path_specifier"):
        case "prefix":
            return given.startswith(fold(match.prefix))
        case "path":
            return given == fold(match.path)
        case "path_separated_prefix":
            prefix = fold(match.path_separated_prefix)
            return given == prefix or given.startswith(f"{prefix}/")
        case "safe_regex":
            return _full(match.safe_regex.regex, path)
        case _:
            return False


def header_matches(matcher: Any, request: Request) -> bool:
    """Whether a ``HeaderMatcher`` takes the request."""
    value = request.header(matcher.name)
    kind = matcher.WhichOneof("header_match_specifier")
    if kind == "present_match":
        found = (value is not None) == matcher.present_match
    elif value is None and not matcher.treat_missing_header_as_empty:
        return bool(matcher.invert_match) if kind is None else False
    elif kind == "string_match":
        found = string_matches(matcher.string_match, value or "")
    elif kind == "range_match":
        text = value or ""
        found = text.lstrip("-").isdigit() and matcher.range_match.start <= int(text) < matcher.range_match.end
    else:
        found = kind is None
    return bool(found != matcher.invert_match)


def _query_matches(matcher: Any, request: Request) -> bool:
    values = dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))
    value = values.get(matcher.name)
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return value is not None and string_matches(matcher.string_match, value)
    return value is not None


def string_matches(matcher: Any, value: str) -> bool:
    """Whether a ``StringMatcher`` takes a text."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return _full(matcher.safe_regex.regex, value)
    fold = str.lower if matcher.ignore_case else str
    given, wanted = fold(value), fold(str(getattr(matcher, kind))) if kind else ""
    match kind:
        case "exact":
            return given == wanted
        case "prefix":
            return given.startswith(wanted)
        case "suffix":
            return given.endswith(wanted)
        case "contains":
            return wanted in given
        case _:
            return False


def _full(pattern: str, text: str) -> bool:
    """Match as RE2 would: patterns come from users' objects, which are checked to mean the same in both."""
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return False
