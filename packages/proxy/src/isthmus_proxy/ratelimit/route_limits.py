"""Which rate limits of a route and of its virtual host apply, and what their actions see of an exchange. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.ratelimit.descriptors import Facts, RateLimit
from isthmus_proxy.route.model import Decision, ForwardAction

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.stream_filter import RequestCallbacks

HostLimits = Literal["OVERRIDE", "INCLUDE", "IGNORE"]
"""VhRateLimitsOptions: those of the virtual host count where the route has none, always, or never."""


def limits_of(decision: Decision, host_limits: HostLimits = "OVERRIDE") -> tuple[RateLimit, ...]:
    """The limits of a route that forwards, of all stages; there are none for other routes."""
    action = decision.route.action
    if not isinstance(action, ForwardAction):
        return ()
    own, of_host = action.rate_limits, decision.virtual_host.rate_limits
    choice = "INCLUDE" if action.include_vh_rate_limits else host_limits
    if choice == "INCLUDE":
        return own + of_host
    return own if own or choice == "IGNORE" else of_host


def facts_of(callbacks: RequestCallbacks, head: RequestHead, service_cluster: str) -> Facts:
    """An exchange as actions see it; ``service_cluster`` is the cluster of the proxy's own node."""
    decision, info = callbacks.decision, callbacks.info
    host, separator, _ = info.downstream_remote.rpartition(":")
    return Facts(
        head,
        service_cluster,
        callbacks.cluster_name,
        host.strip("[]") if separator else "",
        info.dynamic_metadata,
        decision.route.metadata if decision is not None else None,
    )
