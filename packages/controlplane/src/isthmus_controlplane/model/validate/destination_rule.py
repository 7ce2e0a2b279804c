"""Rules of DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import check_export_to, check_host, check_label_name, check_port


def validate_destination_rule(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a DestinationRule."""
    yield from check_host(spec.host, "spec.host", wildcard=False)
    yield from _port_settings(spec.traffic_policy, "spec.trafficPolicy")
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        yield from check_label_name(subset.name, f"{path}.name")
        if subset.name in seen:
            yield FieldProblem(f"{path}.name", f"{shown(subset.name)} is used by another subset: names must differ")
        seen.add(subset.name)
        yield from _port_settings(subset.traffic_policy, f"{path}.trafficPolicy")
    yield from check_export_to(spec.export_to)


def _port_settings(policy: Any, path: str) -> Iterator[FieldProblem]:
    seen: set[int] = set()
    for index, setting in enumerate(policy.port_level_settings):
        below = f"{path}.portLevelSettings[{index}].port.number"
        yield from check_port(setting.port.number, below)
        if setting.port.number in seen:
            yield FieldProblem(below, f"{setting.port.number} has two settings: keep one")
        seen.add(setting.port.number)
