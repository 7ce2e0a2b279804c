"""Which endpoints a retry would rather not meet again (RetryPolicy.retry_host_predicate)."""

from __future__ import annotations

from collections.abc import Container

from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.route.model import RetryPolicy


class Omitted:
    """A container of the endpoints to avoid: those tried before, and those with certain metadata."""

    __slots__ = ("_metadata", "_previous")

    def __init__(self, policy: RetryPolicy, previous: list[Endpoint]) -> None:
        self._previous = previous if policy.avoid_previous_hosts else []
        self._metadata = policy.omit_metadata

    def __contains__(self, endpoint: object) -> bool:
        if endpoint in self._previous:
            return True
        if not isinstance(endpoint, Endpoint) or not self._metadata:
            return False
        present = dict(endpoint.config.metadata)
        return any(all(present.get(name) == value for name, value in pairs) for pairs in self._metadata)


def avoiding(policy: RetryPolicy | None, previous: list[Endpoint]) -> LoadBalancerContext | None:
    """How the load balancer should regard the endpoints tried before; None if any will do."""
    if policy is None:
        return None
    avoided: Container[Endpoint] = ()
    if policy.avoid_previous_hosts or policy.omit_metadata:
        avoided = Omitted(policy, previous)
    elif not policy.priority_frequency:
        return None
    attempted = tuple([endpoint.priority for endpoint in previous])
    return LoadBalancerContext(
        avoided, policy.host_selection_attempts, attempted=attempted, priority_frequency=policy.priority_frequency
    )
