"""Rules of what an HTTP route of a VirtualService does: route, redirect, direct response, rewrite, retries, headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.cors import check_cors
from isthmus_controlplane.model.validate.destination import check_destination, check_mirrors, check_weights
from isthmus_controlplane.model.validate.fault import check_fault
from isthmus_controlplane.model.validate.text import (
    check_duration,
    check_header_format,
    check_header_name,
    check_header_value,
    check_label_name,
    check_port,
    check_regex,
    check_substitution,
)

REDIRECT_CODES = (301, 302, 303, 307, 308)
MAX_BODY_BYTES = 4096  # RouteConfiguration.max_direct_response_body_size_bytes, its default
MAX_ATTEMPTS = 100
# Conditions of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on that need no further setting.
RETRY_CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "http3-post-connect-failure", "cancelled", "deadline-exceeded",
    "internal", "resource-exhausted", "unavailable",
})  # fmt: skip
_NEEDS_ROUTE = frozenset({"timeout", "retries", "rewrite", "mirror", "mirrors"})
# Changing these by header edits would break the message or its routing.
_PROTECTED_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


def check_action(route: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with the action of one HTTPRoute."""
    given = [
        name
        for name, present in (
            ("route", bool(route.route)),
            ("redirect", route.HasField("redirect")),
            ("directResponse", route.HasField("direct_response")),
            ("delegate", route.HasField("delegate")),
        )
        if present
    ]
    if len(given) != 1:
        found = " and ".join(given) or "nothing"
        yield FieldProblem(path, f"has {found}: give exactly one of route, redirect, directResponse and delegate")
        return
    if route.route:
        yield from _destinations(route, path)
    elif route.HasField("redirect"):
        yield from _redirect(route.redirect, f"{path}.redirect")
    elif route.HasField("direct_response"):
        yield from _direct_response(route.direct_response, f"{path}.directResponse")
    else:
        yield from _delegate(route.delegate, f"{path}.delegate")
    yield from _route_only_fields(route, path)
    if route.HasField("fault"):
        yield from check_fault(route.fault, f"{path}.fault")
    if route.HasField("cors_policy"):
        yield from check_cors(route.cors_policy, f"{path}.corsPolicy")
    yield from _headers(route.headers, f"{path}.headers")


def _route_only_fields(route: Any, path: str) -> Iterator[FieldProblem]:
    if route.HasField("timeout"):
        yield from check_duration(route.timeout, f"{path}.timeout", zero=True)
    if route.HasField("retries"):
        yield from _retries(route.retries, f"{path}.retries")
    if route.HasField("rewrite"):
        yield from _rewrite(route.rewrite, f"{path}.rewrite")
    yield from check_mirrors(route, path)
    if not route.route and not route.HasField("delegate"):
        for field, _ in route.ListFields():
            if field.name in _NEEDS_ROUTE:
                message = "has no effect beside redirect or directResponse: remove it"
                yield FieldProblem(f"{path}.{field.json_name}", message)


def _delegate(delegate: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_label_name(delegate.name, f"{path}.name")
    if delegate.namespace:
        yield from check_label_name(delegate.namespace, f"{path}.namespace")


def _destinations(route: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_weights(route.route, f"{path}.route")
    for index, target in enumerate(route.route):
        below = f"{path}.route[{index}]"
        yield from check_destination(target.destination, f"{below}.destination")
        yield from _headers(target.headers, f"{below}.headers")


def _redirect(redirect: Any, path: str) -> Iterator[FieldProblem]:
    if redirect.redirect_code and redirect.redirect_code not in REDIRECT_CODES:
        codes = ", ".join(map(str, REDIRECT_CODES))
        yield FieldProblem(f"{path}.redirectCode", f"{redirect.redirect_code} is not one of {codes}")
    if redirect.uri and redirect.prefix_rewrite:
        yield FieldProblem(f"{path}.prefixRewrite", "cannot stand beside uri: give one of the two")
    if redirect.authority:
        yield from check_header_value(redirect.authority, f"{path}.authority")
    if redirect.scheme not in {"", "http", "https"}:
        yield FieldProblem(f"{path}.scheme", f"{shown(redirect.scheme)} is not http or https")
    if redirect.WhichOneof("redirect_port") == "port":
        yield from check_port(redirect.port, f"{path}.port")
    for name in ("uri", "prefix_rewrite"):
        yield from check_header_value(getattr(redirect, name), f"{path}.{name}")


def _direct_response(response: Any, path: str) -> Iterator[FieldProblem]:
    if not 200 <= response.status <= 599:
        yield FieldProblem(f"{path}.status", f"{response.status} is not a status: use 200 to 599")
    size = len(response.body.bytes or response.body.string.encode())
    if size > MAX_BODY_BYTES:
        yield FieldProblem(f"{path}.body", f"has {size} bytes: at most {MAX_BODY_BYTES} are possible")


def _rewrite(rewrite: Any, path: str) -> Iterator[FieldProblem]:
    if rewrite.uri and rewrite.HasField("uri_regex_rewrite"):
        yield FieldProblem(f"{path}.uriRegexRewrite", "cannot stand beside uri: give one of the two")
    if rewrite.HasField("uri_regex_rewrite"):
        yield from check_regex(rewrite.uri_regex_rewrite.match, f"{path}.uriRegexRewrite.match")
        regex = rewrite.uri_regex_rewrite
        yield from check_substitution(regex.match, regex.rewrite, f"{path}.uriRegexRewrite.rewrite")
    for name in ("uri", "authority"):
        yield from check_header_value(getattr(rewrite, name), f"{path}.{name}")


def _retries(retries: Any, path: str) -> Iterator[FieldProblem]:
    if not 0 <= retries.attempts <= MAX_ATTEMPTS:
        yield FieldProblem(f"{path}.attempts", f"{retries.attempts} is out of range: use 0 (off) to {MAX_ATTEMPTS}")
    if retries.HasField("per_try_timeout"):
        yield from check_duration(retries.per_try_timeout, f"{path}.perTryTimeout", zero=True)
    if retries.HasField("backoff"):
        yield from check_duration(retries.backoff, f"{path}.backoff", zero=False)
    for part in retries.retry_on.split(","):
        text = part.strip()
        if text and text not in RETRY_CONDITIONS and not (text.isdecimal() and 100 <= int(text) <= 599):
            choices = ", ".join(sorted(RETRY_CONDITIONS))
            yield FieldProblem(f"{path}.retryOn", f"{shown(text)} is not a status code nor one of {choices}")


def _headers(headers: Any, path: str) -> Iterator[FieldProblem]:
    for side, operations in (("request", headers.request), ("response", headers.response)):
        for operation, pairs in (("set", operations.set), ("add", operations.add)):
            for name, value in sorted(pairs.items()):
                below = f"{path}.{side}.{operation}.{name}"
                yield from check_header_edit(name, below)
                yield from check_header_format(value, below)
        for index, name in enumerate(operations.remove):
            below = f"{path}.{side}.remove[{index}]"
            yield from check_header_edit(name, below)


def check_header_edit(name: str, path: str) -> Iterator[FieldProblem]:
    """Yield what speaks against editing a header by a route."""
    yield from check_header_name(name, path)
    if name.lower() in _PROTECTED_HEADERS:
        yield FieldProblem(path, f"{name} belongs to the connection and cannot be edited: remove this")
    if name.lower() == "host":
        yield FieldProblem(path, "the host is not edited as a header: use rewrite.authority")
