"""Conditions of a route beyond its path, compiled into predicates over a request head."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import HeaderMatch, QueryMatch, RouteMatch, StringMatch
from isthmus_proxy.route.regex import compile_pattern

Condition = Callable[[RequestHead], bool]
StringTest = Callable[[bytes], bool]
Reader = Callable[[RequestHead], tuple[bytes, ...]]

_PSEUDO: dict[bytes, Reader] = {
    b":method": lambda request: (request.method,),
    b":path": lambda request: (request.path,),
    b":authority": lambda request: (request.authority,),
    b"host": lambda request: (request.authority,),
    b":scheme": lambda request: (request.scheme,),
}


def reader(name: bytes) -> Reader:
    """Return a function that reads all values of header ``name``; there are none when it is absent."""
    pseudo = _PSEUDO.get(name)
    if pseudo is not None:
        return pseudo

    def read(request: RequestHead) -> tuple[bytes, ...]:
        return tuple([value for key, value in request.headers if key == name])

    return read


def string_test(match: StringMatch) -> StringTest:
    """Compile a string condition."""
    test = _plain_test(match)
    if match.ignore_case and match.kind not in ("regex", "template"):
        return lambda text: test(text.lower())
    return test


def _plain_test(match: StringMatch) -> StringTest:
    value = match.value
    if match.kind == "exact":
        return value.__eq__
    if match.kind == "prefix":
        return lambda text: text.startswith(value)
    if match.kind == "suffix":
        return lambda text: text.endswith(value)
    if match.kind == "contains":
        return lambda text: value in text
    if match.kind == "path_separated_prefix":
        below = value + b"/"
        return lambda text: text == value or text.startswith(below)
    if match.kind == "connect":
        return lambda text: not text
    if match.kind in ("regex", "template"):
        fullmatch = compile_pattern(value).fullmatch
        return lambda text: fullmatch(text) is not None
    return lambda _text: True


def conditions(match: RouteMatch) -> tuple[Condition, ...]:
    """Compile the header, query parameter and gRPC conditions of a route; its path and fraction are not among them."""
    found = [_header_condition(header) for header in match.headers]
    found += [_query_condition(query) for query in match.query]
    if match.grpc:
        found.append(_is_grpc)
    return tuple(found)


FieldsTest = Condition
"""A condition on the headers of any message, given as a head whose other parts are empty."""


def fields_tests(headers: tuple[HeaderMatch, ...]) -> tuple[FieldsTest, ...]:
    """Compile header matchers, each for itself."""
    return tuple(_header_condition(header) for header in headers)


def names_read(match: RouteMatch) -> set[bytes]:
    """Names of the headers whose values the conditions of a route read."""
    names = {b":authority" if header.name == b"host" else header.name for header in match.headers}
    if match.query:
        names.add(b":path")
    if match.grpc:
        names.add(b"content-type")
    return names


def _header_condition(header: HeaderMatch) -> Condition:
    read, invert = reader(header.name), header.invert
    if header.match is None and header.range is None:
        wanted = header.present != invert
        return lambda request: bool(read(request)) == wanted
    test = _value_test(header)
    missing = test(b"") != invert if header.treat_missing_as_empty else False

    def holds(request: RequestHead) -> bool:
        # One value that fits is enough, and inverting means that none fits: Envoy looks at repeated headers one by one.
        values = read(request)
        return any(map(test, values)) != invert if values else missing

    return holds


def _value_test(header: HeaderMatch) -> StringTest:
    if header.range is not None:
        low, high = header.range
        return lambda text: (number := _integer(text)) is not None and low <= number < high
    assert header.match is not None
    return string_test(header.match)


def _integer(text: bytes) -> int | None:
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    # int() would also take white space and underscores.
    return int(text) if digits.isdigit() and len(digits) <= 19 else None


def _query_condition(query: QueryMatch) -> Condition:
    test, name = string_test(query.match), query.name
    if not query.present:
        return lambda request: query_value(request.path, name) is None

    def holds(request: RequestHead) -> bool:
        value = query_value(request.path, name)
        return value is not None and test(value)

    return holds


def query_value(path: bytes, name: bytes) -> bytes | None:
    """Value of the first query parameter ``name``, as sent (no percent-decoding); None when absent."""
    _, _, query = path.partition(b"?")
    query, _, _ = query.partition(b"#")
    for parameter in query.split(b"&") if query else ():
        key, _, value = parameter.partition(b"=")
        if key == name:
            return value
    return None


def _is_grpc(request: RequestHead) -> bool:
    content_type = request.get(b"content-type") or b""
    return content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
