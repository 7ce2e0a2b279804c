"""Why a route does or does not take a request."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.matcher import conditions, fields_tests, query_value, reader, string_test
from isthmus_proxy.route.model import (
    Decision,
    DirectResponseAction,
    ForwardAction,
    HeaderMatch,
    QueryMatch,
    RedirectAction,
    Route,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.table import RouteTable

_Row = dict[str, object]

MAX_ROWS = 200
"""Routes that are explained before and after the chosen one: an answer that a human can read."""


def explain_routes(table: RouteTable, host: VirtualHost, head: RequestHead, chosen: Decision | None) -> Iterator[_Row]:
    """A row for each route of ``host`` in order. Behind the chosen one none was looked at."""
    path = head.path.partition(b"?")[0]
    if table.configuration.ignore_path_parameters:
        path = path.partition(b";")[0]
    wanted = chosen.route if chosen is not None else None
    position = next((index for index, route in enumerate(host.routes) if route is wanted), len(host.routes))
    first = max(0, position - MAX_ROWS)
    for index, route in enumerate(host.routes[first : position + MAX_ROWS], first):
        row: _Row = {"index": index, "name": route.name, "match": describe(route.match), "chosen": route is wanted}
        if route is not wanted:
            row["why_not"] = _why_not(table, route, head, path, behind=index > position)
        yield row


def _why_not(table: RouteTable, route: Route, head: RequestHead, path: bytes, *, behind: bool) -> str:
    reason = mismatch(route.match, head, path)
    if reason:
        return reason
    if behind:
        return "it would match, but the chosen route stands before it"
    fraction = route.match.fraction
    if fraction is not None:
        return f"it matches, and takes a share of {fraction.numerator} in {fraction.denominator} (a draw decides); not this draw"
    return "it matches, but the virtual host answers before its routes are looked at (require_tls)"


def mismatch(match: RouteMatch, head: RequestHead, path: bytes) -> str:
    """What of ``match`` does not hold, its fraction left aside; empty if all does."""
    if not string_test(match.path)(path.lower() if match.path.ignore_case else path):
        return f"the path {_shown(path)} is not {_string(match.path)}"
    for header, test in zip(match.headers, fields_tests(match.headers), strict=True):
        if not test(head):
            values = b", ".join(reader(header.name)(head))
            found = f"is {_shown(values)}" if values else "is absent"
            return f"the header {_shown(header.name)} {found}, and must {_header(header)}"
    for query in match.query:
        alone = RouteMatch(match.path, query=(query,))
        if not all(holds(head) for holds in conditions(alone)):
            value = query_value(head.path, query.name)
            found = "is absent" if value is None else f"is {_shown(value)}"
            return f"the query parameter {_shown(query.name)} {found}, and must {_query(query)}"
    if match.grpc and not all(holds(head) for holds in conditions(RouteMatch(match.path, grpc=True))):
        return "the request is not gRPC"
    return ""


def describe(match: RouteMatch) -> str:
    """A route's conditions in words."""
    parts = [f"path {_string(match.path)}"]
    parts += [f"header {_shown(header.name)} must {_header(header)}" for header in match.headers]
    parts += [f"query parameter {_shown(query.name)} must {_query(query)}" for query in match.query]
    if match.grpc:
        parts.append("gRPC")
    if match.fraction is not None:
        parts.append(f"{match.fraction.numerator} in {match.fraction.denominator}")
    return ", ".join(parts)


def describe_action(route: Route) -> str:
    """What a route does with a request, in words."""
    action = route.action
    if isinstance(action, RedirectAction):
        return f"redirect with {action.status}"
    if isinstance(action, DirectResponseAction):
        return f"answer {action.status}"
    if isinstance(action, ForwardAction):
        return "forward"
    return "nothing"


_WORDS = {
    "exact": "equal to",
    "prefix": "beginning with",
    "suffix": "ending with",
    "contains": "containing",
    "regex": "matched by",
    "present": "anything",
    "path_separated_prefix": "at or below",
    "template": "matched by",
    "connect": "that of CONNECT",
}


def _string(match: StringMatch) -> str:
    case = " in any case" if match.ignore_case else ""
    return f"{_WORDS[match.kind]} {_shown(match.value)}{case}" if match.kind != "present" else "anything"


def _header(header: HeaderMatch) -> str:
    negation = "not " if header.invert else ""
    if header.range is not None:
        return f"{negation}be a number from {header.range[0]} to {header.range[1] - 1}"
    if header.match is not None:
        return f"{negation}be {_string(header.match)}"
    return "be present" if header.present != header.invert else "be absent"


def _query(query: QueryMatch) -> str:
    if not query.present:
        return "be absent"
    return "be present" if query.match.kind == "present" else f"be {_string(query.match)}"


def _shown(value: bytes) -> str:
    text = value.decode("latin-1")
    return repr(text if len(text) <= 200 else text[:200] + "...")
