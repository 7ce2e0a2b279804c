"""Copies of requests sent to other clusters, whose answers nobody reads (RouteAction.request_mirror_policies)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import Event
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.serialise import request_head
from isthmus_proxy.http.charge import charge
from isthmus_proxy.http.local_address import node_address
from isthmus_proxy.http.message import RequestHead, set_header
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.reactor.timers import Timer
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import MirrorPolicy

if TYPE_CHECKING:
    from isthmus_proxy.cluster.cluster import Cluster
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.upstream.pool import RequestPool, UpstreamRequest

SUFFIX = b"-shadow"


def shadow_authority(authority: bytes) -> bytes:
    """``authority`` with the suffix by which a server can tell a copy; it stands before the port."""
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and not host.endswith(b":"):
        return host + SUFFIX + colon + port
    return authority + SUFFIX


def shadow_head(head: RequestHead, policy: MirrorPolicy, info: StreamInfo) -> RequestHead:
    """The head of the copy of a finished upstream request ``head``."""
    authority = policy.host_rewrite or head.authority
    if policy.append_suffix:
        authority = shadow_authority(authority)
    headers = list(head.headers)
    set_header(headers, b"x-envoy-internal", b"true")
    forwarded = head.get(b"x-forwarded-for")
    node = node_address() if forwarded is None else forwarded + b"," + node_address()
    set_header(headers, b"x-forwarded-for", node)
    if policy.edits:
        header_edits.apply(policy.edits, headers, info)
    headers.sort(key=_framing_last)
    copy = RequestHead(head.method, head.path, authority, headers, head.version)
    copy.scheme = head.scheme
    return copy


def _framing_last(field: tuple[bytes, bytes]) -> bool:
    return field[0] == b"transfer-encoding"


class Shadow:
    """One copy on its way. What waits for its connection, or for a slow peer, is bounded: beyond that it is given up."""

    __slots__ = (
        "_bare", "_cluster", "_connection", "_ended", "_endpoint", "_head", "_limit", "_pool", "_timer", "_waiting", "_waits", "done",
        "over",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, endpoint: Endpoint, head: RequestHead, limit: int, *, bare: bool) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self._head = head
        self._limit = limit
        self._waits: list[bytes] = []
        self._waiting = False
        self._connection: UpstreamRequest | None = None
        self._pool: RequestPool | None = None
        self._timer: Timer | None = None
        self._bare = bare
        self._ended = False
        self.done = False
        self.over = False

    def start(self, pool: RequestPool, timeout: float) -> None:
        """Ask ``pool`` for a connection; the copy ends within ``timeout`` seconds (0 = no limit)."""
        self._pool = pool
        connection = pool.acquire(self)
        if isinstance(connection, str):
            self.over = True
            return
        if timeout:
            self._timer = pool.reactor.call_later(timeout, self._timed_out)
        self._waiting = connection is None
        if connection is not None:
            self.pool_ready(connection)

    def pool_ready(self, connection: UpstreamRequest) -> None:
        """Send what there is so far."""
        self._waiting = False
        self._connection = connection
        head = self._head
        if connection.http2:
            from isthmus_proxy.http.http2_request_block import http2_request_block  # noqa: PLC0415 - only where it is used

            connection.send_head(self, head.method, http2_request_block(head), done=self._bare)
        else:
            data = request_head(head.method, head.path, head.authority, head.headers)
            chunked = (b"transfer-encoding", b"chunked") in head.headers
            connection.send_head(self, head.method, data, done=self.done, chunked=chunked)
        for data in self._waits:
            connection.send_body(data)
        self._waits.clear()
        if self._ended:
            connection.send_end(())

    def send(self, data: bytes) -> None:
        """More of the body."""
        if self.over:
            return
        if self._connection is not None:
            self._connection.send_body(data)
            return
        self._limit -= len(data)
        if self._limit < 0:
            self.drop()
        else:
            self._waits.append(data)

    def complete(self) -> None:
        """The request is complete."""
        self.done = self._ended = True
        if self._connection is not None:
            self._connection.send_end(())

    def drop(self) -> None:
        """Give the copy up."""
        if self.over:
            return
        pool, connection = self._pool, self._connection
        if self._waiting and pool is not None:
            pool.cancel(self)
        self._end()
        if connection is not None:
            connection.reset(self)

    def _end(self) -> None:
        self.over = True
        if self._connection is not None and self._pool is not None:
            self._pool.finished()
        self._connection = None
        self._waits.clear()
        if self._timer is not None:
            self._timer.discard()
            self._timer = None

    def _timed_out(self) -> None:
        self._cluster.stats.upstream_rq_timeout.value += 1
        charge(self._cluster, self._endpoint, 504)
        self.drop()

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Count the response and forget it."""
        for event in events:
            if type(event) is ParsedResponse and event.status >= 200:
                charge(self._cluster, self._endpoint, event.status)
        if done and not self.over:
            self._end()

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The copy is lost, and nobody misses it."""
        charge(self._cluster, self._endpoint, 503)
        self._end()

    def upstream_blocked(self) -> None:
        """A copy must not slow the original: whoever reads copies too slowly gets no more of this one."""
        self.drop()

    def upstream_writable(self) -> None:
        """Too late: see ``upstream_blocked``."""


class Shadows:
    """The copies of one request."""

    __slots__ = ("_shadows",)

    def __init__(self, shadows: list[Shadow]) -> None:
        self._shadows = shadows

    def send(self, data: bytes) -> None:
        """More of the body."""
        for shadow in self._shadows:
            shadow.send(data)

    def complete(self) -> None:
        """The request is complete: the copies end by themselves."""
        for shadow in self._shadows:
            shadow.complete()

    def drop(self) -> None:
        """The request will never be complete."""
        for shadow in self._shadows:
            if not shadow.done:
                shadow.drop()


def start_shadows(
    policies: Iterable[MirrorPolicy],
    manager: HttpConnectionManager,
    head: RequestHead,
    info: StreamInfo,
    *,
    timeout: float,
    limit: int,
    done: bool,
    bare: bool,
) -> Shadows | None:
    """Begin the copies that are drawn, of ``head`` as it goes upstream; ``done``: all of the request is here; ``bare``: it has no body."""
    shadows = []
    random = manager.random()
    for policy in policies:
        if policy.fraction is not None and not manager.runtime.admits(policy.fraction, random):
            continue
        name = policy.cluster or (head.get(policy.cluster_header) or b"").decode("latin-1")
        cluster = manager.clusters.get(name)
        endpoint = cluster.choose() if cluster is not None else None
        if cluster is None or endpoint is None:
            continue
        pool = manager.pools.of(cluster, endpoint, 0, head.authority)
        if pool is not None:
            shadow = Shadow(cluster, endpoint, shadow_head(head, policy, info), limit, bare=bare)
            shadow.done = done
            shadow.start(pool, timeout)
            shadows.append(shadow)
    return Shadows(shadows) if shadows else None
