"""All tracers of the process: those that report to the same collector share a reporter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.trace.model import Collector, TracingConfig
from isthmus_proxy.trace.reporter import Reporter
from isthmus_proxy.trace.sender import ClusterSender
from isthmus_proxy.trace.tracer import Tracer


@dataclass(frozen=True, slots=True)
class Origin:
    """The node whose spans these are (core.v3.Node)."""

    id: str
    cluster: str
    zone: str


class Tracers:
    """Calling it makes a tracer. ``spawn`` runs a task until it ends."""

    def __init__(
        self,
        surroundings: Surroundings,
        stats: StatsStore,
        node: Origin,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._surroundings = surroundings
        self._stats = stats
        self._node = node
        self._spawn = spawn
        self._reporters: dict[Collector, tuple[Reporter, int]] = {}  # with how many use it

    def __call__(self, config: TracingConfig, scope: StatsScope) -> Tracer:
        """A tracer that counts in ``scope``, until it is closed."""
        surroundings, collector = self._surroundings, config.collector
        return Tracer(
            config,
            scope,
            surroundings.runtime,
            self._reporter(collector).add,
            partial(self._release, collector),
            node_id=self._node.id,
            zone=self._node.zone,
            random=surroundings.random,
            getrandbits=surroundings.getrandbits,
        )

    def _reporter(self, collector: Collector) -> Reporter:
        reporter, users = self._reporters.get(collector, (None, 0))
        if reporter is None:
            kind = "zipkin" if collector.kind == "zipkin" else "opentelemetry"
            service = collector.service_name or self._node.cluster
            scope = self._stats.scope(f"tracing.{kind}")
            reporter = Reporter(collector, scope, ClusterSender(self._surroundings), service)
            self._spawn(reporter.run)
        self._reporters[collector] = reporter, users + 1
        return reporter

    def _release(self, collector: Collector) -> None:
        reporter, users = self._reporters[collector]
        if users > 1:
            self._reporters[collector] = reporter, users - 1
            return
        del self._reporters[collector]
        reporter.close()
