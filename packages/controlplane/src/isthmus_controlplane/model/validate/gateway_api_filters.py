"""Rules of the filters of HTTPRoute and GRPCRoute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.http_action import REDIRECT_CODES, check_header_edit
from isthmus_controlplane.model.validate.text import check_header_value, check_host, check_port

_FIELDS = {
    "RequestHeaderModifier": "request_header_modifier", "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror", "RequestRedirect": "request_redirect", "URLRewrite": "url_rewrite",
}  # fmt: skip
_OF_GRPC = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror")
_OF_BACKEND = ("RequestHeaderModifier", "ResponseHeaderModifier")
_WHOLE = 100


def check_filters(rule: Any, path: str, *, http: bool) -> Iterator[FieldProblem]:
    """Yield what is wrong with the filters of a rule and of its backends."""
    yield from _listed(rule.filters, path, tuple(_FIELDS) if http else _OF_GRPC)
    base = path.removesuffix(".filters")
    for number, reference in enumerate(rule.backend_refs):
        yield from _listed(reference.filters, f"{base}.backendRefs[{number}].filters", _OF_BACKEND)
    types = [each.type for each in rule.filters]
    if "RequestRedirect" in types:
        at = f"{path}[{types.index('RequestRedirect')}]"
        if rule.backend_refs:
            yield FieldProblem(at, "cannot stand beside backendRefs: a redirect answers itself")
        if "URLRewrite" in types:
            yield FieldProblem(at, "cannot stand beside URLRewrite: give one of the two")
    for number, each in enumerate(rule.filters):
        yield from _prefix_replaced(rule, each, f"{path}[{number}]")


def _listed(filters: Any, path: str, types: tuple[str, ...]) -> Iterator[FieldProblem]:
    seen: set[str] = set()
    for number, each in enumerate(filters):
        below = f"{path}[{number}]"
        if each.type not in types:
            yield FieldProblem(
                f"{below}.type", f"{shown(each.type)} is not supported here: use one of {', '.join(types)}"
            )
            continue
        given = [field.name for field, _ in each.ListFields() if field.name != "type"]
        if given != [_FIELDS[each.type]]:
            yield FieldProblem(
                below, f"has {', '.join(given) or 'nothing'}: give the field of {each.type}, and no other"
            )
            continue
        if each.type in seen and each.type != "RequestMirror":
            yield FieldProblem(f"{below}.type", f"{each.type} stands there twice: put them together")
        seen.add(each.type)
        yield from _check(each, below)


def _check(each: Any, path: str) -> Iterator[FieldProblem]:
    match each.type:
        case "RequestHeaderModifier":
            yield from _headers(each.request_header_modifier, f"{path}.requestHeaderModifier")
        case "ResponseHeaderModifier":
            yield from _headers(each.response_header_modifier, f"{path}.responseHeaderModifier")
        case "RequestMirror":
            yield from _mirror(each.request_mirror, f"{path}.requestMirror")
        case "RequestRedirect":
            yield from _redirect(each.request_redirect, f"{path}.requestRedirect")
        case _:
            yield from _target(each.url_rewrite, f"{path}.urlRewrite")


def _headers(changes: Any, path: str) -> Iterator[FieldProblem]:
    for operation in ("set", "add"):
        names: set[str] = set()
        for number, each in enumerate(getattr(changes, operation)):
            below = f"{path}.{operation}[{number}]"
            yield from check_header_edit(each.name, f"{below}.name")
            yield from check_header_value(each.value, f"{below}.value")
            if each.name.lower() in names:
                yield FieldProblem(f"{below}.name", f"{shown(each.name)} stands there twice: remove one")
            names.add(each.name.lower())
    for number, name in enumerate(changes.remove):
        yield from check_header_edit(name, f"{path}.remove[{number}]")


def _mirror(mirror: Any, path: str) -> Iterator[FieldProblem]:
    if mirror.HasField("percent") and mirror.HasField("fraction"):
        yield FieldProblem(f"{path}.fraction", "cannot stand beside percent: give one of the two")
    if not 0 <= mirror.percent <= _WHOLE:
        yield FieldProblem(f"{path}.percent", f"{mirror.percent} is not a percentage: use 0 to {_WHOLE}")
    if mirror.HasField("fraction"):
        whole = mirror.fraction.denominator if mirror.fraction.HasField("denominator") else _WHOLE
        if not 0 <= mirror.fraction.numerator <= whole or whole < 1:
            message = f"{mirror.fraction.numerator} of {whole} is not a part of a whole"
            yield FieldProblem(f"{path}.fraction.numerator", message)


def _redirect(redirect: Any, path: str) -> Iterator[FieldProblem]:
    if redirect.scheme not in {"", "http", "https"}:
        yield FieldProblem(f"{path}.scheme", f"{shown(redirect.scheme)} is not http or https")
    if redirect.HasField("status_code") and redirect.status_code not in REDIRECT_CODES:
        codes = ", ".join(map(str, REDIRECT_CODES))
        yield FieldProblem(f"{path}.statusCode", f"{redirect.status_code} is not one of {codes}")
    if redirect.HasField("port"):
        yield from check_port(redirect.port, f"{path}.port")
    yield from _target(redirect, path)


def _target(target: Any, path: str) -> Iterator[FieldProblem]:
    if target.hostname:
        yield from check_host(target.hostname, f"{path}.hostname", wildcard=False)
    if not target.HasField("path"):
        return
    wanted = {"ReplaceFullPath": "replace_full_path", "ReplacePrefixMatch": "replace_prefix_match"}.get(
        target.path.type
    )
    given = [field.name for field, _ in target.path.ListFields() if field.name != "type"]
    if wanted is None or given != [wanted]:
        message = (
            f"{shown(target.path)} needs a type, ReplaceFullPath or ReplacePrefixMatch, and the field of that name"
        )
        yield FieldProblem(f"{path}.path", message)
        return
    value = getattr(target.path, wanted)
    yield from check_header_value(value, f"{path}.path.{target.path.type[0].lower()}{target.path.type[1:]}")
    if wanted == "replace_full_path" and not value.startswith("/"):
        yield FieldProblem(f"{path}.path.replaceFullPath", f"{shown(value)} is not a path: begin with '/'")


def _prefix_replaced(rule: Any, each: Any, path: str) -> Iterator[FieldProblem]:
    """A prefix can be replaced where one is matched."""
    for name, below in (("request_redirect", "requestRedirect"), ("url_rewrite", "urlRewrite")):
        if not each.HasField(name) or not getattr(each, name).path.HasField("replace_prefix_match"):
            continue
        if any(match.path.type not in {"", "PathPrefix"} for match in rule.matches):
            message = "needs matches with PathPrefix alone: another match has no prefix to replace"
            yield FieldProblem(f"{path}.{below}.path.replacePrefixMatch", message)
