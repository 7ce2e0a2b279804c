"""Subset load balancing: the endpoints whose metadata is what the route asks for, balanced by themselves.

Theory of operation. Each selector parts the endpoints by their values of its keys, when a request first asks for those keys;
each subset gets a load balancer when a request first asks for its values. So what nobody asks for costs nothing, and there are
never more subsets than endpoints times selectors (times the elements of lists). After a change of endpoints the selectors part
them anew, when asked again; a subset in which nothing changed keeps its tables, because host sets keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isthmus_proxy.cluster.balancer import Picker
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import Subset, SubsetSelector
from isthmus_proxy.cluster.load_balancer import LoadBalancer, Surroundings, make_load_balancer
from isthmus_proxy.cluster.locality import Locality
from isthmus_proxy.cluster.membership import LocalityWeights, Membership
from isthmus_proxy.cluster.metadata import Criteria, Value, items
from isthmus_proxy.cluster.subset_partition import Balanced, Partition
from isthmus_proxy.cluster.subset_stats import SubsetStats

_FALLBACK_LIST = "fallback_list"


class SubsetLoadBalancer:
    """See the module."""

    __slots__ = (
        "_any", "_default", "_default_endpoints", "_members", "_partitions", "_policy", "_shape", "_stats", "_surroundings",
        "direct",
    )  # fmt: skip

    def __init__(self, policy: Subset, surroundings: Surroundings) -> None:
        self._policy = policy
        self._surroundings = surroundings
        self._stats = SubsetStats(surroundings.stats.scope)
        self._members = Membership()
        self._shape = -1
        self._partitions = {
            selector.keys: Partition(selector, list_as_any=policy.list_as_any)
            for selector in reversed(policy.selectors)
        }
        self._any = self._balance()
        self._default = self._balance()
        self._default_endpoints: Sequence[Endpoint] = ()
        self.direct: Picker | None = None

    def _balance(self) -> Balanced:
        return Balanced(make_load_balancer(self._policy.inner, self._surroundings))

    def update(self, members: Membership) -> None:
        """Balance over ``members`` from now on."""
        if members.endpoints is not self._members.endpoints:
            self._shape = members.revision
            wanted = self._policy.default_subset
            self._default_endpoints = [each for each in members.endpoints if self._matches(each, wanted)]
        self._members = members

    def choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        """Return an endpoint of the subset that ``context.criteria`` name, or of what the fallback policy puts in its place."""
        criteria = None if context is None else context.criteria
        if context is None or criteria is None or not self._policy.fallback_list:
            return self._choose(context)
        wanted = dict(criteria)
        fallbacks = wanted.pop(_FALLBACK_LIST, None)
        if not isinstance(fallbacks, tuple) or fallbacks[0] != "list":
            return self._choose(context)
        return self._choose_in_turn(replace(context, criteria=tuple(wanted.items())), items(fallbacks))

    def _choose_in_turn(self, context: LoadBalancerContext, fallbacks: Sequence[Value]) -> Endpoint | None:
        """Try each of ``fallbacks``, whose values take the place of the context's own."""
        if not fallbacks:
            return self._choose(context)
        for fallback in fallbacks:
            changed = dict(context.criteria or ())
            if isinstance(fallback, tuple) and fallback[0] == "struct":
                changed.update(fallback[1])  # type: ignore[arg-type]
            endpoint = self._choose(replace(context, criteria=tuple(sorted(changed.items(), key=lambda item: item[0]))))
            if endpoint is not None:
                return endpoint
        return None

    def _choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        if context is not None and context.criteria is not None:
            partition = self._partition(context.criteria)
            if partition is not None:
                return self._choose_by(partition, context.criteria, context)
        return self._fall_back(context)

    def _partition(self, criteria: Criteria) -> Partition | None:
        """The partition of exactly the keys of ``criteria``, up to date."""
        partition = self._partitions.get(tuple([name for name, _ in criteria]))
        if partition is not None and partition.revision < self._shape:
            partition.update(self._members.endpoints, self._members.revision, self._stats)
        return partition

    def _choose_by(self, partition: Partition, criteria: Criteria, context: LoadBalancerContext) -> Endpoint | None:
        values = tuple([value for _, value in criteria])
        endpoints = partition.members(values)
        if endpoints:
            self._stats.selected.value += 1
            if partition.selector.single_host:
                return endpoints[0]
            balanced = partition.balanced(values)
            if balanced is None:
                balanced = self._balance()
                partition.keep(values, balanced)
                self._stats.created.value += 1
            return self._balanced(balanced, endpoints).choose(context)
        return self._fall_back_by(partition.selector, criteria, context)

    def _balanced(self, balanced: Balanced, endpoints: Sequence[Endpoint]) -> LoadBalancer:
        """The load balancer, told of the endpoints as they are now."""
        members = self._members
        if balanced.revision != members.revision:
            balanced.revision = members.revision
            weights = self._locality_weights(endpoints)
            balanced.balancer.update(replace(members, endpoints=endpoints, locality_weights=weights))
        return balanced.balancer

    def _locality_weights(self, endpoints: Sequence[Endpoint]) -> LocalityWeights | None:
        weights = self._members.locality_weights
        if weights is None or not self._policy.locality_weight_aware:
            return None
        if not self._policy.scale_locality_weight:
            return weights
        whole, part = _sizes(self._members.endpoints), _sizes(endpoints)
        return {
            priority: {
                name: round(weight * part.get((priority, name), 0) / whole.get((priority, name), 1))
                for name, weight in by_name.items()
            }
            for priority, by_name in weights.items()
        }

    def _fall_back_by(
        self, selector: SubsetSelector, criteria: Criteria, context: LoadBalancerContext
    ) -> Endpoint | None:
        policy = selector.fallback_policy
        if policy == "NOT_DEFINED":
            return self._fall_back(context)
        if policy == "ANY_ENDPOINT":
            return self._balanced(self._any, self._members.endpoints).choose(context)
        if policy == "DEFAULT_SUBSET":
            return self._balanced(self._default, self._default_endpoints).choose(context)
        if policy == "KEYS_SUBSET":
            fewer = tuple([item for item in criteria if item[0] in selector.fallback_keys])
            return self._choose(replace(context, criteria=fewer))
        return None

    def _fall_back(self, context: LoadBalancerContext | None) -> Endpoint | None:
        endpoint = None
        policy = self._policy.fallback_policy
        if policy == "ANY_ENDPOINT":
            endpoint = self._balanced(self._any, self._members.endpoints).choose(context)
        elif policy == "DEFAULT_SUBSET":
            endpoint = self._balanced(self._default, self._default_endpoints).choose(context)
        if endpoint is not None:
            self._stats.fallback.value += 1
        elif self._policy.panic_mode_any and policy != "NO_FALLBACK":
            endpoint = self._balanced(self._any, self._members.endpoints).choose(context)
            if endpoint is not None:
                self._stats.fallback_panic.value += 1
        return endpoint

    def _matches(self, endpoint: Endpoint, wanted: Criteria) -> bool:
        metadata = dict(endpoint.config.metadata)
        for name, value in wanted:
            found = metadata.get(name)
            if found is None or value not in (items(found) if self._policy.list_as_any else (found,)):
                return False
        return True


def _sizes(endpoints: Sequence[Endpoint]) -> dict[tuple[int, Locality], int]:
    found: dict[tuple[int, Locality], int] = {}
    for endpoint in endpoints:
        key = (endpoint.priority, endpoint.locality)
        found[key] = found.get(key, 0) + 1
    return found
