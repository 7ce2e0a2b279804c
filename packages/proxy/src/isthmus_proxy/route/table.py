"""The route table: from a request head to the decision that serves it, looked up once for each distinct reading.

Theory of operation. A table reads of a request its authority, its path and what the conditions of its routes name. Two
requests that agree in all of that get the same decision, so the decision is remembered under exactly those bytes. Where a
route has a runtime fraction, what is remembered is the short list of routes that can still be chosen; the draw comes after.
A table never changes: a new route configuration is a new table with an empty memo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.domains import DomainIndex
from isthmus_proxy.route.matcher import Condition, Reader, conditions, names_read, reader
from isthmus_proxy.route.memo import Memo
from isthmus_proxy.route.model import (
    ClusterWeight,
    Decision,
    ForwardAction,
    RedirectAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.path_index import PathIndex
from isthmus_proxy.route.request_groups import MakeScope, make_groups
from isthmus_proxy.runtime import Fraction, Runtime

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import ScopeSet

MEMO_LIMIT = 4096  # decisions; with KEY_LIMIT it bounds the memo to some 4 MB, and to a few hundred KB in practice
KEY_LIMIT = 1024  # bytes of a request that may be remembered; longer readings take the slow path every time

_Draw = tuple[Decision, Fraction | None]
_Answer = tuple[_Draw, ...]


class _Host:
    """One virtual host, compiled."""

    __slots__ = ("_conditions", "_decisions", "_index", "_insecure", "_internal_too")

    def __init__(self, configuration: RouteConfiguration, host: VirtualHost) -> None:
        self._conditions: list[tuple[Condition, ...]] = [conditions(route.match) for route in host.routes]
        self._decisions: list[_Draw] = [
            (_decision(configuration, host, route), route.match.fraction) for route in host.routes
        ]
        conditional = [
            bool(more) or fraction is not None
            for more, (_, fraction) in zip(self._conditions, self._decisions, strict=True)
        ]
        self._index = PathIndex(host.routes, conditional)
        self._insecure = None if host.require_tls == "NONE" else (_to_https(configuration), None)
        self._internal_too = host.require_tls == "ALL"

    def draws(self, request: RequestHead, path: bytes) -> Iterator[_Draw]:
        """Yield the routes that match, up to the first that has no fraction."""
        if (
            self._insecure is not None
            and request.get(b"x-forwarded-proto") != b"https"
            and (self._internal_too or request.get(b"x-envoy-internal") != b"true")
        ):
            yield self._insecure
            return
        for position in self._index.candidates(path):
            for holds in self._conditions[position]:
                if not holds(request):
                    break
            else:
                draw = self._decisions[position]
                yield draw
                if draw[1] is None:
                    return


class RouteTable:
    """A route configuration compiled for lookup. ``memo`` counts its hits, misses and size."""

    __slots__ = (
        "_domains",
        "_hosts",
        "_readers",
        "_whole_path",
        "configuration",
        "groups",
        "memo",
        "retired",
        "runtime",
        "unmemoised",
    )

    def __init__(
        self,
        configuration: RouteConfiguration,
        runtime: Runtime | None = None,
        memo_limit: int = MEMO_LIMIT,
        scope: MakeScope | None = None,
    ) -> None:
        self.configuration = configuration
        self.groups = make_groups(configuration, scope)
        self.runtime = runtime or Runtime()
        self.memo: Memo[_Answer] = Memo(memo_limit)
        self.unmemoised = 0
        self.retired: Callable[[RouteTable], None] | None = None
        hosts = configuration.virtual_hosts
        self._domains = DomainIndex(hosts, configuration.ignore_port_in_host_matching)
        self._hosts = [_Host(configuration, host) for host in hosts]
        names = {name for host in hosts for route in host.routes for name in names_read(route.match)}
        if any(host.require_tls != "NONE" for host in hosts):
            names |= {b"x-forwarded-proto", b"x-envoy-internal"}
        self._whole_path = b":path" in names
        self._readers: tuple[Reader, ...] = tuple(reader(name) for name in sorted(names - {b":path", b":authority"}))

    def decide(self, request: RequestHead, random: float = 0.0) -> Decision | None:
        """Return the decision for ``request``, or None when no route matches (404, flag NR).

        ``random`` in [0, 1) is compared with runtime fractions; draw it anew for each request, apart from the draw of ``pick``.
        """
        path = request.path
        if not self._whole_path:
            end = path.find(b"?")
            if end >= 0:
                path = path[:end]
        key: tuple[object, ...] = (request.authority, path)
        size = len(request.authority) + len(path)
        if self._readers:
            values = tuple([read(request) for read in self._readers])
            key += values
            size += sum([len(value) + 1 for found in values for value in found])
        answer = self.memo.get(key)
        if answer is None:
            answer = self.find(request)
            if size <= KEY_LIMIT:
                self.memo.put(key, answer)
            else:
                self.unmemoised += 1
        for decision, fraction in answer:
            if fraction is None or self.runtime.admits(fraction, random):
                return decision
        return None

    def find(self, request: RequestHead) -> _Answer:
        """Return the decisions that can be drawn for ``request``, without the memo: (decision, fraction or None) in order."""
        position = self._domains.find(request.authority)
        if position is None:
            return ()
        path, _, _ = request.path.partition(b"?")
        if self.configuration.ignore_path_parameters:
            path, _, _ = path.partition(b";")
        return tuple(self._hosts[position].draws(request, path))

    def virtual_host(self, authority: bytes) -> VirtualHost | None:
        """The virtual host for ``authority``, or None."""
        position = self._domains.find(authority)
        return None if position is None else self.configuration.virtual_hosts[position]

    def close(self) -> None:
        """Give up the stats of the table's groups of requests, and tell ``retired`` what the memo counted."""
        if self.groups is not None:
            self.groups.close()
        if self.retired is not None:
            self.retired(self)

    def counts(self) -> dict[str, int]:
        """What the memo did: counters, and its size."""
        memo = self.memo
        return {
            "routes_hits": memo.hits,
            "routes_misses": memo.misses,
            "routes_too_long": self.unmemoised,
            "routes_size": memo.size,
        }


