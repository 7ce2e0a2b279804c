"""``/drain_listeners?graceful``: connections end one after another during the drain time, and listeners stop after it."""

from __future__ import annotations

from typing import Protocol

import trio

from isthmus_proxy.admin.lifecycle import DrainOrder

STEP_SECONDS = 0.5
"""How often some of the connections are told to end."""


class Listeners(Protocol):
    """What is drained (``listener.listener_manager.ListenerManager``)."""

    def stop(self, *, inbound_only: bool = False) -> None:
        """Take no more connections, at once, and let those there are end."""

    def end_connections(self, share: float, *, inbound_only: bool = False) -> None:
        """Let a share of the HTTP connections end with their next request."""

    def close_after_responses(self, *, inbound_only: bool = False) -> None:
        """Go on accepting, but end every connection after its next response, for good."""


async def drain(listeners: Listeners, order: DrainOrder, seconds: float, *, immediate: bool) -> None:
    """Carry out ``order``, whose drain time is ``seconds``.

    Envoy draws for each response whether it ends its connection, the likelier the more of the drain time is over; here
    connections are drawn, at steps: those that say little end evenly spread, too, and a request costs nothing. ``immediate``
    (``--drain-strategy``) tells all of them at the beginning, as it does in Envoy.
    """
    inbound = order.inbound_only
    if not order.graceful and not order.keep_listening:
        listeners.stop(inbound_only=inbound)
        return
    if not immediate:
        await _spread(listeners, seconds, inbound_only=inbound)
    listeners.close_after_responses(inbound_only=inbound)
    if order.keep_listening:
        return
    if immediate:
        await trio.sleep(seconds)
    listeners.stop(inbound_only=inbound)


async def _spread(listeners: Listeners, seconds: float, *, inbound_only: bool) -> None:
    steps = max(1, round(seconds / STEP_SECONDS))
    for step in range(steps):
        await trio.sleep(seconds / steps)
        listeners.end_connections(1.0 / (steps - step), inbound_only=inbound_only)
