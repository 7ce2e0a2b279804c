"""Scopes of routes over xDS (SRDS): one set for all connection managers that take theirs from there. No I/O.

Two scopes cannot have one key: the later one is refused by name, and what it was before stays if its key is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.resources import Update

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import Key, Scope


class ScopeDiscovery:
    """See the module. ``publish`` takes all scopes into service."""

    def __init__(self, compile_scope: Callable[[Message], Scope], publish: Callable[[Iterable[Scope]], None]) -> None:
        self._compile = compile_scope
        self._publish = publish
        self._scopes: dict[str, Scope] = {}
        self.received = False

    @property
    def route_names(self) -> frozenset[str]:
        """The route configurations that scopes take over RDS."""
        return frozenset(scope.route for scope in self._scopes.values() if isinstance(scope.route, str))

    def apply(self, update: Update) -> dict[str, str]:
        """SRDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        scopes = dict(self._scopes)
        for name in (*update.removed, *(resource.name for resource in update.resources)):
            scopes.pop(name, None)
        taken: dict[Key, str] = {scope.key: scope.name for scope in scopes.values()}
        for resource in update.resources:
            try:
                scope: Scope | None = self._compile(resource.message)
                self._check_key(scope, taken)
            except ConfigError as error:
                refused[resource.name] = str(error)
                scope = self._scopes.get(resource.name)
            if scope is not None and scope.key not in taken:
                scopes[scope.name] = scope
                taken[scope.key] = scope.name
        self._scopes = scopes
        self.received = True
        self._publish(scopes.values())
        return refused

    @staticmethod
    def _check_key(scope: Scope | None, taken: dict[Key, str]) -> None:
        if scope is not None and scope.key in taken:
            raise ConfigError("key", "", f"scope {taken[scope.key]} has the same key")
