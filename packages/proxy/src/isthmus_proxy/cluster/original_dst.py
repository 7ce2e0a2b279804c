"""Endpoints of ORIGINAL_DST clusters: where a connection was going, or where a header says that its request goes.

An endpoint is made when something first goes there, and let go when nothing has for a whole ``cleanup_interval``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from isthmus_proxy.cluster.balancer import Picker
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.membership import Membership
from isthmus_proxy.cluster.original_dst_model import OriginalDst
from isthmus_proxy.observe.stats import Counter

MAX_HOSTS = 65_536
"""Endpoints of one such cluster: headers of clients must not fill memory. Beyond it nothing new is reached (503, flag UH)."""

Destination = tuple[str, int]
"""An IP literal and a port."""


def parse_destination(text: str) -> Destination | None:
    """``address:port`` with an IP address, which has brackets if it is one of IPv6; None for anything else."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        return None
    return str(address), int(port)


class OriginalDstLoadBalancer:
    """See the module. ``add`` makes an endpoint of the cluster. Priorities, health and weights do not count, as in Envoy."""

    __slots__ = ("_add", "_config", "_hosts", "_overflow", "_used", "direct")

    def __init__(self, config: OriginalDst, add: Callable[[Destination], Endpoint], overflow: Counter) -> None:
        self._config = config
        self._add = add
        self._overflow = overflow
        self._hosts: dict[Destination, Endpoint] = {}
        self._used: set[Endpoint] = set()
        self.direct: Picker | None = None

    def update(self, members: Membership) -> None:
        """Keep ``members``: they are those that were made here."""
        self._hosts = {endpoint.address: endpoint for endpoint in members.endpoints}

    def choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        """The endpoint of the context's destination; None if it has none."""
        destination = context.destination if context is not None else None
        if destination is None:
            return None
        if self._config.port:
            destination = (destination[0], self._config.port)
        endpoint = self._hosts.get(destination)
        if endpoint is None:
            if len(self._hosts) >= MAX_HOSTS:
                self._overflow.value += 1
                return None
            endpoint = self._hosts[destination] = self._add(destination)
        self._used.add(endpoint)
        return endpoint

    def unused(self) -> list[Endpoint]:
        """Endpoints to which nothing has gone since this was last asked, and which serve no request."""
        used, self._used = self._used, set()
        return [each for each in self._hosts.values() if each not in used and not each.rq_active]
