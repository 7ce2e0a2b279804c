"""Takes what the control plane sends into service, in the order in which nothing dangles, and counts it.

Clusters are asked for first, their endpoints as they appear; listeners only when all clusters of the first update have
their endpoints; route configurations as listeners name them. Each wait ends with its initial_fetch_timeout, connection or
not. No I/O: the clock and the wall clock are passed in, ``next_deadline`` and ``expire`` are for whoever has timers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import ListenerConfig
from isthmus_proxy.observe.stats import Scope, StatsStore
from isthmus_proxy.xds.cluster_discovery import ClusterDiscovery
from isthmus_proxy.xds.listener_discovery import ListenerDiscovery
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPE, Apply
from isthmus_proxy.xds.runtime_discovery import RuntimeDiscovery
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.sessions import Sessions
from isthmus_proxy.xds.source import ApiSource
from isthmus_proxy.xds.subscription import Request, Response
from isthmus_proxy.xds.update_stats import UpdateStats

NEVER = float("inf")
MAX_SOURCES = 64
"""Most sources that have streams of their own at a time."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the bootstrap takes over xDS (dynamic_resources), with the seconds that each first update may take.

    ``aggregated``: there is an ADS stream, by which all comes that has no source of its own. ``servers`` are the clusters
    that may be named as management servers.
    """

    clusters: bool
    listeners: bool
    clusters_timeout: float = 15.0
    listeners_timeout: float = 15.0
    aggregated: bool = True
    clusters_source: ApiSource | None = None
    listeners_source: ApiSource | None = None
    servers: frozenset[str] = frozenset()


class Discovery:
    """See the module. Give it responses, send what ``take_requests`` returns."""

    def __init__(
        self,
        session: Session,
        sources: Sources,
        stats: StatsStore,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.session = session
        self._sources = sources
        self._stats = stats
        self._clock = clock
        self._wall_clock = wall_clock
        self.sessions = Sessions(session)
        self._fetch: dict[str, float] = {}  # deadlines of the first updates of CDS and LDS
        self._in_vain: set[str] = set()  # types whose first update did not come in time, and has not come since
        self._warming_gauges = (
            stats.scope("cluster_manager").gauge("warming_clusters"),
            stats.scope("listener_manager").gauge("total_listeners_warming"),
        )
        self._counted = {
            CLUSTER: UpdateStats(stats.scope("cluster_manager.cds")),
            LISTENER: UpdateStats(stats.scope("listener_manager.lds")),
        }
        self._runtime: RuntimeDiscovery | None = None
        self._static_clusters: tuple[ClusterConfig, ...] = ()
        self._route_stats: dict[str, UpdateStats] = {}
        self._extension_stats: dict[str, UpdateStats] = {}
        self._scope_stats: dict[str, UpdateStats] = {}
        self._empty_clusters: dict[str, Scope] = {}  # those whose endpoints did not come in time, by name
        self._scopes_asked = False
        self._announced: set[ApiSource] = set()  # by an update, before it is asked for anything there
        self._route_sources: dict[str, ApiSource | None] = {}
        self._extension_sources: dict[str, ApiSource | None] = {}
        self._static_listeners: tuple[ListenerConfig, ...] = ()
        self._begun = False
        self._past_clusters = False

    def start(
        self,
        clusters: ClusterDiscovery,
        listeners: ListenerDiscovery,
        static_clusters: Iterable[ClusterConfig],
        static_listeners: Iterable[ListenerConfig],
        runtime: RuntimeDiscovery | None = None,
    ) -> None:
        """Take the bootstrap's resources into service and subscribe to the rest.

        The bootstrap's listeners open when all clusters are ready: what connects early waits instead of getting 503. The layers
        of ``runtime`` come before everything else.
        """
        self.clusters, self.listeners = clusters, listeners
        self.sessions.add_type(CLUSTER, clusters.apply_clusters)
        self.sessions.add_type(ENDPOINT, clusters.apply_assignments)
        self.sessions.add_type(LISTENER, listeners.apply_listeners)
        self.sessions.add_type(ROUTE, listeners.apply_routes)
        self.sessions.add_type(EXTENSION, listeners.apply_extensions)
        self.sessions.add_type(SCOPE, listeners.apply_scopes)
        self._static_clusters = tuple(static_clusters)
        self._static_listeners = tuple(static_listeners)
        if runtime is None or not runtime.resources:
            self._start_clusters()
            return
        self._runtime = runtime
        self._counted[RUNTIME] = UpdateStats(self._stats.scope("runtime"))
        self.session.add_type(RUNTIME, runtime.apply)
        self._ask(RUNTIME, runtime.timeout, runtime.resources)

    def _start_clusters(self) -> None:
        self._begun = True
        if self._sources.clusters:
            self._ask(CLUSTER, self._sources.clusters_timeout, source=self._sources.clusters_source)
        self.clusters.start(self._static_clusters)
        self._advance()

    def subscribe_endpoints(self, wanted: Mapping[str, ApiSource | None]) -> None:
        """For ClusterDiscovery: the assignments that are needed, with their sources."""
        self._announced.clear()
        self.sessions.subscribe(ENDPOINT, wanted)

    def subscribe_routes(self, wanted: Mapping[str, ApiSource | None]) -> None:
        """For ListenerDiscovery: the route configurations that are needed, with their sources."""
        for gone in self._route_stats.keys() - wanted.keys():
            self._route_stats.pop(gone).scope.close()
        self._route_sources = dict(wanted)
        self._announced.clear()
        self.sessions.subscribe(ROUTE, wanted)

    def subscribe_scopes(self, prefixes: Sequence[str]) -> None:
        """For ListenerDiscovery: the stat prefixes of those who want scopes of routes. From the first one on they are kept."""
        if prefixes and not self._scopes_asked:
            self._scopes_asked = True
            self.session.subscribe(SCOPE, None)
        for gone in self._scope_stats.keys() - set(prefixes):
            self._scope_stats.pop(gone).scope.close()
        for prefix in set(prefixes) - self._scope_stats.keys():
            self._scope_stats[prefix] = UpdateStats(self._stats.scope(prefix))

    def subscribe_extensions(self, wanted: Mapping[str, ApiSource | None]) -> None:
        """For ExtensionDiscovery: the filters' configurations that are needed, with their sources."""
        for gone in self._extension_stats.keys() - wanted.keys():
            self._extension_stats.pop(gone).scope.close()
        for name in wanted.keys() - self._extension_stats.keys():
            scope = self._stats.scope(f"extension_config_discovery.http_filter.{name}")
            self._extension_stats[name] = UpdateStats(scope)
            for outcome in ("config_reload", "config_fail"):
                scope.counter(outcome)
        self._extension_sources = dict(wanted)
        self._announced.clear()
        self.sessions.subscribe(EXTENSION, wanted)

    def count_extension(self, name: str, what: str) -> None:
        """For ExtensionDiscovery: one more ``config_reload`` or ``config_fail`` of a filter's configuration."""
        if name in self._extension_stats:
            self._extension_stats[name].scope.counter(what).value += 1

    def check_source(self, source: ApiSource | None) -> None:
        """Raise ConfigError if nothing can come from ``source``; None is the aggregated stream."""
        if source is None:
            if not self._sources.aggregated:
                raise ConfigError("ads", "", "dynamic_resources.ads_config is not set")
            return
        self._announced |= {own for _, own in self.sessions.own}
        if source not in self._announced and len(self._announced) >= MAX_SOURCES:
            raise ConfigError("api_config_source", "", f"there are {MAX_SOURCES} streams of other sources already")
        self._announced.add(source)
        for index, server in enumerate(source.servers):
            if server.cluster_name not in self._sources.servers:
                place = f"api_config_source.grpc_services[{index}].envoy_grpc.cluster_name"
                reason = "is not among static_resources.clusters, other than those of type EDS"
                raise ConfigError(place, f'"{server.cluster_name}"', reason)

    def subscribe_secrets(self, type_url: str, apply: Apply, names: frozenset[str]) -> None:
        """For SecretDiscovery: the secrets that are needed; the first ones make their type known."""
        if not self.session.knows(type_url):
            self.session.add_type(type_url, apply)
        self.session.subscribe(type_url, names)

    def connected(self, session: Session | None = None) -> None:
        """A stream is up: the aggregated one, or that of ``session``."""
        (session or self.session).connected()

    def disconnected(self, session: Session | None = None) -> None:
        """The stream is gone, or none could be opened."""
        session = session or self.session
        session.disconnected()
        self.count_failure(session)

    def count_failure(self, session: Session) -> None:
        """An update by ``session`` could not be had."""
        for type_url in (*self._counted, ROUTE, EXTENSION, SCOPE):
            for counted in self._counters_of(type_url, session):
                counted.failed()

    def receive(self, response: Response, session: Session | None = None) -> bool | None:
        """Take one response into service, by the aggregated stream or that of ``session``.

        True: all of it, False: not all, None: of a type never asked for. Raises ConfigError if the address of a listener of
        the bootstrap cannot be had.
        """
        now = self._wall_clock()
        session = session or self.session

        def applied() -> None:
            self._fetched(response.type_url)
            self._advance()

        taken = session.receive(response, now, applied)
        if taken is not None:
            for counted in self._counters_of(response.type_url, session):
                if taken:
                    counted.taken(session.version(response.type_url), now)
                else:
                    counted.rejected()
        return taken

    def restore(self, responses: Iterable[Response]) -> None:
        """Take what a former process had into service, types in the order of dependence. Nothing is waited for.

        Only while no stream is up. Raises ConfigError if the address of a listener of the bootstrap cannot be had.
        """
        now = self._wall_clock()
        for response in responses:
            if response.type_url == RUNTIME and self._runtime is None:
                continue
            self.session.restore(response, now)
            self._fetch.pop(response.type_url, None)
            self._in_vain.discard(response.type_url)
            if response.type_url == ENDPOINT:
                self.clusters.expire(NEVER)
            elif response.type_url == ROUTE:
                self.listeners.expire(NEVER)
            self._advance()

    def _fetched(self, type_url: str) -> None:
        """The first update of a type is here; of run-time layers all have to be."""
        if type_url != RUNTIME or self._runtime is None or self._runtime.complete:
            self._fetch.pop(type_url, None)
            self._in_vain.discard(type_url)

    def take_requests(self, session: Session | None = None) -> list[Request]:
        """Requests to send now, in order, by the aggregated stream or that of ``session``."""
        requests = (session or self.session).take_requests()
        for request in requests:
            counted = self._counted.get(request.type_url)
            if counted is not None and not request.response_nonce:
                counted.attempted()
        return requests

    def next_deadline(self) -> float:
        """When ``expire`` is due, by ``clock``."""
        own = min(self._fetch.values(), default=NEVER)
        return min(own, self.clusters.next_deadline(), self.listeners.next_deadline())

    def expire(self) -> None:
        """Go on without what did not come in time."""
        now = self._clock()
        for type_url in [type_url for type_url, at in self._fetch.items() if at <= now]:
            del self._fetch[type_url]
            self._in_vain.add(type_url)
            self._counted[type_url].timed_out()
        for name in self.clusters.expire(now):
            self._endpoints_timed_out(name)
        for kind, name in self.listeners.expire(now):
            self._need_timed_out(kind, name)
        self._advance()

    def _endpoints_timed_out(self, cluster: str) -> None:
        """Count among the stats of the cluster, most of which are not made before it is used."""
        if cluster not in self._empty_clusters:
            self._empty_clusters[cluster] = self._stats.scope(f"cluster.{cluster}")
        self._empty_clusters[cluster].counter("init_fetch_timeout").value += 1

    def _need_timed_out(self, kind: str, name: str) -> None:
        """Count what a listener has waited for in vain."""
        if kind == "SRDS":
            found = list(self._scope_stats.values())
        else:
            stats = self._counted_routes() if kind == "RDS" else self._extension_stats
            found = [stats[name]] if name in stats else []
        for counted in found:
            counted.timed_out()

    @property
    def initialized(self) -> bool:
        """Whether everything of the first updates is in service: the proxy is ready (``/ready`` says LIVE)."""
        return self._past_clusters and LISTENER not in self._fetch and not self.listeners.warming

    @property
    def complete(self) -> bool:
        """Whether it is, and nothing of it is missing because no control plane has said it."""
        return self.initialized and not self._in_vain

    @property
    def clusters_ready(self) -> bool:
        """Whether all clusters of the first update have their endpoints, or have waited long enough."""
        return self._begun and CLUSTER not in self._fetch and (self._past_clusters or not self.clusters.warming)

    def _ask(
        self,
        type_url: str,
        timeout: float,
        names: frozenset[str] | None = None,
        source: ApiSource | None = None,
    ) -> None:
        if timeout > 0:
            self._fetch[type_url] = self._clock() + timeout
        else:
            self._fetch[type_url] = NEVER
        self.sessions.of(type_url, source).subscribe(type_url, names)

    def _advance(self) -> None:
        """Go on to the clusters once the run-time is there, and to the listeners once the clusters are.

        Clusters that come later hold nothing up any more.
        """
        if not self._begun and RUNTIME not in self._fetch:
            self._start_clusters()
            return
        if self.clusters_ready and not self._past_clusters:
            self._past_clusters = True
            self.listeners.start(self._static_listeners)
            if self._sources.listeners:
                self._ask(LISTENER, self._sources.listeners_timeout, source=self._sources.listeners_source)
        for gone in [name for name in self._empty_clusters if not self.clusters.has(name)]:
            self._empty_clusters.pop(gone).close()
        self._warming_gauges[0].value = len(self.clusters.warming)
        self._warming_gauges[1].value = len(self.listeners.warming)

    def _counters_of(self, type_url: str, session: Session) -> list[UpdateStats]:
        """What counts updates of a type that come by ``session``."""
        if type_url in self._counted:
            return (
                [self._counted[type_url]] if self.sessions.find(type_url, self._source_of(type_url)) is session else []
            )
        if type_url == SCOPE:
            return list(self._scope_stats.values()) if session is self.session else []
        if type_url == EXTENSION:
            return self._by_source(type_url, self._extension_stats, self._extension_sources, session)
        if type_url != ROUTE:
            return []
        return self._by_source(type_url, self._counted_routes(), self._route_sources, session)

    def _counted_routes(self) -> dict[str, UpdateStats]:
        for name, prefix in self.listeners.references.items():
            if name not in self._route_stats:
                self._route_stats[name] = UpdateStats(self._stats.scope(f"http.{prefix}.rds.{name}"))
        return self._route_stats

    def _by_source(
        self,
        type_url: str,
        counted: Mapping[str, UpdateStats],
        sources: Mapping[str, ApiSource | None],
        session: Session,
    ) -> list[UpdateStats]:
        return [stats for name, stats in counted.items() if self.sessions.find(type_url, sources.get(name)) is session]

    def _source_of(self, type_url: str) -> ApiSource | None:
        if type_url == CLUSTER:
            return self._sources.clusters_source
        return self._sources.listeners_source if type_url == LISTENER else None
