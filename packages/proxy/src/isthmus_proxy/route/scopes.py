"""Scoped routes: which route configuration a request goes by, chosen by a key that its headers make. Pure.

A request of which no key can be made, or whose key no scope has, goes by none: 404, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.route.table import RouteHandle, RouteHandles, RouteTable

Key = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FragmentBuilder:
    """HeaderValueExtractor. The value is split at ``separator``, unless that is empty.

    With ``element`` the first part whose text before its separator is its key gives what follows; without, the part at
    ``index``. ``name`` is lower case, or ``:method``, ``:path``, ``:authority``, ``:scheme``.
    """

    name: bytes
    separator: bytes = b""
    index: int = 0
    element: tuple[bytes, bytes] | None = None  # separator and key

    def fragment(self, head: RequestHead) -> bytes | None:
        """The part of the key that this header gives; None if it gives none."""
        value = self._value(head)
        if value is None:
            return None
        parts = value.split(self.separator) if self.separator else [value]
        if self.element is None:
            return parts[self.index] if self.index < len(parts) else None
        separator, key = self.element
        for part in parts:
            before, _, after = part.partition(separator)
            if before == key:
                return after
        return None

    def _value(self, head: RequestHead) -> bytes | None:
        """The first value alone: others may have been added on the way."""
        name = self.name
        if not name.startswith(b":"):
            return head.authority if name == b"host" else head.get(name)
        pseudo = {b":method": head.method, b":path": head.path, b":authority": head.authority, b":scheme": head.scheme}
        return pseudo.get(name)


@dataclass(frozen=True, slots=True)
class Scope:
    """ScopedRouteConfiguration. ``route`` is the configuration itself, or its name, by which it comes over RDS."""

    name: str
    key: Key
    route: RouteConfiguration | str


def key_of(builders: tuple[FragmentBuilder, ...], head: RequestHead) -> Key | None:
    """The key of a request; None unless every builder gives its part."""
    key: list[bytes] = []
    for builder in builders:
        fragment = builder.fragment(head)
        if fragment is None:
            return None
        key.append(fragment)
    return tuple(key)


class ScopeSet:
    """Scopes in use by their keys. An update is one call; requests in flight keep their tables."""

    __slots__ = ("_by_key", "_own", "_routes")

    def __init__(self, routes: RouteHandles) -> None:
        self._routes = routes
        self._by_key: dict[Key, tuple[Scope, RouteHandle]] = {}
        self._own: dict[
            tuple[str, str], RouteTable
        ] = {}  # of scopes that hold their configuration, by name and content

    def replace(self, scopes: Iterable[Scope]) -> None:
        """Let exactly ``scopes``, whose keys differ, be in use."""
        wanted = list(scopes)
        before, self._own = self._own, {}
        self._by_key = {scope.key: (scope, self._handle(scope, before)) for scope in wanted}
        for same, table in before.items():
            if same not in self._own:
                table.close()

    def _handle(self, scope: Scope, before: Mapping[tuple[str, str], RouteTable]) -> RouteHandle:
        if isinstance(scope.route, str):
            return self._routes.get_or_create(scope.route)
        same = scope.name, scope.route.content
        table = self._own[same] = before.get(same) or self._routes.table(scope.route)
        return RouteHandle(scope.route.name, table)

    def find(self, key: Key) -> tuple[Scope, RouteHandle] | None:
        """The scope that has ``key``, and its routes."""
        return self._by_key.get(key)

    def scopes(self) -> Iterator[Scope]:
        """All of them."""
        return (scope for scope, _ in self._by_key.values())

    def close(self) -> None:
        """Give up the tables that are its own."""
        self.replace(())


class ScopedRoutes:
    """The scopes of one connection manager (``HttpConnectionManager.scoped_routes``)."""

    __slots__ = ("builders", "scopes")

    def __init__(self, builders: tuple[FragmentBuilder, ...], scopes: ScopeSet) -> None:
        self.builders = builders
        self.scopes = scopes

    def table_for(self, head: RequestHead) -> RouteTable | None:
        """The routes for a request; None if it fits no scope, or the routes of its scope are not there."""
        key = key_of(self.builders, head)
        found = self.scopes.find(key) if key is not None else None
        return found[1].table if found is not None else None
