"""URI templates of ``path_match_policy`` and ``path_rewrite_policy`` (envoy.extensions.path.{match,rewrite}.uri_template.v3).

Grammar: segments between slashes are literals, ``*`` (one segment), ``**`` (any number, at most once and last among the
wildcards), ``{name}`` or ``{name=pattern}``; behind a last wildcard a literal suffix may follow (``/**.mpd``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus_proxy.route.regex import compile_pattern

_MAX_VARIABLES = 5
_MAX_NAME = 16
_PCHAR = "a-zA-Z0-9-._~%!$&'()+,;:@"  # RFC 3986 appendix A without * and =, which the grammar uses
_ONE, _MANY = f"[{_PCHAR}]+", f"[{_PCHAR}/]*"
_LITERAL = re.compile(_ONE, re.ASCII)
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*", re.ASCII)
_PRINTABLE = re.compile(r"/[!-~]*", re.ASCII)
_REWRITE_LITERAL = re.compile(f"[{_PCHAR}/]+", re.ASCII)


class BadTemplateError(ValueError):
    """A template outside the grammar; the text says where."""


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """A template compiled into an RE2 pattern for the path without its query; ``variables`` in order of appearance."""

    regex: bytes
    variables: tuple[str, ...]


def compile_template(text: str) -> UriTemplate:
    """Compile the template of a route match. Raises BadTemplateError."""
    if not _PRINTABLE.fullmatch(text):
        raise BadTemplateError("must begin with a slash and hold printable ASCII only")
    reader = _Reader(text[1:])
    return UriTemplate(("/" + reader.pattern()).encode(), tuple(reader.variables))


class _Reader:
    """Consumes a template from left to right and collects its variables."""

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._many = False
        self.variables: list[str] = []

    def pattern(self) -> str:
        """The regular expression of all segments and the suffix."""
        found = ""
        while self._rest:
            found += self._segment()
            if not self._rest:
                break
            if self._rest[0] != "/":
                found += self._suffix()
                break
            found += "/"
            self._rest = self._rest[1:]
        return found

    def _segment(self) -> str:
        if self._rest[0] == "*":
            return self._wildcard()
        return self._variable() if self._rest[0] == "{" else self._literal()

    def _wildcard(self) -> str:
        many = self._rest.startswith("**")
        self._rest = self._rest[2 if many else 1 :]
        return self._counted(many=many)

    def _counted(self, *, many: bool) -> str:
        if self._many:
            raise BadTemplateError("no wildcard may follow **")
        self._many = many
        return _MANY if many else _ONE

    def _literal(self) -> str:
        text, slash, rest = self._rest.partition("/")
        if not _LITERAL.fullmatch(text):
            raise BadTemplateError(f'"{text}" is not a literal path segment')
        self._rest = slash + rest
        return re.escape(text)

    def _suffix(self) -> str:
        text = self._literal()
        if self._rest:
            raise BadTemplateError("a literal directly behind a wildcard must be the end of the template")
        return text

    def _variable(self) -> str:
        inside, bracket, rest = self._rest[1:].partition("}")
        if not bracket:
            raise BadTemplateError("a variable is not closed by }")
        name, equals, inner = inside.partition("=")
        self._named(name)
        if equals and not inner:
            raise BadTemplateError(f'variable "{name}" has an empty pattern')
        found = self._inner(inner) if equals else self._counted(many=False)
        self._rest = rest
        return f"(?P<{name}>{found})"

    def _named(self, name: str) -> None:
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
            raise BadTemplateError(f'"{name}" is not a variable name of at most {_MAX_NAME} letters and digits')
        if name in self.variables:
            raise BadTemplateError(f'variable "{name}" is used twice')
        if len(self.variables) == _MAX_VARIABLES:
            raise BadTemplateError(f"more than {_MAX_VARIABLES} variables")
        self.variables.append(name)

    def _inner(self, pattern: str) -> str:
        self._rest = pattern
        found = ""
        while self._rest:
            found += self._wildcard() if self._rest[0] == "*" else self._literal()
            if not self._rest:
                break
            if self._rest[0] != "/" or len(self._rest) == 1:
                raise BadTemplateError(f'"{pattern}" is not the pattern of a variable')
            found += "/"
            self._rest = self._rest[1:]
        return found


@dataclass(frozen=True, slots=True)
class TemplateRewrite:
    """A new path made of literals and of what variables matched. A number among ``parts`` is the group of a variable."""

    regex: bytes
    parts: tuple[bytes | int, ...]

    def path(self, path: bytes) -> bytes:
        """The rewritten path; ``path`` has no query and matched the template, or else comes back unchanged."""
        found = compile_pattern(self.regex).fullmatch(path)
        if found is None:
            return path
        return b"".join([found.group(part) if isinstance(part, int) else part for part in self.parts])


def compile_rewrite(text: str, template: UriTemplate) -> TemplateRewrite:
    """Compile a path rewrite whose ``{name}`` are variables of ``template``. Raises BadTemplateError."""
    if not text.startswith("/"):
        raise BadTemplateError("must begin with a slash")
    parts: list[bytes | int] = []
    for index, part in enumerate(re.split(r"\{([^{}]*)\}", text)):
        if index % 2:
            parts.append(_group(part, template))
        elif part:
            if not _REWRITE_LITERAL.fullmatch(part) or "//" in part:
                raise BadTemplateError(f'"{part}" is not a literal path without empty segments')
            parts.append(part.encode())
    return TemplateRewrite(template.regex, tuple(parts))


def _group(name: str, template: UriTemplate) -> int:
    if name not in template.variables:
        raise BadTemplateError(f'variable "{name}" is not in the template of path_match_policy')
    return template.variables.index(name) + 1