def _to_https(configuration: RouteConfiguration) -> Decision:
    """What a virtual host that requires TLS says to a request without it: no level's header edits apply, as in Envoy."""
    route = Route(RouteMatch(StringMatch("prefix")), RedirectAction(https=True, keep_port=True))
    return Decision(VirtualHost("", (), ()), route, configuration)


def _decision(configuration: RouteConfiguration, host: VirtualHost, route: Route) -> Decision:
    levels: list[Route | VirtualHost | RouteConfiguration] = [route, host, configuration]
    if configuration.most_specific_header_mutations_wins:
        levels.reverse()
    return Decision(
        host,
        route,
        configuration,
        tuple(level.request_headers for level in levels if level.request_headers),
        tuple(level.response_headers for level in levels if level.response_headers),
    )


def pick(action: ForwardAction, random: float, runtime: Runtime | None = None) -> ClusterWeight:
    """Return the cluster of ``action`` for a number in [0, 1): each with the share of its weight."""
    clusters = action.clusters
    if len(clusters) == 1:
        return clusters[0]
    if runtime is not None and clusters[0].runtime_key:
        weights = [runtime.integer(cluster.runtime_key, cluster.weight) for cluster in clusters]
        return _pick(clusters, weights, random * sum(weights))
    mark = random * action.total_weight
    for cluster in clusters:
        mark -= cluster.weight
        if mark < 0:
            return cluster
    return clusters[-1]


def _pick(clusters: Sequence[ClusterWeight], weights: Sequence[int], mark: float) -> ClusterWeight:
    for cluster, weight in zip(clusters, weights, strict=True):
        mark -= weight
        if mark < 0:
            return cluster
    return clusters[-1]


def pick_by_header(action: ForwardAction, value: bytes | None) -> ClusterWeight | None:
    """The cluster for the number that the client gave (weighted_clusters.header_name); None if that is no number."""
    if value is None or not value.isdigit() or len(value) > 20:
        return None
    return pick_by_number(action, int(value))


def pick_by_number(action: ForwardAction, number: int) -> ClusterWeight:
    """The cluster for a number that stays the same for the same client: each with the share of its weight."""
    weights = [cluster.weight for cluster in action.clusters]
    return _pick(action.clusters, weights, number % sum(weights))


class RouteHandle:
    """The current table of one route configuration name. An update is one assignment; requests in flight keep theirs."""

    __slots__ = ("name", "table")

    def __init__(self, name: str, table: RouteTable | None = None) -> None:
        self.name = name
        self.table = table


class RouteHandles:
    """Handles by name: listeners take them, updates fill them, in either order.

    Their tables read ``runtime`` and count groups of requests in scopes of ``scope``; None counts none.
    """

    __slots__ = ("_handles", "_past", "_scope", "_scopes", "_tables", "runtime")

    def __init__(self, runtime: Runtime | None = None, scope: MakeScope | None = None) -> None:
        self.runtime = runtime or Runtime()
        self._scope = scope
        self._scopes: ScopeSet | None = None
        self._tables: set[RouteTable] = set()
        self._past: Counter[str] = Counter()
        self._handles: dict[str, RouteHandle] = {}

    def scopes(self) -> ScopeSet:
        """The scopes that come over xDS; loaded by the first listener that asks for them."""
        if self._scopes is None:
            from isthmus_proxy.route.scopes import ScopeSet  # noqa: PLC0415 - few configurations have any

            self._scopes = ScopeSet(self)
        return self._scopes

    def get_or_create(self, name: str) -> RouteHandle:
        """Return the handle of ``name``; its table is None until the configuration arrives."""
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = RouteHandle(name)
        return handle

    def update(self, configuration: RouteConfiguration) -> bool:
        """Swap in a new table. Return False when the configuration is the one already in use."""
        handle = self.get_or_create(configuration.name)
        current = handle.table
        if current is not None and configuration.content and current.configuration.content == configuration.content:
            return False
        handle.table = self.table(configuration)
        if current is not None:
            current.close()
        return True

    def table(self, configuration: RouteConfiguration) -> RouteTable:
        """A table that nothing refers to yet; close it when it is no longer used."""
        table = RouteTable(configuration, self.runtime, scope=self._scope)
        table.retired = self._retired
        self._tables.add(table)
        return table

    def _retired(self, table: RouteTable) -> None:
        self._tables.discard(table)
        self._past.update(table.counts())
        del self._past["routes_size"]

    def counts(self) -> Counter[str]:
        """What the memos of all tables did, of past ones too, and how many decisions they hold."""
        total = Counter(self._past)
        for table in self._tables:
            total.update(table.counts())
        return total

    def remove(self, name: str) -> None:
        """Forget a name that nothing refers to any more."""
        handle = self._handles.pop(name, None)
        if handle is not None and handle.table is not None:
            handle.table.close()

    def names(self) -> list[str]:
        """Names in use."""
        return list(self._handles)

    def handles(self) -> list[RouteHandle]:
        """All handles, in the order in which they were made."""
        return list(self._handles.values())
