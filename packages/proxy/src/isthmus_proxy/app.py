"""The composition root: every part of the running proxy is made here, in the order in which a byte passes them."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from isthmus_proxy import __version__, resident_memory
from isthmus_proxy.admin import clusters as clusters_endpoint
from isthmus_proxy.admin import config_dump, inspection, orders, runtime_endpoint, stats_endpoint, why_endpoint
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.lifecycle import DrainOrder, Lifecycle, ServerState
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.dns import DnsClusters
from isthmus_proxy.cluster.monitoring import ClusterMonitoring
from isthmus_proxy.cluster.outlier.detector import OutlierEventLog
from isthmus_proxy.cluster.outlier.event_log import JsonOutlierEventLog
from isthmus_proxy.compiled import build_kind
from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.gc_tuning import Freezer
from isthmus_proxy.http.surroundings import Surroundings, Tracer
from isthmus_proxy.listener import graceful_drain
from isthmus_proxy.listener.listener_manager import ListenerManager
from isthmus_proxy.listener.model import Extension, GrpcLogTarget
from isthmus_proxy.observe.access_log import AccessLogManager, LogService
from isthmus_proxy.observe.cluster_manager_stats import ClusterManagerStats
from isthmus_proxy.observe.memo_stats import MemoStats
from isthmus_proxy.observe.process_stats import ProcessStats
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.observe.time_format import IsoTime
from isthmus_proxy.overload.model import MonitorConfig
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.runtime import Runtime
from isthmus_proxy.trace.model import TracingConfig

if TYPE_CHECKING:
    from isthmus_proxy.cluster.health.host_check import HealthEventLog
    from isthmus_proxy.cluster.health.model import HealthCheckConfig
    from isthmus_proxy.dynamic import DynamicConfiguration
    from isthmus_proxy.handover.upgrade import Upgrade
    from isthmus_proxy.overload.monitors import Monitor
    from isthmus_proxy.workers.seat import Seat

_log = logging.getLogger(__name__)

RESOLVE_SECONDS = 15.0
"""How long listeners wait for the names of the bootstrap's DNS clusters before they open without."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to the bootstrap file. ``drain_seconds`` is how long SIGTERM waits for requests.

    ``seat`` is set in a worker process, whose parent has the admin server. ``xds_cache_path`` keeps the last good
    configuration that came over xDS. ``busy_poll`` is the reactor's, in seconds.
    ``drain_at_once``: a graceful drain ends connections from its beginning, not evenly spread.
    ``handover_path``: where this process can be succeeded, and succeeds the one that serves there; ``must_succeed`` if one has to.
    """

    drain_seconds: float = 30.0
    admin_address_path: Path | None = None
    allow_remote_admin: bool = False
    seat: Seat | None = None
    xds_cache_path: Path | None = None
    busy_poll: float = 0.0
    drain_at_once: bool = False
    handover_path: Path | None = None
    must_succeed: bool = False

    def as_worker(self, seat: Seat) -> Options:
        """The same for a worker."""
        return replace(self, seat=seat)


class Proxy:
    """The parts of one proxy. Make it inside ``trio.run``."""

    def __init__(self, bootstrap: Bootstrap, options: Options, upgrade: Upgrade | None = None) -> None:
        self.bootstrap = bootstrap
        self.options = options
        self.started_at = time.time()
        self._started = trio.current_time()
        self.stats = StatsStore(bootstrap.stats_settings)
        self.access_logs = AccessLogManager(self.stats)
        self.reactor = Reactor(busy_poll=options.busy_poll)
        self.clusters = ClusterManager(lambda name: self.stats.scope(f"cluster.{name}"), random.random, time.monotonic)
        if bootstrap.local_cluster_name:
            place = bootstrap.node.locality
            self.clusters.route_by_zone(bootstrap.local_cluster_name, (place.region, place.zone, place.sub_zone))
        self.clusters.on_config_changed(ClusterManagerStats(self.stats, self.clusters.__len__).changed)
        self.dns = DnsClusters(self.clusters, random.random)
        self.routes = RouteHandles(Runtime(bootstrap.runtime), self.stats.scope)
        surroundings = self.surroundings = Surroundings(
            self.reactor, self.clusters, time.time, random.Random(), self.routes.runtime
        )
        surroundings.secrets = dict(bootstrap.secrets)
        self.monitoring = ClusterMonitoring(
            self.reactor,
            surroundings.pools.transports,
            self.clusters,
            random.random,
            self._outlier_log(),
            self._health_log,
        )
        seat = options.seat
        self.listeners = ListenerManager(
            surroundings,
            self.routes,
            self.stats,
            self.access_logs,
            shared=seat.shared if seat is not None else None,
            inherited=upgrade.inherited if upgrade is not None else None,
        )
        memos = (self.routes.counts, surroundings.memo_counts, self.access_logs.memo_counts)
        self.read_stats = (
            MemoStats(self.stats, "memo", *memos),
            MemoStats(self.stats, "pipes", self.reactor.pipes.counts),
        )
        self.freezer = Freezer(trio.current_time)
        self.lifecycle = Lifecycle()
        self.lifecycle.on_health = self.listeners.close_after_response
        surroundings.health_failed = lambda: self.lifecycle.leaving
        surroundings.service_cluster = bootstrap.node.cluster
        self.dynamic: DynamicConfiguration | None = None
        self.quit = trio.Event()
        self.status = 0
        self.upgrade = upgrade
        self.admin_scope, self.admin_closed = trio.CancelScope(), trio.Event()
        self.updates_scope = trio.CancelScope()
        self.leave: Callable[[], Awaitable[None]] | None = None
        """Tells whoever shows this sidecar to consumers that it is about to stop."""
        self.process_stats = ProcessStats(
            self.stats,
            uptime=self.uptime,
            state=lambda: self.lifecycle.state.value,
            connections=lambda: self.listeners.connection_count,
            epoch=upgrade.epoch if upgrade is not None else 0,
        )

    def _outlier_log(self) -> OutlierEventLog | None:
        path = self.bootstrap.outlier_event_log_path
        if not path:
            return None
        return JsonOutlierEventLog(self.access_logs.line_writer(path), lambda: IsoTime()(time.time()))

    def _health_log(self, cluster: str, config: HealthCheckConfig) -> HealthEventLog | None:
        if not config.event_logs:
            return None
        from isthmus_proxy.cluster.health.event_log import JsonHealthEventLog  # noqa: PLC0415 - few files ask for it

        writers = [self.access_logs.line_writer(path) for path in config.event_logs]
        return JsonHealthEventLog(cluster, config.kind, writers, lambda: IsoTime()(time.time()))

    def start_overload_manager(self) -> None:
        """Watch resources, if the bootstrap file says so."""
        config = self.bootstrap.overload
        if config is None:
            return
        from isthmus_proxy.overload.monitors import make_monitor  # noqa: PLC0415 - few files ask for it
        from isthmus_proxy.overload.overload_manager import OverloadManager, shared_out  # noqa: PLC0415

        if self.options.seat is not None:
            config = shared_out(config, self.options.seat.count)
        self.listeners.max_connections = config.max_connections
        reactor = self.reactor

        def monitor(each: MonitorConfig) -> Monitor:
            return make_monitor(each, reactor, lambda: self.listeners.connection_count)

        OverloadManager(config, reactor, self.stats, self.listeners, monitor, resident_memory.release).start()

    def trace_with(self, nursery: trio.Nursery) -> None:
        """Let connection managers trace; what sends spans runs in ``nursery``."""
        surroundings, node = self.surroundings, self.bootstrap.node

        def first(config: TracingConfig, scope: StatsScope) -> Tracer:
            from isthmus_proxy.trace.tracers import Origin, Tracers  # noqa: PLC0415 - few configurations trace

            origin = Origin(node.id, node.cluster, node.locality.zone)
            surroundings.tracers = Tracers(surroundings, self.stats, origin, nursery.start_soon)
            return surroundings.tracers(config, scope)

        surroundings.tracers = first

    def run_tasks(self, nursery: trio.Nursery) -> None:
        """Let HTTP filters run tasks, in ``nursery``."""
        self.surroundings.start_soon = nursery.start_soon

    def log_to_services(self, nursery: trio.Nursery) -> None:
        """Let access logs go to log services; their streams run in ``nursery``."""

        def opened(target: GrpcLogTarget) -> LogService:
            from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - few files name one
            from isthmus_proxy.observe.als_stream import AlsStream  # noqa: PLC0415 - few files name one

            scope = self.stats.scope("access_logs.grpc_access_log")
            stream = AlsStream(target, self.bootstrap.node, scope, GrpcClient(self.surroundings))
            nursery.start_soon(stream.run)
            return stream

        self.access_logs.log_service = opened

    def report_loads(self, nursery: trio.Nursery) -> None:
        """Report loads to the management server of ``load_stats_config``, if the bootstrap file has one."""
        server = self.bootstrap.load_stats
        if server is None:
            return
        from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - few files name one
        from isthmus_proxy.observe.load_book import LoadBook  # noqa: PLC0415
        from isthmus_proxy.observe.load_reporter import LoadReporter  # noqa: PLC0415
        from isthmus_proxy.xds.backoff import Backoff  # noqa: PLC0415

        backoff = Backoff(random.random, server.retry_base_interval, server.retry_max_interval)
        book, grpc, scope = LoadBook(self.clusters), GrpcClient(self.surroundings), self.stats.scope("load_reporter")
        reporter = LoadReporter(server.cluster_name, self.bootstrap.node, book, grpc, scope, backoff)
        nursery.start_soon(reporter.run)

    async def serve_registry_api(self, nursery: trio.Nursery) -> None:
        """Serve the registry API of SDKs, if the bootstrap file says so."""
        config = self.bootstrap.registry_api
        if config is None:
            return
        if self.options.seat is not None:
            raise ConfigError(
                "bootstrap_extensions", "", "the registry API needs --concurrency 1: an application has one registrar"
            )
        from isthmus_proxy.registry_api.service import start  # noqa: PLC0415 - where an SDK is served

        node = self.bootstrap.node
        scope = self.stats.scope("registry_api")
        self.leave = await start(config, node.id, node.locality.zone, self.surroundings, scope, nursery)

    def send_stats(self, nursery: trio.Nursery) -> None:
        """Send stats to where the bootstrap file says."""
        for sink in self.bootstrap.stats_sinks:
            from isthmus_proxy.observe.stats_flush import StatsFlush  # noqa: PLC0415 - few files name sinks

            nursery.start_soon(StatsFlush(sink, self.stats, self.refresh_stats, self._endpoint_of).run)

    def _endpoint_of(self, name: str) -> tuple[str, int] | None:
        cluster = self.clusters.get(name)
        if cluster is not None and cluster.config.secured:
            _log.error("nothing is sent to cluster %s: TLS is not supported for what the proxy sends by itself", name)
            return None
        endpoint = cluster.choose() if cluster is not None else None
        return endpoint.address if endpoint is not None else None

    def refresh_stats(self) -> None:
        """Bring up to date what is only read when somebody looks."""
        self.process_stats.refresh()
        for stats in self.read_stats:
            stats.refresh()

    @property
    def complete(self) -> bool:
        """Whether all of the configuration is in service, that of a control plane included: one that is away is waited for."""
        return self.lifecycle.state is ServerState.LIVE and (self.dynamic is None or self.dynamic.discovery.complete)

    async def let_go(self) -> None:
        """Another process serves: close the admin port, and take no more updates of the configuration."""
        self.updates_scope.cancel()
        self.admin_scope.cancel()
        if self.bootstrap.admin is not None:
            await self.admin_closed.wait()

    async def drain(self, order: DrainOrder) -> None:
        """Carry out an order of the admin server."""
        options = self.options
        await graceful_drain.drain(self.listeners, order, options.drain_seconds, immediate=options.drain_at_once)

    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self._started

    async def load(self) -> None:
        """Take the bootstrap's resources into service, clusters before listeners; subscribe to the rest.

        Raises ConfigError for an address that cannot be had.
        """
        resources = self.bootstrap.dynamic_resources
        for cluster in self.bootstrap.clusters:
            if cluster.discovery != "EDS":
                self.clusters.add_or_update(cluster)
        with trio.move_on_after(RESOLVE_SECONDS):
            await self.dns.wait_resolved()
        if resources is None:
            for listener in self.bootstrap.listeners:
                self.listeners.add_or_update(listener)
            return
        from isthmus_proxy.dynamic import DynamicConfiguration  # noqa: PLC0415 - static files do not need it

        dynamic = self.dynamic = DynamicConfiguration(
            self.bootstrap,
            resources,
            self.surroundings,
            self.routes,
            self.listeners,
            self.stats,
            self.freezer.changed,
            self.options.xds_cache_path,
        )
        if resources.ads is not None:
            self.surroundings.remote_secrets = dynamic.secrets
        self.lifecycle.clusters_ready = lambda: dynamic.discovery.clusters_ready
        self.lifecycle.note = dynamic.note
        self.lifecycle.listeners_ready = lambda: dynamic.discovery.initialized
        dynamic.start()

    def endpoints(self) -> Dispatcher:
        """The admin endpoints."""
        static = frozenset(config.name for config in self.bootstrap.clusters)
        seat = self.options.seat
        options = {
            "concurrency": seat.count if seat is not None else 1,
            "drain_time": f"{self.options.drain_seconds:g}s",
            "mode": "Serve",
        }
        version = f"isthmus-proxy/{__version__}/{build_kind()}"
        facts = orders.ServerFacts(version, dict(options), self._node(), self.uptime)
        return Dispatcher(
            [
                *orders.endpoints(self.lifecycle, facts, self.listeners.active, self.access_logs.reopen),
                *stats_endpoint.endpoints(self.stats, self.refresh_stats),
                *clusters_endpoint.endpoints(self.clusters, static.__contains__),
                *runtime_endpoint.endpoints(self.routes.runtime),
                *why_endpoint.endpoints(self.listeners.serving, self.clusters, time.time, self._extension),
                *config_dump.endpoints(self._dump_source()),
                *inspection.endpoints(
                    lambda: self.surroundings.certificates(time.time()),
                    lambda: self.dynamic.unready() if self.dynamic is not None else {},
                ),
            ]
        )

    def _extension(self, name: str) -> Extension | None:
        return self.surroundings.extensions().current(name)

    def _node(self) -> dict[str, object]:
        node = self.bootstrap.node
        return {"id": node.id, "cluster": node.cluster, "user_agent_name": "isthmus-proxy"}

    def _dump_source(self) -> config_dump.DumpSource:
        static = self.bootstrap.proto.static_resources

        def dynamic(kind: str) -> Iterator[config_dump.DynamicResource]:
            return self.dynamic.resources(kind) if self.dynamic is not None else iter(())

        return config_dump.DumpSource(
            self.started_at,
            bootstrap=lambda: self.bootstrap.proto,
            static_clusters=lambda: static.clusters,
            static_listeners=lambda: static.listeners,
            static_routes=partial(config_dump.inline_routes, static.listeners),
            dynamic=dynamic,
            static_scopes=partial(config_dump.inline_scopes, static.listeners),
            scope_names=lambda: self.dynamic.scope_names() if self.dynamic is not None else (),
            version=lambda kind: self.dynamic.version(kind) if self.dynamic is not None else "",
        )
