"""Who asked for what a burst carries. This one drops its answers, which is all that copies of requests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection


class RpcRequester:
    """``remote`` and ``local`` are ``host:port``. ``active`` counts requests that are not answered; ``form`` is that of the last frame.

    ``bound`` are the upstream connections that nobody else uses.
    """

    __slots__ = ("active", "bound", "closed", "connection_id", "form", "local", "remote")

    def __init__(self, remote: str, local: str, connection_id: int) -> None:
        self.remote = remote
        self.local = local
        self.connection_id = connection_id
        self.active = 0
        self.closed = False
        self.form = 0
        self.bound: dict[Endpoint, RpcUpstreamConnection] = {}

    def answer(self, data: bytes, count: int) -> None:
        """``data`` are ``count`` responses."""

    def resume(self) -> None:
        """The upstream connection for which reading was paused takes more."""

    def upstream_gone(self, upstream: RpcUpstreamConnection) -> None:
        """A connection bound to this one is closed."""
        endpoint = upstream.pool.endpoint
        if self.bound.get(endpoint) is upstream:
            del self.bound[endpoint]
