"""HTTP filters of listeners over xDS (ECDS): which are needed, from where, and what came. No I/O.

A name that cannot be had, or whose configuration is refused, holds no listener up: its default serves, or 500, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension, ListenerConfig
from isthmus_proxy.xds.resources import Update
from isthmus_proxy.xds.source import ApiSource

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.discovered import ExtensionHandles


class ExtensionDiscovery:
    """See the module. ``handles`` loads where configurations are kept; ``subscribe`` is called with the names that are needed.

    ``check`` raises ConfigError for a source that cannot be used; None is the aggregated stream. ``count`` is told the name and
    ``config_reload`` or ``config_fail``.
    """

    def __init__(
        self,
        handles: Callable[[], ExtensionHandles],
        compile_extension: Callable[[Message], Extension],
        subscribe: Callable[[Mapping[str, ApiSource | None]], None],
        check: Callable[[ApiSource | None], None],
        count: Callable[[str, str], None],
    ) -> None:
        self._count = count
        self._handles = handles
        self._compile = compile_extension
        self._subscribe = subscribe
        self._check = check
        self._users: dict[str, tuple[DiscoveredFilterConfig, ...]] = {}  # by listener
        self._wanted: frozenset[str] = frozenset()
        self._bodies: dict[str, bytes] = {}  # as they are in service, by name

    def check_sources(self, config: ListenerConfig, outdated: set[str]) -> None:
        """Raise ConfigError for a source that cannot be used, or is not that of others who want the same name.

        What listeners in ``outdated`` use does not count any more.
        """
        found = {
            each.name: each.source
            for listener, references in self._users.items()
            if listener != config.name and listener not in outdated
            for each in references
        }
        for each in config.discovered_filters:
            self._check(each.source)
            if found.setdefault(each.name, each.source) != each.source:
                reason = "the same configuration is taken from another source as well"
                raise ConfigError("config_discovery.config_source", each.name, reason)

    def use(self, config: ListenerConfig) -> list[DiscoveredFilterConfig]:
        """A listener is added or changed; the filters for which it has to wait."""
        references = config.discovered_filters
        self._users[config.name] = references
        if not references:
            return []
        handles = self._handles()
        return [each for each in references if not each.without_warming and handles.current(each.name) is None]

    def forget(self, listener: str) -> None:
        """A listener is gone."""
        self._users.pop(listener, None)

    def subscribe_wanted(self) -> None:
        """Ask for what is needed now."""
        sources = {each.name: each.source for references in self._users.values() for each in references}
        wanted = frozenset(sources)
        for name in self._wanted - wanted:
            self._bodies.pop(name, None)
            self._handles().remove(name)
        if wanted or self._wanted:
            self._wanted = wanted
            self._subscribe(sources)

    def apply(self, update: Update) -> dict[str, str]:
        """ECDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for resource in update.resources:
            if self._bodies.get(resource.name) == resource.body:
                continue  # what it counts, and its buckets, go on
            try:
                extension = self._compile(resource.message)
                self._check_kind(resource.name, extension)
                self._handles().get_or_create(resource.name).replace(extension)
            except ConfigError as error:
                refused[resource.name] = str(error)
                self._count(resource.name, "config_fail")
            else:
                self._bodies[resource.name] = resource.body
                self._count(resource.name, "config_reload")
        for name in update.removed:
            if self._bodies.pop(name, None) is not None:
                self._handles().get_or_create(name).replace(None)
                self._count(name, "config_reload")
        return refused

    def _check_kind(self, name: str, extension: Extension) -> None:
        for listener, references in sorted(self._users.items()):
            for each in references:
                if each.name == name and extension.kind not in each.kinds:
                    known = ", ".join(sorted(each.kinds))
                    reason = f"is not among the type_urls of listener {listener}: {known}"
                    raise ConfigError("typed_config", extension.kind, reason)
