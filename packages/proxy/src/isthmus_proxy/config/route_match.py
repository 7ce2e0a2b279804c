"""Compiles config.route.v3.RouteMatch and the matchers inside it."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import flag, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import HeaderMatch, QueryMatch, RegexRewrite, RouteMatch, StringMatch
from isthmus_proxy.route.regex import BadPatternError, compile_pattern, compile_substitution
from isthmus_proxy.route.uri_template import BadTemplateError, UriTemplate, compile_template
from isthmus_proxy.runtime import Fraction

_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_DENOMINATORS = (100, 10_000, 1_000_000)  # type.v3.FractionalPercent.DenominatorType


def compile_match(match: Any, path: str) -> RouteMatch:
    """Compile one route match. Raises ConfigError."""
    return RouteMatch(
        path=_path(match, path),
        headers=compile_headers(match, "headers", path),
        query=tuple(
            _query(item, f"{join(path, 'query_parameters')}[{i}]") for i, item in enumerate(match.query_parameters)
        ),
        fraction=compile_fraction(match.runtime_fraction) if match.HasField("runtime_fraction") else None,
        grpc=match.HasField("grpc"),
    )


def compile_fraction(fraction: Any) -> Fraction:
    """Compile a core.v3.RuntimeFractionalPercent."""
    return compile_percent(fraction.default_value, fraction.runtime_key)


def compile_percent(percent: Any, runtime_key: str = "") -> Fraction:
    """Compile a type.v3.FractionalPercent that ``runtime_key`` overrides."""
    return Fraction(int(percent.numerator), _DENOMINATORS[percent.denominator], runtime_key)


def compile_path_template(policy: Any, path: str) -> UriTemplate:
    """Compile a ``path_match_policy``. Raises ConfigError."""
    path = join(path, "typed_config")
    text = required(unpack_as(policy.typed_config, path, _TEMPLATE), "path_template", path)
    try:
        return compile_template(text)
    except BadTemplateError as error:
        raise ConfigError(join(path, "path_template"), shown(text), str(error)) from error


def _path(match: Any, path: str) -> StringMatch:
    chosen = match.WhichOneof("path_specifier")
    if chosen is None:
        raise ConfigError(
            path,
            "",
            "needs one of prefix, path, path_separated_prefix, safe_regex, connect_matcher and path_match_policy",
        )
    if chosen == "connect_matcher":
        return StringMatch("connect")
    if chosen == "safe_regex":
        return StringMatch("regex", _pattern(match.safe_regex, join(path, "safe_regex")))
    if chosen == "path_match_policy":
        return StringMatch("template", compile_path_template(match.path_match_policy, join(path, chosen)).regex)
    text = getattr(match, chosen)
    if chosen == "path_separated_prefix" and (not text.startswith("/") or text.endswith("/") or set(text) & {"?", "#"}):
        reason = "must begin with a slash, not end with one, and hold neither ? nor #"
        raise ConfigError(join(path, chosen), shown(text), reason)
    folded = not flag(match, "case_sensitive", default=True)
    kind = {"prefix": "prefix", "path": "exact"}.get(chosen, "path_separated_prefix")
    return StringMatch(kind, _bytes(text, folded), folded)  # type: ignore[arg-type]


def _bytes(text: str, folded: bool) -> bytes:
    return text.lower().encode() if folded else text.encode()


def _pattern(matcher: Any, path: str) -> bytes:
    regex = required(matcher, "regex", path).encode()
    try:
        compile_pattern(regex)
    except BadPatternError as error:
        raise ConfigError(join(path, "regex"), shown(matcher.regex), f"is not an RE2 pattern: {error}") from error
    return regex


def compile_regex_rewrite(rewrite: Any, path: str) -> RegexRewrite:
    """Compile a type.matcher.v3.RegexMatchAndSubstitute."""
    pattern = _pattern(rewrite.pattern, join(path, "pattern"))
    try:
        compile_substitution(pattern, rewrite.substitution.encode())
    except BadPatternError as error:
        raise ConfigError(join(path, "substitution"), shown(rewrite.substitution), str(error)) from error
    return RegexRewrite(pattern, rewrite.substitution.encode())


def compile_string(matcher: Any, path: str) -> StringMatch:
    """A type.matcher.v3.StringMatcher. Raises ConfigError."""
    chosen = matcher.WhichOneof("match_pattern")
    if chosen is None:
        raise ConfigError(path, "", "needs one of exact, prefix, suffix, contains and safe_regex")
    if chosen == "safe_regex":
        return StringMatch("regex", _pattern(matcher.safe_regex, join(path, "safe_regex")))
    return StringMatch(chosen, _bytes(getattr(matcher, chosen), matcher.ignore_case), matcher.ignore_case)


def compile_headers(message: Any, field: str, path: str) -> tuple[HeaderMatch, ...]:
    """Compile a list of header matchers."""
    items = enumerate(getattr(message, field))
    return tuple(compile_header_match(item, f"{join(path, field)}[{i}]") for i, item in items)


def compile_header_match(matcher: Any, path: str) -> HeaderMatch:
    """Compile a config.route.v3.HeaderMatcher."""
    name = required(matcher, "name", path).lower().encode()
    invert, empty = matcher.invert_match, matcher.treat_missing_header_as_empty
    chosen = matcher.WhichOneof("header_match_specifier")
    if chosen is None or chosen == "present_match":
        return HeaderMatch(name, present=chosen is None or matcher.present_match, invert=invert)
    if chosen == "range_match":
        bounds = (int(matcher.range_match.start), int(matcher.range_match.end))
        return HeaderMatch(name, range=bounds, invert=invert, treat_missing_as_empty=empty)
    if chosen == "string_match":
        match = compile_string(matcher.string_match, join(path, chosen))
    elif chosen == "safe_regex_match":
        match = StringMatch("regex", _pattern(matcher.safe_regex_match, join(path, chosen)))
    else:
        match = StringMatch(chosen.removesuffix("_match"), getattr(matcher, chosen).encode())
    return HeaderMatch(name, match, invert=invert, treat_missing_as_empty=empty)


def _query(matcher: Any, path: str) -> QueryMatch:
    name = required(matcher, "name", path).encode()
    chosen = matcher.WhichOneof("query_parameter_match_specifier")
    if chosen == "string_match":
        return QueryMatch(name, compile_string(matcher.string_match, join(path, chosen)))
    return QueryMatch(name, StringMatch("present"), present=chosen is None or matcher.present_match)
