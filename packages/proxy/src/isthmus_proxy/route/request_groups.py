"""Stats of groups of requests: of a route with stat_prefix, and of the virtual clusters of a virtual host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.route.matcher import Condition, fields_tests
from isthmus_proxy.route.model import Decision, Route, RouteConfiguration, VirtualHost

OTHER = "other"
"""The virtual cluster of requests that no other takes, as in Envoy."""


class StatsScope(Protocol):
    """Where stats are made: a scope of the stats store (``observe.stats.Scope``)."""

    def counter(self, name: str) -> Counter:
        """Return the counter ``name`` of this scope."""
        ...

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of milliseconds ``name`` of this scope."""
        ...

    def close(self) -> None:
        """Forget everything made in this scope."""
        ...


MakeScope = Callable[[str], StatsScope]


class RequestStats:
    """What is counted of one group, under Envoy's names. ``name`` is that of a configured virtual cluster, else empty."""

    __slots__ = (
        "_codes", "name", "scope", "upstream_rq_completed", "upstream_rq_retry", "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow", "upstream_rq_retry_success", "upstream_rq_time", "upstream_rq_timeout", "upstream_rq_total",
    )  # fmt: skip

    def __init__(self, scope: StatsScope, name: str = "") -> None:
        self.name = name
        self.scope = scope
        self.upstream_rq_total = scope.counter("upstream_rq_total")
        self.upstream_rq_completed = scope.counter("upstream_rq_completed")
        self.upstream_rq_timeout = scope.counter("upstream_rq_timeout")
        self.upstream_rq_retry = scope.counter("upstream_rq_retry")
        self.upstream_rq_retry_limit_exceeded = scope.counter("upstream_rq_retry_limit_exceeded")
        self.upstream_rq_retry_overflow = scope.counter("upstream_rq_retry_overflow")
        self.upstream_rq_retry_success = scope.counter("upstream_rq_retry_success")
        self.upstream_rq_time = scope.histogram("upstream_rq_time")
        self._codes: dict[int, tuple[Counter, Counter]] = {}

    def charge(self, status: int) -> None:
        """Count a request that is over with ``status``; one beyond 599 counts as a server error of unknown code."""
        known = status if 100 <= status <= 599 else 0
        counters = self._codes.get(known)
        if counters is None:
            code = self.scope.counter(f"upstream_rq_{known or 'unknown'}")
            counters = self._codes[known] = code, self.scope.counter(f"upstream_rq_{known // 100 or 5}xx")
        self.upstream_rq_completed.value += 1
        counters[0].value += 1
        counters[1].value += 1


Groups = tuple[RequestStats, ...]
"""The groups of one request: its route's, if it has one, and its virtual cluster's."""


class _Host:
    """The virtual clusters of one virtual host, in order, the last of which takes everything."""

    __slots__ = ("_clusters",)

    def __init__(self, host: VirtualHost, scope: MakeScope) -> None:
        prefix = f"vhost.{host.name}.vcluster"
        clusters: list[tuple[tuple[Condition, ...], RequestStats]] = [
            (fields_tests(cluster.headers), RequestStats(scope(f"{prefix}.{cluster.name}"), cluster.name))
            for cluster in host.virtual_clusters
        ]
        if clusters:
            clusters.append(((), RequestStats(scope(f"{prefix}.{OTHER}"))))
        self._clusters = clusters

    def of(self, request: RequestHead) -> Groups:
        for tests, stats in self._clusters:
            if all(test(request) for test in tests):
                return (stats,)
        return ()

    def stats(self) -> list[RequestStats]:
        return [stats for _, stats in self._clusters]


class RequestGroups:
    """The groups of one route configuration."""

    __slots__ = ("_hosts", "_routes", "_stats")

    def __init__(self, configuration: RouteConfiguration, scope: MakeScope) -> None:
        self._stats: list[RequestStats] = []
        self._hosts = {host.name: _Host(host, scope) for host in configuration.virtual_hosts if host.virtual_clusters}
        for host in self._hosts.values():
            self._stats += host.stats()
        self._routes: dict[tuple[str, str], RequestStats] = {}
        for virtual_host in configuration.virtual_hosts:
            for route in virtual_host.routes:
                self._add(virtual_host, route, scope)

    def _add(self, host: VirtualHost, route: Route, scope: MakeScope) -> None:
        key = host.name, route.stat_prefix
        if route.stat_prefix and key not in self._routes:
            self._routes[key] = RequestStats(scope(f"vhost.{host.name}.route.{route.stat_prefix}"))
            self._stats.append(self._routes[key])

    def of(self, decision: Decision, request: RequestHead) -> Groups:
        """The groups of ``request``, which ``decision`` is about."""
        route = self._routes.get((decision.virtual_host.name, decision.route.stat_prefix))
        host = self._hosts.get(decision.virtual_host.name)
        return (() if route is None else (route,)) + (() if host is None else host.of(request))

    def close(self) -> None:
        """Forget the stats, unless another route configuration has them too."""
        for stats in self._stats:
            stats.scope.close()


def make_groups(configuration: RouteConfiguration, scope: MakeScope | None) -> RequestGroups | None:
    """The groups of ``configuration``, None if it asks for none, so that requests pay nothing."""
    asked = any(
        host.virtual_clusters or any(route.stat_prefix for route in host.routes) for host in configuration.virtual_hosts
    )
    return RequestGroups(configuration, scope) if asked and scope is not None else None
