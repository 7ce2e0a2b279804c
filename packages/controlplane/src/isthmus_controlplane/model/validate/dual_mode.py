"""Rules of DualMode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import (
    check_duration,
    check_export_to,
    check_host,
    check_port,
    is_ip_address,
)

ADDRESSES = ("native", "mesh", "gateway")
MAX_RULES = 100
MAX_OVERRIDES = 10_000
MAX_OVERLAP_S = 3600
_HUNDRED = 100.0
_ROUNDING = 1e-9  # of a sum of percentages


def validate_dual_mode(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a DualMode."""
    if spec.host:
        yield from check_host(spec.host, "spec.host", wildcard=False)
    yield from check_export_to(spec.export_to)
    for index, namespace in enumerate(spec.export_to):
        if namespace == "~":
            yield FieldProblem(f"spec.exportTo[{index}]", "'~' would be for no service: delete the policy instead")
    has_gateway = spec.HasField("gateway")
    if has_gateway:
        yield from _check_gateway(spec.gateway)
    for side in ("sdk", "mesh"):
        yield from _check_view(getattr(spec, side), f"spec.{side}", has_gateway=has_gateway)
    if spec.HasField("overlap"):
        yield from check_duration(spec.overlap, "spec.overlap", zero=True)
        if spec.overlap.seconds > MAX_OVERLAP_S:
            yield FieldProblem("spec.overlap", f"{spec.overlap.ToJsonString()} is too long: use at most an hour")
    yield from _check_overrides(spec.overrides, has_gateway=has_gateway)


def _check_gateway(gateway: Any) -> Iterator[FieldProblem]:
    if not is_ip_address(gateway.host):
        yield FieldProblem("spec.gateway.host", f"{shown(gateway.host)} is not an IP address")
    yield from check_port(gateway.port, "spec.gateway.port")


def _check_view(view: Any, path: str, *, has_gateway: bool) -> Iterator[FieldProblem]:
    yield from _check_order(view.prefer, f"{path}.prefer", has_gateway=has_gateway)
    if len(view.rules) > MAX_RULES:
        yield FieldProblem(f"{path}.rules", f"has {len(view.rules)} rules: use at most {MAX_RULES}")
    names: set[str] = set()
    total = 0.0
    for index, rule in enumerate(view.rules):
        below = f"{path}.rules[{index}]"
        if rule.name and rule.name in names:
            yield FieldProblem(f"{below}.name", f"{shown(rule.name)} is used by another rule: names must differ")
        names.add(rule.name)
        if not 0 <= rule.percent <= _HUNDRED:  # a NaN is not either
            yield FieldProblem(f"{below}.percent", f"{rule.percent} is not a percentage: use 0 to 100")
            continue
        total += rule.percent
        if total > _HUNDRED + _ROUNDING:
            yield FieldProblem(
                f"{below}.percent", f"{rule.percent} makes {total:g} % with the rules before: 100 is all"
            )
        if not rule.prefer:
            yield FieldProblem(f"{below}.prefer", "is empty: name at least one of native, mesh and gateway")
        yield from _check_order(rule.prefer, f"{below}.prefer", has_gateway=has_gateway)


def _check_order(order: Iterable[str], path: str, *, has_gateway: bool) -> Iterator[FieldProblem]:
    seen: set[str] = set()
    for index, address in enumerate(order):
        below = f"{path}[{index}]"
        if address not in ADDRESSES:
            yield FieldProblem(below, f"{shown(address)} is not one of {', '.join(ADDRESSES)}")
        elif address in seen:
            yield FieldProblem(below, f"{shown(address)} stands twice: remove one")
        elif address == "gateway" and not has_gateway:
            yield FieldProblem(below, "'gateway' has no address: set spec.gateway")
        seen.add(address)


def _check_overrides(overrides: Any, *, has_gateway: bool) -> Iterator[FieldProblem]:
    if len(overrides) > MAX_OVERRIDES:
        yield FieldProblem("spec.overrides", f"has {len(overrides)} instances: use at most {MAX_OVERRIDES}")
    seen: set[str] = set()
    for index, each in enumerate(overrides):
        path = f"spec.overrides[{index}]"
        if not each.instance:
            yield FieldProblem(f"{path}.instance", "is empty: name an instance, or one of its addresses as host:port")
        elif each.instance in seen:
            yield FieldProblem(f"{path}.instance", f"{shown(each.instance)} stands twice: remove one")
        seen.add(each.instance)
        if not each.sdk and not each.mesh:
            yield FieldProblem(path, "says nothing: set sdk, mesh or both")
        yield from _check_order(each.sdk, f"{path}.sdk", has_gateway=has_gateway)
        yield from _check_order(each.mesh, f"{path}.mesh", has_gateway=has_gateway)
