"""Listeners and their route configurations over xDS: compiles, warms and hands over. No I/O; the clock is passed in.

A listener opens (or takes the place of its older version) once all route configurations and filters that it names are here, or
after their initial_fetch_timeout: with empty routes, which answer 404, and the default of the filter. What a listener in service
uses is swapped in at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import Message

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    RpcProxyConfig,
    ScopedRoutesConfig,
)
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.xds.extension_discovery import ExtensionDiscovery
from isthmus_proxy.xds.resources import Update
from isthmus_proxy.xds.scope_discovery import ScopeDiscovery
from isthmus_proxy.xds.source import ApiSource

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import Scope

NEVER = float("inf")
_log = logging.getLogger(__name__)


class Listeners(Protocol):
    """What is needed of the listener manager."""

    def reserve(self, config: ListenerConfig) -> object:
        """Take the address of a listener that warms. Raises ConfigError if it cannot be had."""
        ...

    def add_or_update(self, config: ListenerConfig) -> object:
        """Open a listener or replace it. Raises ConfigError if its address cannot be had."""
        ...

    def remove(self, name: str) -> object:
        """Stop accepting on a listener and drain its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Compilers:
    """How messages become configurations; each raises ConfigError."""

    listener: Callable[[Message], ListenerConfig]
    route: Callable[[Message], RouteConfiguration]
    scope: Callable[[Message], Scope]


Need = tuple[str, str]
"""Kind (``RDS``, ``ECDS``, ``SRDS``) and name of what a listener waits for."""


@dataclass(frozen=True, slots=True)
class Warming:
    """A listener that waits for what it names: with a deadline each."""

    config: ListenerConfig
    missing: dict[Need, float]


def all_references(config: ListenerConfig, scoped: frozenset[str]) -> Iterator[tuple[RdsReference, str]]:
    """Every mention of a route configuration in a listener, with the stat prefix of its user.

    ``scoped`` are those that scopes over xDS name.
    """
    for chain in config.all_chains:
        manager = chain.network_filter
        if not isinstance(manager, HttpConnectionManagerConfig | RpcProxyConfig):
            continue
        if isinstance(manager.route, RdsReference):
            yield manager.route, manager.stat_prefix
        elif isinstance(manager.route, ScopedRoutesConfig):
            for reference in manager.route.references(scoped):
                yield reference, manager.stat_prefix


def route_references(config: ListenerConfig, scoped: frozenset[str]) -> dict[str, tuple[RdsReference, str]]:
    """The route configurations that a listener takes over RDS, by name."""
    return {each[0].route_config_name: each for each in all_references(config, scoped)}


