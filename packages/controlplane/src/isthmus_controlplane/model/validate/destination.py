"""Rules of destinations of a VirtualService, and of mirrors, which are destinations of copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.validate.text import check_host, check_label_name, check_percent, check_port

MAX_TOTAL_WEIGHT = 1_000_000


def check_mirrors(route: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with ``mirror`` and ``mirrors`` of one HTTPRoute."""
    if route.HasField("mirror"):
        yield from check_destination(route.mirror, f"{path}.mirror")
    elif route.HasField("mirror_percentage"):
        yield FieldProblem(f"{path}.mirrorPercentage", "has no effect without mirror: add that or remove this")
    if route.HasField("mirror") and route.mirrors:
        yield FieldProblem(f"{path}.mirrors", "cannot stand beside mirror: move that one into the list")
    yield from check_percent(route.mirror_percentage.value, f"{path}.mirrorPercentage.value")
    for index, mirror in enumerate(route.mirrors):
        below = f"{path}.mirrors[{index}]"
        yield from check_destination(mirror.destination, f"{below}.destination")
        yield from check_percent(mirror.percentage.value, f"{below}.percentage.value")


def check_destination(destination: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with a Destination on its own."""
    yield from check_host(destination.host, f"{path}.host", wildcard=False)
    if destination.subset:
        yield from check_label_name(destination.subset, f"{path}.subset")
    if destination.HasField("port"):
        yield from check_port(destination.port.number, f"{path}.port.number")


def check_weights(targets: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with the weights of the destinations of one route."""
    for index, target in enumerate(targets):
        if target.weight < 0:
            yield FieldProblem(f"{path}[{index}].weight", f"{target.weight} is negative: use 0 to 100")
    total = sum(target.weight for target in targets)
    if len(targets) > 1 and total == 0:
        yield FieldProblem(path, "all weights are 0: give at least one destination a weight")
    if total > MAX_TOTAL_WEIGHT:
        yield FieldProblem(path, f"the weights add up to {total}: keep the sum at most {MAX_TOTAL_WEIGHT}")
