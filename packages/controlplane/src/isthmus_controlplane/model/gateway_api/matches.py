"""Matches of HTTPRoute and GRPCRoute as HTTPMatchRequests, and which of them comes first. Pure.

Precedence is that of the specification: for HTTP an exact path, the longest prefix, regular expressions (which it leaves open), a
method, more headers, more query parameters; for gRPC the longer service, the longer method, more headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from isthmus_api.gateway.v1.route_pb2 import GRPCRouteMatch, HTTPRouteMatch
from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import HTTPMatchRequest

Rank = tuple[int, ...]
Form = Literal["whole", "below", "other"]
REGULAR_EXPRESSION = "RegularExpression"
_ANY_NAME = "[^/]+"


class Matched(NamedTuple):
    """One match.

    Attributes:
        rank: the lower, the earlier it is tried.
        requests: the same as HTTPMatchRequests. A path prefix takes whole segments, so it becomes two: the path itself
            (``whole``) and what is ``below`` it.
    """

    rank: Rank
    requests: tuple[tuple[Form, Any], ...]


def matches_of(rule: Any) -> Iterator[Matched]:
    """Yield the matches of a rule, in its order; a rule without any takes everything."""
    if "timeouts" in rule.DESCRIPTOR.fields_by_name:
        yield from map(_http, rule.matches or [HTTPRouteMatch()])
    else:
        yield from map(_grpc, rule.matches or [GRPCRouteMatch()])


def _http(match: Any) -> Matched:
    conditions = HTTPMatchRequest()
    if match.method:
        conditions.method.exact = match.method
    _set_values(conditions.headers, match.headers, lower=True)
    _set_values(conditions.query_params, match.query_params, lower=False)
    kind, value = match.path.type or "PathPrefix", match.path.value or "/"
    order = {"Exact": 0, "PathPrefix": 1, REGULAR_EXPRESSION: 2}[kind]
    prefix = value.rstrip("/") if kind == "PathPrefix" else value
    rank = (order, -len(prefix), 0 if match.method else 1, -len(conditions.headers), -len(conditions.query_params))
    match kind:
        case "Exact":
            return Matched(rank, (("other", _with_uri(conditions, exact=value)),))
        case "PathPrefix" if prefix:
            whole, below = _with_uri(conditions, exact=prefix), _with_uri(conditions, prefix=f"{prefix}/")
            return Matched(rank, (("whole", whole), ("below", below)))
        case "PathPrefix":
            return Matched(rank, (("below", _with_uri(conditions, prefix="/")),))
        case _:
            return Matched(rank, (("other", _with_uri(conditions, regex=value)),))


def _grpc(match: Any) -> Matched:
    conditions = HTTPMatchRequest()
    _set_values(conditions.headers, match.headers, lower=True)
    method = match.method
    rank = (-len(method.service), -len(method.method), -len(conditions.headers))
    if method.type == REGULAR_EXPRESSION:
        uri = {"regex": f"/{method.service or _ANY_NAME}/{method.method or _ANY_NAME}"}
    elif method.service and method.method:
        uri = {"exact": f"/{method.service}/{method.method}"}
    elif method.service:
        uri = {"prefix": f"/{method.service}/"}
    elif method.method:
        uri = {"regex": f"/{_ANY_NAME}/{re.escape(method.method)}"}
    else:
        uri = {"prefix": "/"}
    return Matched(rank, (("other", _with_uri(conditions, **uri)),))


def _with_uri(conditions: Any, **uri: str) -> Any:
    request = HTTPMatchRequest()
    request.CopyFrom(conditions)
    for kind, value in uri.items():
        setattr(request.uri, kind, value)
    return request


def _set_values(target: Any, matches: Any, *, lower: bool) -> None:
    """Compare values; of two with one name the first counts, as the specification has it."""
    seen: set[str] = set()
    for each in matches:
        name = each.name.lower() if lower else each.name
        if name in seen:
            continue
        seen.add(name)
        if each.type == REGULAR_EXPRESSION:
            target[name].regex = each.value
        else:
            target[name].exact = each.value
