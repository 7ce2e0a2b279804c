"""Rules of destinations of a VirtualService, and of mirrors, which are destinations of copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.validate.text import check_host, check_label_name, check_percent, check_port


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
