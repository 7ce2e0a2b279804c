"""What the last translation built, so that a change costs what it changes. Equal inputs give the same message objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from isthmus_controlplane.model.scope import NodeKind
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.locality import Client

Clusters = tuple[tuple[Any, Any], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Built:
    """A result with everything it was made from."""

    inputs: Any
    result: Any


class Memo:
    """Remembers clusters per service and kind of node, route configurations per scope and name, and virtual hosts in these.

    Bounded by what is configured: `forget` drops what is not there any more, and a changed input replaces its entry.
    """

    def __init__(self) -> None:
        self._clusters: dict[tuple[NodeKind, str, Client], _Built] = {}
        self._routes: dict[Any, _Built] = {}
        self._hosts: dict[Any, _Built] = {}
        self.hits = 0
        self.misses = 0

    def clusters(
        self, kind: NodeKind, service: Service, rule: ConfigObject | None, client: Client, make: Callable[[], Clusters]
    ) -> Clusters:
        """Return the clusters of a service for clients at one place, made before from the same service and rule, or now."""
        result: Clusters = self._find(self._clusters, (kind, service.host, client), (service, rule), make)
        return result

    def route_configuration(self, key: Any, inputs: Any, make: Callable[[], Any]) -> Any:
        """Return a route configuration, made before from equal inputs, or now."""
        return self._find(self._routes, key, inputs, make)

    def virtual_host(self, key: Any, inputs: Any, make: Callable[[], Any]) -> Any:
        """Return a virtual host, made before from equal inputs, or now; ``key`` is (scope, route configuration, host, port)."""
        return self._find(self._hosts, key, inputs, make)

    def _find(self, table: dict[Any, _Built], key: Any, inputs: Any, make: Callable[[], Any]) -> Any:
        known = table.get(key)
        # Comparing tuples tries identity first, so what did not change costs little.
        if known is not None and known.inputs == inputs:
            self.hits += 1
            return known.result
        self.misses += 1
        result = make()
        table[key] = _Built(inputs, result)
        return result

    def forget(self, hosts: Iterable[str], scopes: Iterable[Any]) -> None:
        """Drop what belongs to other hosts or scopes than these."""
        kept_hosts, kept_scopes = frozenset(hosts), frozenset(scopes)
        places = {"", *(scope.locality for scope in kept_scopes)}
        labels = {pair for scope in kept_scopes for pair in scope.labels}
        self._clusters = {
            key: built
            for key, built in self._clusters.items()
            if key[1] in kept_hosts and key[2].locality in places and labels.issuperset(key[2].labels)
        }
        self._routes = {key: built for key, built in self._routes.items() if key[0] in kept_scopes}
        self._hosts = {
            key: built for key, built in self._hosts.items() if key[0] in kept_scopes and key[2] in kept_hosts
        }
