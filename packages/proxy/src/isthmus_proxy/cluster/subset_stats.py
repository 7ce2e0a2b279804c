"""What subset load balancing counts, under Envoy's names below ``cluster.<name>.``; made with the first such balancer."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope


class SubsetStats:
    """Subsets that exist (``active``), got or lost a load balancer, and how choices were made."""

    __slots__ = (
        "active",
        "created",
        "fallback",
        "fallback_panic",
        "removed",
        "selected",
        "single_host_per_subset_duplicate",
    )

    def __init__(self, scope: StatsScope) -> None:
        self.active = scope.gauge("lb_subsets_active")
        self.single_host_per_subset_duplicate = scope.gauge("lb_subsets_single_host_per_subset_duplicate")
        self.created = scope.counter("lb_subsets_created")
        self.removed = scope.counter("lb_subsets_removed")
        self.selected = scope.counter("lb_subsets_selected")
        self.fallback = scope.counter("lb_subsets_fallback")
        self.fallback_panic = scope.counter("lb_subsets_fallback_panic")
