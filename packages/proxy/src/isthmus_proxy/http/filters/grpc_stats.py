"""grpc_stats: counts calls and messages below their cluster (envoy.extensions.filters.http.grpc_stats.v3)."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.http.filters.grpc_calls import CallStats, MessageCounter, service_and_method, value_of
from isthmus_proxy.http.filters.stream_filter import CONTINUE, FilterCallbacks, FilterContext, StreamFilter, Trailers
from isthmus_proxy.http.local_reply import is_grpc
from isthmus_proxy.http.message import RequestHead, ResponseHead


@dataclass(frozen=True, slots=True)
class GrpcStatsConfig:
    """``methods``: those counted apart, as (service, method); None counts all of them apart, and any path makes new stats."""

    methods: frozenset[tuple[str, str]] | None = frozenset()
    replace_dots: bool = False

    def make(self, context: FilterContext) -> GrpcStatsFactory:
        """See ``FilterConfig``."""
        return GrpcStatsFactory(self, context.surroundings.clusters)

    def prefix(self, named: tuple[str, str]) -> str:
        """Where calls of a method are counted."""
        if self.methods is not None and named not in self.methods:
            return "grpc"
        service, method = named
        return f"grpc.{service.replace('.', '_') if self.replace_dots else service}.{method}"


class GrpcStatsFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_clusters", "_config")

    def __init__(self, config: GrpcStatsConfig, clusters: ClusterManager) -> None:
        self._config = config
        self._clusters = clusters

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> GrpcStats:
        """A filter for one exchange."""
        return GrpcStats(callbacks, self)

    def stats(self, head: RequestHead, cluster_name: str) -> CallStats | None:
        """Where the call that ``head`` begins is counted; None if it is none, names no method, or goes to no cluster."""
        named = service_and_method(head) if is_grpc(head.get(b"content-type")) else None
        cluster = self._clusters.get(cluster_name) if named is not None else None
        return None if named is None or cluster is None else CallStats(cluster.stats.scope, self._config.prefix(named))


class GrpcStats(StreamFilter):
    """See the module."""

    __slots__ = ("_factory", "_requests", "_responses", "_stats")

    def __init__(self, callbacks: FilterCallbacks, factory: GrpcStatsFactory) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._stats: CallStats | None = None
        self._requests = MessageCounter()
        self._responses = MessageCounter()

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """See whether it is a gRPC call."""
        self._stats = self._factory.stats(head, self.callbacks.cluster_name)
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Count the client's messages."""
        if self._stats is not None and (begun := self._requests.feed(data)):
            self._stats.add("request_message_count", begun)
        return data

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Count a call that ends without messages."""
        if end_stream and self._stats is not None:
            self._stats.ended(value_of(head.headers, b"grpc-status"))
        return CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        """Count the server's messages."""
        if self._stats is not None and (begun := self._responses.feed(data)):
            self._stats.add("response_message_count", begun)
        return data

    def encode_end(self, trailers: Trailers) -> int:
        """Count the end of the call."""
        if self._stats is not None:
            self._stats.ended(value_of(trailers, b"grpc-status"))
        return CONTINUE
