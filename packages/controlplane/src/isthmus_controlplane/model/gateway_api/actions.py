"""What a rule of HTTPRoute or GRPCRoute does, as an HTTPRoute of a VirtualService. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import HTTPRedirect, HTTPRoute
from isthmus_controlplane.model.gateway_api.matches import Form

DEFAULT_REDIRECT = 302
DEFAULT_ATTEMPTS = 2  # Istio's, where a route says nothing of retries
NO_BACKEND = 500  # what the specification answers where nobody can
_WHOLE_PATH = "/.*"

Resolve = Callable[[Any], Any]


def action_of(rule: Any, form: Form, resolve: Resolve) -> HTTPRoute:
    """Return what happens to requests of one form of a match.

    Args:
        rule: of an HTTPRoute or a GRPCRoute.
        form: which part of a path prefix, since what replaces a prefix differs for it.
        resolve: returns the ``Destination`` of a reference; one without host where it leads nowhere.
    """
    http = HTTPRoute()
    redirect = next((each.request_redirect for each in rule.filters if each.type == "RequestRedirect"), None)
    if redirect is not None:
        _set_redirect(http.redirect, redirect, form)
    else:
        _set_targets(http, rule.backend_refs, resolve)
    for each in rule.filters:
        _apply(http, each, form, resolve)
    if "timeouts" in rule.DESCRIPTOR.fields_by_name and http.route:
        _set_timeouts(http, rule.timeouts)
    return http


def _set_targets(http: Any, references: Any, resolve: Resolve) -> None:
    """Share requests; without anybody who gets some the answer is 500."""
    weights = [each.weight if each.HasField("weight") else 1 for each in references]
    if not any(weights):
        http.direct_response.status = NO_BACKEND
        return
    for each, weight in zip(references, weights, strict=True):
        target = http.route.add(weight=weight)
        target.destination.CopyFrom(resolve(each))
        for route_filter in each.filters:
            edit_headers(target.headers, route_filter)


def _apply(http: Any, route_filter: Any, form: Form, resolve: Resolve) -> None:
    match route_filter.type:
        case "RequestHeaderModifier" | "ResponseHeaderModifier":
            edit_headers(http.headers, route_filter)
        case "RequestMirror" if http.route:
            _add_mirror(http, route_filter.request_mirror, resolve)
        case "URLRewrite" if http.route:
            _set_rewrite(http.rewrite, route_filter.url_rewrite, form)


def edit_headers(headers: Any, route_filter: Any) -> None:
    """Add the changes of a filter; values are texts, so that their ``%`` means itself."""
    for name, side in (("request_header_modifier", headers.request), ("response_header_modifier", headers.response)):
        if not route_filter.HasField(name):
            continue
        changes = getattr(route_filter, name)
        for pairs, target in ((changes.set, side.set), (changes.add, side.add)):
            for each in pairs:
                target[each.name] = each.value.replace("%", "%%")
        side.remove.extend(changes.remove)


def _add_mirror(http: Any, mirror: Any, resolve: Resolve) -> None:
    destination = resolve(mirror.backend_ref)
    if not destination.host:
        return
    copy = http.mirrors.add(destination=destination)
    if mirror.HasField("percent"):
        copy.percentage.value = mirror.percent
    elif mirror.HasField("fraction"):
        whole = mirror.fraction.denominator if mirror.fraction.HasField("denominator") else 100
        copy.percentage.value = 100 * mirror.fraction.numerator / whole


def _set_redirect(redirect: Any, wanted: Any, form: Form) -> None:
    redirect.redirect_code = wanted.status_code if wanted.HasField("status_code") else DEFAULT_REDIRECT
    redirect.authority = wanted.hostname
    redirect.scheme = wanted.scheme
    if wanted.HasField("port"):
        redirect.port = wanted.port
    elif wanted.scheme:
        redirect.derive_port = HTTPRedirect.FROM_PROTOCOL_DEFAULT
    else:
        redirect.derive_port = HTTPRedirect.FROM_REQUEST_PORT
    if wanted.path.HasField("replace_full_path"):
        redirect.uri = wanted.path.replace_full_path
    elif wanted.path.HasField("replace_prefix_match"):
        replacement = _in_place_of(form, wanted.path.replace_prefix_match)
        if form == "whole":
            redirect.uri = replacement
        else:
            redirect.prefix_rewrite = replacement


def _set_rewrite(rewrite: Any, wanted: Any, form: Form) -> None:
    rewrite.authority = wanted.hostname
    if wanted.path.HasField("replace_full_path"):
        rewrite.uri_regex_rewrite.match = _WHOLE_PATH
        rewrite.uri_regex_rewrite.rewrite = wanted.path.replace_full_path.replace("\\", "\\\\")
    elif wanted.path.HasField("replace_prefix_match"):
        rewrite.uri = _in_place_of(form, wanted.path.replace_prefix_match)


def _in_place_of(form: Form, replacement: str) -> str:
    """Return what stands in the place of a prefix without (``whole``) or with its last slash."""
    bare = replacement.rstrip("/")
    return (bare or "/") if form == "whole" else f"{bare}/"


def _set_timeouts(http: Any, timeouts: Any) -> None:
    if timeouts.HasField("request"):
        http.timeout.CopyFrom(timeouts.request)
    if timeouts.HasField("backend_request") and timeouts.backend_request.ToNanoseconds():
        http.retries.attempts = DEFAULT_ATTEMPTS
        http.retries.per_try_timeout.CopyFrom(timeouts.backend_request)
