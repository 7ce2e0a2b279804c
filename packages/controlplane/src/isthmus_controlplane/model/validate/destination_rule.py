"""Rules of DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import check_export_to, check_host, check_label_name
from isthmus_controlplane.model.validate.traffic_policy import check_traffic_policy


def validate_destination_rule(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a DestinationRule."""
    yield from check_host(spec.host, "spec.host", wildcard=False)
    yield from check_traffic_policy(spec.traffic_policy, "spec.trafficPolicy")
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        yield from check_label_name(subset.name, f"{path}.name")
        if subset.name in seen:
            yield FieldProblem(f"{path}.name", f"{shown(subset.name)} is used by another subset: names must differ")
        seen.add(subset.name)
        yield from check_traffic_policy(subset.traffic_policy, f"{path}.trafficPolicy", spec.traffic_policy)
    yield from check_export_to(spec.export_to)
