"""What a route asks of load balancing for one exchange: made only where it asks for something."""

from __future__ import annotations

from dataclasses import replace

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.metadata import merge, of_json
from isthmus_proxy.cluster.original_dst import Destination, parse_destination
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.hash_policy import Client, hash_request
from isthmus_proxy.route.model import ClusterWeight, ForwardAction

NAMESPACE = "envoy.lb"
"""The namespace of dynamic metadata by which filters ask for a subset."""


class Balancing:
    """The hash of one request and the subset that its route, or a filter, asks for; both hold for all its attempts.

    ``destination`` is where an ORIGINAL_DST cluster goes.
    ``set_cookies`` are headers for the response, where a hash policy gave the client a cookie.
    """

    __slots__ = ("_criteria", "_hash_key", "destination", "set_cookies")

    def __init__(
        self, action: ForwardAction, weight: ClusterWeight, request: RequestHead, client: Client, info: StreamInfo
    ) -> None:
        self._criteria = weight.metadata_match
        asked = info.metadata(NAMESPACE)
        if asked:
            self._criteria = merge(self._criteria or (), of_json(asked))
        self._hash_key: int | None = None
        self.destination: Destination | None = None
        self.set_cookies: tuple[bytes, ...] = ()
        if action.hash_policies:
            self._hash_key, self.set_cookies = hash_request(action.hash_policies, request, client)

    def context(self, avoiding: LoadBalancerContext | None) -> LoadBalancerContext:
        """The context of one attempt; ``avoiding`` tells what a retry avoids."""
        if avoiding is None:
            return LoadBalancerContext(hash_key=self._hash_key, criteria=self._criteria, destination=self.destination)
        return replace(avoiding, hash_key=self._hash_key, criteria=self._criteria, destination=self.destination)


def ip_of(address: str) -> str:
    """The IP address of ``host:port``, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]")


def destination_of(cluster: Cluster, request: RequestHead, original: str) -> Destination | None:
    """Where a request to an ORIGINAL_DST cluster goes: as its header says, if one is used, else to the connection's ``original``."""
    config = cluster.config.original_dst
    value = request.get(config.header) if config is not None and config.header else None
    if value is not None:
        destination = parse_destination(value.decode("latin-1"))
        if destination is not None:
            return destination
        cluster.stats.scope.counter("original_dst_host_invalid").value += 1
    return parse_destination(original) if original else None
