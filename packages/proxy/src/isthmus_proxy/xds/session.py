"""One ADS session without I/O: the subscriptions of all types, joined to whatever stream is up at the moment.

Requests come out in Envoy's order: what an update makes us subscribe to (endpoints of new clusters) goes out before the
acknowledgement of that update; after a reconnect all types are asked for in the order of their first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from envoy.config.core.v3.base_pb2 import Node

from isthmus_proxy.xds.resources import Apply, Rejected, Stored
from isthmus_proxy.xds.subscription import VARIANTS, Request, Response, Subscription

Variant = Literal["sotw", "delta"]


class Session:
    """See the module. ``node`` identifies us in the first request of every stream, or in all (``node_in_all``)."""

    def __init__(self, node: Node, variant: Variant, *, node_in_all: bool = True) -> None:
        self.variant = variant
        self._node = node
        self._node_in_all = node_in_all
        self._make = VARIANTS[variant]
        self._subscriptions: dict[str, Subscription] = {}
        self._asked: dict[str, Subscription] = {}
        self._outgoing: list[Request] = []
        self._up = False
        self._node_sent = False
        self.control_plane = ""

    def sibling(self, variant: Variant, *, node_in_all: bool) -> Session:
        """A session of the same node on a stream of its own."""
        return Session(self._node, variant, node_in_all=node_in_all)

    def add_type(self, type_url: str, apply: Apply) -> None:
        """Know a type; it is asked for once ``subscribe`` names it."""
        subscription = self._subscriptions[type_url] = self._make(type_url, apply)
        if self._up:
            self._queue(subscription.connected())

    def knows(self, type_url: str) -> bool:
        """Whether the type was added."""
        return type_url in self._subscriptions

    def subscribe(self, type_url: str, names: Iterable[str] | None) -> None:
        """Want exactly ``names`` of a type from now on; None means all there are (wildcard)."""
        subscription = self._subscriptions[type_url]
        if type_url not in self._asked:
            # First subscribed, first asked for after a reconnect.
            self._asked[type_url] = subscription
        self._queue(subscription.want(names))

    def connected(self) -> None:
        """A new stream is up."""
        self._up = True
        self._node_sent = False
        self._outgoing.clear()
        for type_url, subscription in self._subscriptions.items():
            self._asked.setdefault(type_url, subscription)
        for subscription in self._asked.values():
            self._queue(subscription.connected())

    def disconnected(self) -> None:
        """The stream is gone. Everything received stays in service."""
        self._up = False
        self._outgoing.clear()
        for subscription in self._subscriptions.values():
            subscription.disconnected()

    def receive(self, response: Response, now: float, applied: Callable[[], None] | None = None) -> bool | None:
        """Apply a response and queue its answer. True: acknowledged, False: rejected, None: a type never asked for.

        ``now`` is wall-clock seconds. What ``applied`` subscribes to is asked for before the answer, as in Envoy.
        """
        subscription = self._subscriptions.get(response.type_url)
        if subscription is None:
            return None
        if response.HasField("control_plane"):
            self.control_plane = response.control_plane.identifier
        taken = subscription.receive(response, now)
        if applied is not None:
            applied()
        self._queue([subscription.answer()])
        return taken

    def restore(self, response: Response, now: float) -> None:
        """Apply what a former process had. It is asked for anew: what the versions mean now, only the server knows."""
        subscription = self._subscriptions[response.type_url]
        subscription.receive(response, now)
        subscription.distrust()

    def distrust(self) -> None:
        """The next stream is of another server: it is to send everything, or to say that it is gone."""
        for subscription in self._subscriptions.values():
            subscription.distrust()

    @property
    def has_requests(self) -> bool:
        """Whether there is something to send."""
        return bool(self._outgoing)

    def take_requests(self) -> list[Request]:
        """Requests to send now, in order."""
        requests, self._outgoing = self._outgoing, []
        return requests

    def accepted(self, type_url: str) -> Mapping[str, Stored]:
        """Accepted resources of a type by name; none of a type that is not asked for."""
        subscription = self._subscriptions.get(type_url)
        return subscription.accepted if subscription is not None else {}

    def rejected(self, type_url: str) -> Mapping[str, Rejected]:
        """Refused resources of a type by name."""
        subscription = self._subscriptions.get(type_url)
        return subscription.rejected if subscription is not None else {}

    def version(self, type_url: str) -> str:
        """Version of the last response of a type that was taken in full (system version in delta)."""
        subscription = self._subscriptions.get(type_url)
        return subscription.version if subscription is not None else ""

    def _queue(self, requests: list[Request]) -> None:
        if not self._up:
            return
        for request in requests:
            if self._node_in_all or not self._node_sent:
                request.node.CopyFrom(self._node)
                self._node_sent = True
            self._outgoing.append(request)
