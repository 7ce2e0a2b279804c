"""Rules of ``localityLbSetting``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.rule_aspects import ANY, lies_in

MAX_PARTS = 3
_WHOLE = 100  # per cent


def check_locality_setting(setting: Any, path: str, *, detects: bool) -> Iterator[FieldProblem]:
    """Yield what is wrong with one LocalityLoadBalancerSetting; ``detects``: outlier detection is on beside it."""
    if setting.distribute and setting.failover:
        yield FieldProblem(f"{path}.failover", "cannot stand beside distribute: give one of the two")
    if setting.failover and not detects:
        message = "has no effect without outlierDetection, which tells what has failed: add that or remove this"
        yield FieldProblem(f"{path}.failover", message)
    yield from _failover_priority(setting, f"{path}.failoverPriority", detects=detects)
    for index, each in enumerate(setting.distribute):
        yield from _distribute(each, f"{path}.distribute[{index}]")
        start = getattr(each, "from")
        if any(lies_in(start, getattr(other, "from")) for other in setting.distribute[:index]):
            message = f"{shown(start)} lies in a place before it, which takes its clients: put the narrower one first"
            yield FieldProblem(f"{path}.distribute[{index}].from", message)
    for index, each in enumerate(setting.failover):
        yield from _failover(each, f"{path}.failover[{index}]")


def _failover_priority(setting: Any, path: str, *, detects: bool) -> Iterator[FieldProblem]:
    if not setting.failover_priority:
        return
    for name in ("distribute", "failover"):
        if getattr(setting, name):
            yield FieldProblem(path, f"cannot stand beside {name}: give one of the two")
    if not detects:
        message = "has no effect without outlierDetection, which tells what has failed: add that or remove this"
        yield FieldProblem(path, message)
    keys = [label.partition("=")[0] for label in setting.failover_priority]
    for index, key in enumerate(keys):
        if not key:
            message = f"{shown(setting.failover_priority[index])} names no label: write KEY or KEY=VALUE"
            yield FieldProblem(f"{path}[{index}]", message)
        elif key in keys[:index]:
            yield FieldProblem(f"{path}[{index}]", f"{shown(key)} stands there twice: keep one")


def _distribute(setting: Any, path: str) -> Iterator[FieldProblem]:
    yield from _place(getattr(setting, "from"), f"{path}.from")
    for place, share in sorted(setting.to.items()):
        yield from _place(place, f"{path}.to.{place}")
        if not 0 < share <= _WHOLE:
            yield FieldProblem(f"{path}.to.{place}", f"{share} is not a share: use 1 to {_WHOLE} per cent")
    total = sum(setting.to.values())
    if total != _WHOLE:
        yield FieldProblem(f"{path}.to", f"the shares add up to {total}: they must be {_WHOLE} per cent together")


def _place(text: str, path: str) -> Iterator[FieldProblem]:
    parts = text.split("/")
    if len(parts) > MAX_PARTS or not all(parts):
        yield FieldProblem(
            path, f"{shown(text)} is not a place: write REGION, REGION/ZONE or REGION/ZONE/SUBZONE, or * for a part"
        )
    elif ANY in parts[:-1] and parts[parts.index(ANY) :] != [ANY] * (len(parts) - parts.index(ANY)):
        yield FieldProblem(path, f"{shown(text)} has a part behind '*', which means every place below: remove it")


def _failover(setting: Any, path: str) -> Iterator[FieldProblem]:
    start, target = getattr(setting, "from"), setting.to
    for name, region in (("from", start), ("to", target)):
        if not region or "/" in region or ANY in region:
            yield FieldProblem(
                f"{path}.{name}", f"{shown(region)} is not a region: write one, without zone and wildcard"
            )
    if start and start == target:
        yield FieldProblem(f"{path}.to", f"{shown(target)} is the region itself: give another one")
