"""What connection managers, TCP and RPC proxies get from the process around them, and whom they tell of what they did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.http.date import WallClock
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route.model import Route
from isthmus_proxy.runtime import Runtime
from isthmus_proxy.trace.model import TracingConfig
from isthmus_proxy.upstream.pool import Pools
from isthmus_proxy.upstream.transports import Transports

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.discovered import ExtensionHandles
    from isthmus_proxy.tls.factory import TlsFactory
    from isthmus_proxy.tls.model import Secret
    from isthmus_proxy.tls.secrets import RemoteSecrets
    from isthmus_proxy.trace.context import SpanContext


class AccessLog(Protocol):
    """Where finished exchanges are told (``observe.access_log.AccessLogger``)."""

    def log(self, info: StreamInfo) -> None:
        """Queue a line; never blocks."""


class Tracer(Protocol):
    """Who traces the requests of a connection manager (``trace.tracer.Tracer``)."""

    def begin(
        self,
        info: StreamInfo,
        head: RequestHead,
        identifier: bytes,
        route: Route | None,
        parent: SpanContext | None = None,
    ) -> bytes:
        """Give an exchange its span; answer its identifier, which may have changed. ``parent`` counts before what ``head`` says."""

    def log(self, info: StreamInfo) -> None:
        """An exchange is over."""

    def close(self) -> None:
        """Its connection manager is no more."""


class Randomness(Protocol):
    """``random.Random``, or a seeded one."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """``k`` random bits."""


def no_tracers(_config: TracingConfig, _scope: StatsScope) -> Tracer:
    """What makes tracers where nobody has said how."""
    raise NotImplementedError("nothing traces here")


def no_tasks(_task: Callable[..., Awaitable[object]], *_args: object) -> None:
    """What starts tasks where nobody has said how."""
    raise NotImplementedError("no tasks run here")


class Surroundings:
    """What connection managers and TCP proxies get from the process: reactor, clusters and their pools, clock, randomness.

    ``time`` is the wall clock (``time.time``); ``random`` a ``random.Random``; ``runtime`` the run-time layer.
    ``heads`` are the memos of the connection managers in use; ``tracers`` makes their tracers; ``start_soon`` runs a trio task
    beside the reactor. ``secrets`` are those of the bootstrap file, ``remote_secrets`` makes those of the control plane, and ``tls`` makes
    TLS of their and other certificates. ``health_failed`` tells whether somebody takes the proxy out of rotation, ``service_cluster``
    is the cluster to which it belongs (``node.cluster``).
    """

    __slots__ = (
        "_extensions", "_tls", "clock", "clusters", "getrandbits", "heads", "health_failed", "pools", "random", "reactor", "remote_secrets",
        "runtime", "secrets", "service_cluster", "start_soon", "tracers",
    )  # fmt: skip

    def __init__(
        self,
        reactor: Reactor,
        clusters: ClusterManager,
        time: Callable[[], float],
        random: Randomness,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or Runtime()
        self.reactor = reactor
        self.clusters = clusters
        self._tls: TlsFactory | None = None
        self._extensions: ExtensionHandles | None = None
        self.secrets: Mapping[str, Secret] = {}
        self.remote_secrets: Callable[[], RemoteSecrets] | None = None
        transports = Transports(reactor, self.tls)
        self.pools = Pools(reactor, transports)
        self.heads: set[HeadMemo[ParsedRequest]] = set()
        self.clock = WallClock(time)
        self.random = random.random
        self.getrandbits = random.getrandbits
        self.tracers: Callable[[TracingConfig, StatsScope], Tracer] = no_tracers
        self.start_soon: Callable[..., None] = no_tasks
        self.health_failed: Callable[[], bool] = lambda: False
        self.service_cluster = ""
        clusters.on_endpoints_removed(self.pools.endpoints_removed)
        clusters.on_health_failure(self.pools.endpoints_removed)
        clusters.on_config_changed(transports.config_changed)

    def tls(self) -> TlsFactory:
        """What makes TLS; loaded by the first that has any."""
        if self._tls is None:
            from isthmus_proxy.tls.factory import TlsFactory  # noqa: PLC0415 - few configurations have TLS

            self._tls = TlsFactory(self.reactor, self.secrets, self.remote_secrets)
        return self._tls

    def extensions(self) -> ExtensionHandles:
        """Configurations of HTTP filters that come over xDS; loaded by the first listener that names any."""
        if self._extensions is None:
            from isthmus_proxy.http.filters.discovered import ExtensionHandles  # noqa: PLC0415 - few configurations name any

            self._extensions = ExtensionHandles()
        return self._extensions

    def certificates(self, now: float) -> Iterator[dict[str, object]]:
        """Certificates in use, for ``/certs``."""
        if self._tls is not None:
            yield from self._tls.certificates(now)

    def memo_counts(self) -> dict[str, int]:
        """How many heads are remembered, and how often a full memo of them began anew."""
        return {
            "request_heads_size": sum(map(len, self.heads)),
            "request_heads_resets": sum(memo.resets for memo in self.heads),
            "response_heads_size": len(self.pools.memo),
            "response_heads_resets": self.pools.memo.resets,
        }
