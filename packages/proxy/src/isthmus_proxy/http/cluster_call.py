"""One request of the proxy itself to a cluster, over its pools, whose whole answer is kept: for filters that ask somebody.

Everything happens in the reactor: a call that is begun tells its end exactly once, unless it is cancelled, never from within
``call``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from isthmus_proxy.codec.http1.events import EndOfMessage, Event
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.serialise import request_head
from isthmus_proxy.http.charge import charge
from isthmus_proxy.http.local_address import node_address
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.reactor.timers import Timer

if TYPE_CHECKING:
    from isthmus_proxy.cluster.cluster import Cluster
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.http.surroundings import Surroundings
    from isthmus_proxy.upstream.pool import RequestPool, UpstreamRequest

NO_CLUSTER = "there is no such cluster"
NO_ENDPOINT = "no healthy endpoint"
TIMED_OUT = "timed out"
TOO_LARGE = "its answer is too large"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response. Names of headers are in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Ended: TypeAlias = Callable[[Answer | str], None]
"""Gets the answer, or why there is none."""


class ClusterCall:
    """See the module. ``limit``: bytes of the answer's body that are kept; a longer one is a failure."""

    __slots__ = (
        "_begun", "_body", "_cluster", "_connection", "_ended", "_endpoint", "_limit", "_over", "_pool", "_request", "_request_body",
        "_response", "_surroundings", "_timer", "_waiting",
    )  # fmt: skip

    def __init__(self, surroundings: Surroundings, request: RequestHead, body: bytes, limit: int, ended: Ended) -> None:
        self._surroundings = surroundings
        self._request = request
        self._request_body = body
        self._limit = limit
        self._ended = ended
        self._body: list[bytes] = []
        self._response: ParsedResponse | None = None
        self._cluster: Cluster | None = None
        self._endpoint: Endpoint | None = None
        self._pool: RequestPool | None = None
        self._connection: UpstreamRequest | None = None
        self._timer: Timer | None = None
        self._waiting = False
        self._begun = False
        self._over = False

    def start(self, cluster_name: str, timeout: float) -> None:
        """Begin; the call ends within ``timeout`` seconds (0 = no limit)."""
        surroundings = self._surroundings
        cluster = self._cluster = surroundings.clusters.get(cluster_name)
        endpoint = self._endpoint = cluster.choose() if cluster is not None else None
        if cluster is None or endpoint is None:
            surroundings.reactor.call_soon(lambda: self._end(NO_CLUSTER if cluster is None else NO_ENDPOINT))
            return
        pool = self._pool = surroundings.pools.of(cluster, endpoint, 0)
        connection = pool.acquire(self) if pool is not None else "overflow"
        if isinstance(connection, str):
            self._pool = None
            surroundings.reactor.call_soon(lambda: self._lost(connection))
            return
        if timeout:
            self._timer = surroundings.reactor.call_later(timeout, self._timed_out)
        self._waiting = connection is None
        if connection is not None:
            self.pool_ready(connection)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if self._over:
            return
        self._over = True
        self._release()

    def _release(self) -> None:
        pool, connection, self._pool, self._connection = self._pool, self._connection, None, None
        if self._timer is not None:
            self._timer.discard()
            self._timer = None
        if pool is not None and self._waiting:
            pool.cancel(self)
        elif pool is not None and self._begun:
            pool.finished()
        if connection is not None:
            connection.reset(self)

    def _end(self, outcome: Answer | str) -> None:
        if not self._over:
            self._over = True
            self._release()
            self._ended(outcome)

    def _lost(self, reason: str) -> None:
        if self._cluster is not None and not self._over:
            charge(self._cluster, self._endpoint, 503)
        self._end(reason)

    def _timed_out(self) -> None:
        if self._cluster is not None:
            self._cluster.stats.upstream_rq_timeout.value += 1
            charge(self._cluster, self._endpoint, 504)
        self._end(TIMED_OUT)

    # ---- what the pool and the connection tell ----

    def pool_ready(self, connection: UpstreamRequest) -> None:
        """Send the request."""
        self._waiting = False
        self._begun = True
        self._connection = connection
        head, body = self._request, self._request_body
        if connection.http2:
            from isthmus_proxy.http.http2_request_block import http2_request_block  # noqa: PLC0415 - only where it is used

            connection.send_head(self, head.method, http2_request_block(head), done=not body)
        else:
            data = request_head(head.method, head.path, head.authority, head.headers)
            connection.send_head(self, head.method, data, done=not body)
        if body:
            connection.send_body(body)
            connection.send_end(())

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Keep what comes."""
        for event in events:
            if isinstance(event, ParsedResponse):
                if event.status >= 200:
                    self._response = event
            elif isinstance(event, bytes):
                self._limit -= len(event)
                self._body.append(event)
            elif isinstance(event, EndOfMessage):
                pass  # trailers of an answer say nothing to filters
        if done:
            self._connection = None
            self._complete()
        elif self._limit < 0:
            self._lost(TOO_LARGE)

    def _complete(self) -> None:
        response = self._response
        if response is None or self._cluster is None:
            self._lost("no answer")
        elif self._limit < 0:
            self._lost(TOO_LARGE)
        else:
            charge(self._cluster, self._endpoint, response.status)
            self._end(Answer(response.status, response.headers, b"".join(self._body)))

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The request is lost."""
        self._waiting = False
        self._connection = None
        self._lost(reason)

    def upstream_blocked(self) -> None:
        """What is sent is all there already; the connection keeps it."""

    def upstream_writable(self) -> None:
        """See ``upstream_blocked``."""


def own_request(
    method: bytes, path: bytes, authority: bytes, headers: Headers, timeout: float, *, forwarded: bool = True
) -> RequestHead:
    """The head of a request of the proxy itself, with the headers by which Envoy's own requests can be told.

    ``forwarded``: it says as well from where it comes.
    """
    own = [*headers, (b"x-envoy-internal", b"true")]
    if forwarded:
        own.append((b"x-forwarded-for", node_address()))
    if timeout:
        own.append((b"x-envoy-expected-rq-timeout-ms", b"%d" % round(timeout * 1000)))
    return RequestHead(method, path, authority, own)


def call(
    surroundings: Surroundings,
    cluster: str,
    request: RequestHead,
    body: bytes,
    *,
    timeout: float,
    limit: int,
    ended: Ended,
) -> ClusterCall:
    """Begin a call to ``cluster``; see ``ClusterCall``."""
    made = ClusterCall(surroundings, request, body, limit, ended)
    made.start(cluster, timeout)
    return made
