"""One way to part the endpoints of a cluster: by the values of some metadata keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import SubsetSelector
from isthmus_proxy.cluster.load_balancer import LoadBalancer
from isthmus_proxy.cluster.metadata import Value, items
from isthmus_proxy.cluster.subset_stats import SubsetStats

Values = tuple[Value, ...]


class Balanced:
    """A load balancer of some of the endpoints, told of them as of ``revision``."""

    __slots__ = ("balancer", "revision")

    def __init__(self, balancer: LoadBalancer) -> None:
        self.balancer = balancer
        self.revision = -1


class Partition:
    """The endpoints by their values of one selector's keys, as of ``revision``."""

    __slots__ = ("_balanced", "_duplicates", "_endpoints", "_list_as_any", "revision", "selector")

    def __init__(self, selector: SubsetSelector, *, list_as_any: bool) -> None:
        self.selector = selector
        self.revision = -1
        self._duplicates = 0
        self._list_as_any = list_as_any
        self._endpoints: dict[Values, list[Endpoint]] = {}
        self._balanced: dict[Values, Balanced] = {}

    def update(self, endpoints: Sequence[Endpoint], revision: int, stats: SubsetStats) -> None:
        """Part ``endpoints`` anew; load balancers of subsets that are gone go too."""
        self.revision = revision
        before, self._endpoints, duplicates = len(self._endpoints), {}, 0
        for endpoint in endpoints:
            for values in self._values(endpoint):
                members = self._endpoints.setdefault(values, [])
                if self.selector.single_host and members:
                    duplicates += 1
                else:
                    members.append(endpoint)
        stats.single_host_per_subset_duplicate.value += duplicates - self._duplicates
        self._duplicates = duplicates
        stats.active.value += len(self._endpoints) - before
        for values in [values for values in self._balanced if values not in self._endpoints]:
            del self._balanced[values]
            stats.removed.value += 1

    def _values(self, endpoint: Endpoint) -> list[Values]:
        metadata = dict(endpoint.config.metadata)
        found = [metadata.get(key) for key in self.selector.keys]
        known = [value for value in found if value is not None]
        if len(known) < len(found):
            return []
        if not self._list_as_any:
            return [tuple(known)]
        return list(dict.fromkeys(product(*map(items, known))))

    def members(self, values: Values) -> Sequence[Endpoint]:
        """The endpoints of one subset."""
        return self._endpoints.get(values, ())

    def balanced(self, values: Values) -> Balanced | None:
        """The load balancer of one subset, if it has one."""
        return self._balanced.get(values)

    def keep(self, values: Values, balanced: Balanced) -> None:
        """Remember the load balancer of one subset."""
        self._balanced[values] = balanced
