"""Makes gRPC calls to clusters, through their connection pools. Call it from the reactor or from a trio task of its thread.

From a filter::

    call = client.unary("authz", "/pkg.Service/Check", request.SerializeToString(), self._decided, CallOptions(timeout=0.2))
    ...
    call.cancel()  # when the request is gone

From a task (see ``task``)::

    answer = await unary(client, "authz", "/pkg.Service/Check", request.SerializeToString(), CallOptions(timeout=0.2))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.grpc.call import CallListener, CallOptions, GrpcCall, UnaryDone, UnaryListener
from isthmus_proxy.grpc.status import UNAVAILABLE, Outcome, timeout_header

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings
    from isthmus_proxy.upstream.http2_pool import Http2Pool

DEFAULTS = CallOptions()


class GrpcClient:
    """See the module. It has no state of its own, so whoever needs one makes one."""

    __slots__ = ("_clusters", "_pools", "_reactor")

    def __init__(self, surroundings: Surroundings) -> None:
        self._reactor = surroundings.reactor
        self._clusters = surroundings.clusters
        self._pools = surroundings.pools

    def call(self, cluster: str, path: str, listener: CallListener, options: CallOptions = DEFAULTS) -> GrpcCall:
        """Begin a call of any kind to one endpoint of ``cluster``; ``path`` is ``/package.Service/Method``."""
        self._reactor.refresh()
        head = encode(_head(path, options.authority or cluster, options))
        call = GrpcCall(self._reactor, head, listener, options)
        found = self._find(cluster)
        if isinstance(found, str):
            call.fail_soon(Outcome(UNAVAILABLE, f"cluster {cluster!r} {found}"))
        else:
            call.begin(found)
        return call

    def unary(
        self, cluster: str, path: str, message: bytes, done: UnaryDone, options: CallOptions = DEFAULTS
    ) -> GrpcCall:
        """Send ``message`` and tell ``done`` the answer, unless the call is cancelled before."""
        call = self.call(cluster, path, UnaryListener(done), options)
        call.send(message)
        call.finish()
        return call

    def addresses(self, cluster: str) -> list[tuple[str, int]]:
        """The endpoints of ``cluster``, as far as they are known."""
        found = self._clusters.get(cluster)
        return list(found.endpoints) if found is not None else []

    def _find(self, name: str) -> Http2Pool | str:
        cluster = self._clusters.get(name)
        if cluster is None:
            return "does not exist"
        if not cluster.config.http2:
            return "does not speak HTTP/2, which gRPC needs: set http2_protocol_options"
        return self._pool(cluster)

    def _pool(self, cluster: Cluster) -> Http2Pool | str:
        endpoint = cluster.choose()
        if endpoint is None:
            return "has no healthy endpoint"
        pool = self._pools.of(cluster, endpoint)
        return "may have no more connection pools" if pool is None else cast("Http2Pool", pool)


def _head(path: str, authority: str, options: CallOptions) -> list[tuple[bytes, bytes]]:
    """The fields of a request (gRPC over HTTP/2, "Request-Headers")."""
    timeout = options.timeout
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        *([(b"grpc-timeout", timeout_header(timeout))] if timeout is not None else []),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"isthmus-proxy"),
        *options.metadata,
    ]
