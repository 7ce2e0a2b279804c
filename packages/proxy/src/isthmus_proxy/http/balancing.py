"""What a route asks of load balancing for one exchange: made only where it asks for something."""

from __future__ import annotations

from dataclasses import replace

from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.metadata import merge, of_json
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.hash_policy import Client, hash_request
from isthmus_proxy.route.model import ClusterWeight, ForwardAction

NAMESPACE = "envoy.lb"
"""The namespace of dynamic metadata by which filters ask for a subset."""


class Balancing:
    """The hash of one request and the subset that its route, or a filter, asks for; both hold for all its attempts.

    ``set_cookies`` are headers for the response, where a hash policy gave the client a cookie.
    """

    __slots__ = ("_criteria", "_hash_key", "set_cookies")

    def __init__(
        self, action: ForwardAction, weight: ClusterWeight, request: RequestHead, client: Client, info: StreamInfo
    ) -> None:
        self._criteria = weight.metadata_match
        asked = info.metadata(NAMESPACE)
        if asked:
            self._criteria = merge(self._criteria or (), of_json(asked))
        self._hash_key: int | None = None
        self.set_cookies: tuple[bytes, ...] = ()
        if action.hash_policies:
            self._hash_key, self.set_cookies = hash_request(action.hash_policies, request, client)

    def context(self, avoiding: LoadBalancerContext | None) -> LoadBalancerContext:
        """The context of one attempt; ``avoiding`` tells what a retry avoids."""
        if avoiding is None:
            return LoadBalancerContext(hash_key=self._hash_key, criteria=self._criteria)
        return replace(avoiding, hash_key=self._hash_key, criteria=self._criteria)


def ip_of(address: str) -> str:
    """The IP address of ``host:port``, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]")
