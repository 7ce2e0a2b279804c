"""Which routes can match a path, found without looking at the others.

Exact paths are one dictionary, prefixes one dictionary for each length in use. Regular expressions and templates are one
RE2 set, which finds all that match in one pass over the path; a few of them are cheaper tried one by one. Positions come out
in ascending order, so the route that stands first in the configuration is tried first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain

from isthmus_proxy.route.matcher import StringTest, string_test
from isthmus_proxy.route.model import Route, RouteMatch
from isthmus_proxy.route.regex import PatternSet

_Buckets = dict[bytes, list[int]]

SET_FROM = 4
"""Patterns from which on a set pays: below, trying them in order ends at the first that serves."""


class _Paths:
    """Exact paths and prefixes of one case sensitivity."""

    __slots__ = ("exact", "prefixes", "separated")

    def __init__(self) -> None:
        self.exact: _Buckets = {}
        self.prefixes: dict[int, _Buckets] = {}
        self.separated: dict[int, _Buckets] = {}

    def bucket(self, match: RouteMatch) -> list[int]:
        value = match.path.value
        if match.path.kind == "exact":
            return self.exact.setdefault(value, [])
        lengths = self.prefixes if match.path.kind == "prefix" else self.separated
        return lengths.setdefault(len(value), {}).setdefault(value, [])

    def collect(self, path: bytes) -> list[list[int]]:
        found = []
        exact = self.exact.get(path)
        if exact is not None:
            found.append(exact)
        for length, buckets in self.prefixes.items():
            positions = buckets.get(path[:length])
            if positions is not None:
                found.append(positions)
        for length, buckets in self.separated.items():
            if path[length : length + 1] in (b"", b"/"):
                positions = buckets.get(path[:length])
                if positions is not None:
                    found.append(positions)
        return found


class PathIndex:
    """Built once from the routes of one virtual host; ``conditional`` tells which of them ask for more than the path."""

    __slots__ = ("_connects", "_folded", "_plain", "_regexes", "_set")

    def __init__(self, routes: Sequence[Route], conditional: Sequence[bool]) -> None:
        self._plain = _Paths()
        self._folded: _Paths | None = None
        self._connects: list[int] = []
        self._regexes: list[tuple[int, StringTest]] = []
        closed: set[tuple[bytes, str, bool]] = set()
        for position, (route, more) in enumerate(zip(routes, conditional, strict=True)):
            path = route.match.path
            key = (path.value, path.kind, path.ignore_case)
            if key in closed:
                continue  # an earlier route takes every request that this one could match
            if not more:
                closed.add(key)
            self._add(position, route.match)
        self._set: PatternSet | None = None
        if len(self._regexes) >= SET_FROM:
            self._set = PatternSet([routes[position].match.path.value for position, _ in self._regexes])

    def _add(self, position: int, match: RouteMatch) -> None:
        if match.path.kind == "connect":
            self._connects.append(position)
        elif match.path.kind in ("regex", "template"):
            self._regexes.append((position, string_test(match.path)))
        elif match.path.ignore_case:
            if self._folded is None:
                self._folded = _Paths()
            self._folded.bucket(match).append(position)
        else:
            self._plain.bucket(match).append(position)

    def candidates(self, path: bytes) -> Iterator[int]:
        """Yield ascending positions of the routes whose path condition holds for ``path`` (without its query).

        A CONNECT request has no path, and only routes with a connect_matcher take it.
        """
        if not path:
            return iter(self._connects)
        found = self._plain.collect(path)
        if self._folded is not None:
            found += self._folded.collect(path.lower())
        if self._regexes:
            return merge(*found, self._matching(path))
        return iter(found[0]) if len(found) == 1 else iter(sorted(chain.from_iterable(found)))

    def _matching(self, path: bytes) -> Iterator[int]:
        regexes = self._regexes
        if self._set is not None and (found := self._set.matching(path)) is not None:
            return iter([regexes[index][0] for index in found])
        # Lazy: a pattern behind the route that serves the request is never tried.
        return (position for position, test in regexes if test(path))