class ListenerDiscovery:
    """See the module. ``subscribe`` is called with the names of all route configurations that are needed, and
    their sources; ``check`` raises ConfigError for a source that cannot be used. None is the aggregated stream.
    ``subscribe_scopes`` is called with the stat prefixes of those who want scopes of routes.
    """

    def __init__(
        self,
        listeners: Listeners,
        routes: RouteHandles,
        compilers: Compilers,
        subscribe: Callable[[Mapping[str, ApiSource | None]], None],
        clock: Callable[[], float],
        check: Callable[[ApiSource | None], None],
        subscribe_scopes: Callable[[Sequence[str]], None],
        extensions: ExtensionDiscovery,
    ) -> None:
        self._extensions = extensions
        self._subscribe_scopes = subscribe_scopes
        self._scopes = ScopeDiscovery(compilers.scope, lambda scopes: routes.scopes().replace(scopes))
        self._scoped: dict[str, ListenerConfig] = {}  # listeners whose scopes come over xDS, in service or warming
        self._listeners = listeners
        self._routes = routes
        self._compile = compilers
        self._subscribe = subscribe
        self._clock = clock
        self._check = check
        self._static: frozenset[str] = frozenset()
        self._warming: dict[str, Warming] = {}
        self._references: dict[str, dict[str, tuple[RdsReference, str]]] = {}  # by listener, in service or warming
        self._wanted: frozenset[str] = frozenset()
        self._outdated: set[str] = set()  # listeners that the update in hand will change
        self._sources: dict[str, ApiSource | None] = {}  # of route configurations, by name
        self.failures = 0

    def start(self, static: Iterable[ListenerConfig]) -> None:
        """Take the listeners of the bootstrap into service. Raises ConfigError if an address cannot be had."""
        configs = list(static)
        self._static = frozenset(config.name for config in configs)
        for config in configs:
            self._add(config)
        self._subscribe_wanted()

    def apply_listeners(self, update: Update) -> dict[str, str]:
        """LDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for name in update.removed:
            # Before the additions: a new listener may take over the address of one that goes.
            self._remove(name)
        self._outdated = {resource.name for resource in update.resources}
        for resource in update.resources:
            self._outdated.discard(resource.name)
            try:
                if resource.name in self._static:
                    reason = "the bootstrap file has a listener of this name"
                    raise ConfigError("name", resource.name, reason)  # noqa: TRY301
                self._add(self._compile.listener(resource.message))
            except ConfigError as error:
                refused[resource.name] = str(error)
        self._subscribe_wanted()
        return refused

    def apply_routes(self, update: Update) -> dict[str, str]:
        """RDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for resource in update.resources:
            try:
                self._routes.update(self._compile.route(resource.message))
            except ConfigError as error:
                refused[resource.name] = str(error)
            else:
                self._arrived("RDS", resource.name)
        for name in update.removed:
            self._give_up_routes(name)
        return refused

    def apply_scopes(self, update: Update) -> dict[str, str]:
        """SRDS. Returns reasons by name for what is refused. Listeners that wait for it wait for the routes of scopes now."""
        refused = self._scopes.apply(update)
        for name, config in self._scoped.items():
            references = self._references[name] = route_references(config, self._scopes.route_names)
            if name in self._warming:
                self._warming[name].missing.update(self._missing_routes(references))
        self._subscribe_wanted()
        self._arrived("SRDS", "")
        return refused

    def apply_extensions(self, update: Update) -> dict[str, str]:
        """ECDS. Returns reasons by name for what is refused, which nothing waits for either."""
        refused = self._extensions.apply(update)
        for name in [*(resource.name for resource in update.resources), *update.removed]:
            self._arrived("ECDS", name)
        return refused

    def expire(self, now: float) -> list[Need]:
        """Open with empty routes, or without filters, what has waited too long; gives what did not come."""
        due = sorted({need for warming in self._warming.values() for need, at in warming.missing.items() if at <= now})
        for kind, name in due:
            if kind == "RDS":
                self._give_up_routes(name)
            else:
                self._arrived(kind, name)
        return due

    def next_deadline(self) -> float:
        """When ``expire`` is due."""
        deadlines = [at for warming in self._warming.values() for at in warming.missing.values()]
        return min(deadlines, default=NEVER)

    @property
    def warming(self) -> dict[str, Warming]:
        """Listeners that wait, by name."""
        return self._warming

    @property
    def references(self) -> dict[str, str]:
        """Stat prefix of the user of each route configuration that is wanted."""
        return {name: prefix for found in self._references.values() for name, (_, prefix) in found.items()}

    def scope_names(self) -> list[str]:
        """The names under which connection managers take scopes of routes, in order."""
        return sorted({scoped.name for config in self._scoped.values() for scoped in config.scoped_routes})

    def _check_sources(self, config: ListenerConfig) -> None:
        """Raise ConfigError for a source that cannot be used, or is not that of others who want the same routes."""
        self._extensions.check_sources(config, self._outdated)
        own: dict[str, ApiSource | None] = {}
        for reference, _ in all_references(config, self._scopes.route_names):
            name = reference.route_config_name
            self._check(reference.source)
            same = own.setdefault(name, reference.source) == reference.source
            if not same or (
                self._sources.get(name, reference.source) != reference.source and self._is_used(name, config.name)
            ):
                raise ConfigError("rds.config_source", name, "the same routes are taken from another source as well")
        self._sources.update(own)

    def _is_used(self, route_name: str, but_by: str) -> bool:
        others = self._references.keys() - self._outdated - {but_by}
        return any(route_name in self._references[listener] for listener in others)

    def _add(self, config: ListenerConfig) -> None:
        self._check_sources(config)
        references = route_references(config, self._scopes.route_names)
        missing = self._missing_routes(references)
        self._scoped.pop(config.name, None)
        for scoped in config.scoped_routes:
            self._scoped[config.name] = config
            if not self._scopes.received:
                missing["SRDS", ""] = self._deadline(scoped.initial_fetch_timeout)
        for each in self._extensions.use(config):
            missing["ECDS", each.name] = self._deadline(each.initial_fetch_timeout)
        if missing:
            self._listeners.reserve(config)
            self._warming[config.name] = Warming(config, missing)
        else:
            self._listeners.add_or_update(config)
            self._warming.pop(config.name, None)
        self._references[config.name] = references

    def _missing_routes(self, references: Mapping[str, tuple[RdsReference, str]]) -> dict[Need, float]:
        return {
            ("RDS", name): self._deadline(reference.initial_fetch_timeout)
            for name, (reference, _) in references.items()
            if self._routes.get_or_create(name).table is None
        }

    def _deadline(self, timeout: float) -> float:
        return self._clock() + timeout if timeout > 0 else NEVER

    def _remove(self, name: str) -> None:
        self._extensions.forget(name)
        self._scoped.pop(name, None)
        self._references.pop(name, None)
        self._warming.pop(name, None)
        self._listeners.remove(name)

    def _give_up_routes(self, route_name: str) -> None:
        """Nothing is to be had under ``route_name`` for now: serve 404 if nothing is there, keep what is."""
        if self._routes.get_or_create(route_name).table is None:
            self._routes.update(RouteConfiguration(route_name, ()))
        self._arrived("RDS", route_name)

    def _arrived(self, kind: str, needed: str) -> None:
        for name, warming in list(self._warming.items()):
            warming.missing.pop((kind, needed), None)
            if not warming.missing:
                del self._warming[name]
                self._open(warming.config)

    def _open(self, config: ListenerConfig) -> None:
        """Open a listener that has warmed. Its update was acknowledged long ago, so a failure is logged and counted."""
        try:
            self._listeners.add_or_update(config)
        except ConfigError as error:
            self.failures += 1
            _log.error("a listener that has warmed cannot open: %s", error)

    def _subscribe_wanted(self) -> None:
        self._sources = {name: each.source for found in self._references.values() for name, (each, _) in found.items()}
        wanted = frozenset(self._sources)
        for name in self._wanted - wanted:
            self._routes.remove(name)
        self._wanted = wanted
        self._extensions.subscribe_wanted()
        self._subscribe_scopes([each for config in self._scoped.values() for each in config.scoped_stats])
        self._subscribe(self._sources)
