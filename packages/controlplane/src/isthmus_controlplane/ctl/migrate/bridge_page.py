"""What the bridge's page on dual mode says: addresses by kind, and whether it shows the shares that a policy asks for. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.ctl.migrate.figures import Addresses

_ROUNDING = 1e-9
_FIELDS = {"sdk": ("sdk", "sdk_rule", "sdk_draining_s"), "mesh": ("mesh_shown", "rule", "mesh_draining_s")}
"""By side: the addresses shown, the rule by which, and those that are valid for some time more."""


def addresses(page: Any) -> Addresses:
    """The addresses of all instances on the page."""
    found = list(_instances(page))
    return Addresses(
        frozenset(each["mesh"] for each in found if each["mesh"]),
        frozenset(each["native"] for each in found if each["native"]),
    )


def shown_by_mesh(page: Any, side: str) -> tuple[int, int]:
    """How many instances ``side`` is shown by their mesh address, and how many there are."""
    found = list(_instances(page))
    return sum(_shows_mesh(each, side) for each in found), len(found)


def waiting_for(page: Any, policy: str, version: str, shares: Mapping[str, float], *, drained: bool = False) -> str:
    """What of a policy (``namespace/name``) the bridge does not show yet; empty when it shows all of it.

    ``drained``: addresses that were shown before are to be valid no more.
    """
    known = (page["policies"] or {}).get("versions", {})
    if known.get(policy) != version:
        return f"the bridge has version {known.get(policy, 'none')} of the policy, not {version}"
    governed = [each for each in _instances(page) if each["policy"] == policy]
    if not governed:
        return f"the bridge knows no instance that {policy} governs"
    for side, percent in shares.items():
        for port in sorted({(each["service"], each["port"]) for each in governed}):
            group = [each for each in governed if (each["service"], each["port"]) == port]
            late = _late(group, side, percent)
            if late:
                return f"the bridge shows {late} of {'/'.join(port)} to {side} consumers"
            left = [left for each in group for left in each[_FIELDS[side][2]].values()]
            if drained and left:
                return f"{len(left)} addresses of {'/'.join(port)} stay valid for {max(left):g} s more"
    return ""


def _late(group: list[dict[str, Any]], side: str, percent: float) -> str:
    """What is wrong with a group's number of mesh addresses; the bridge can show none that is down."""
    free = [each for each in group if each[_FIELDS[side][1]] != "override"]
    wanted = math.ceil(len(free) * percent / 100 - _ROUNDING)
    most = sum(bool(each["mesh_up"]) for each in free)
    least = sum(bool(each["mesh_up"] and not each["native_up"]) for each in free)
    wanted = max(min(wanted, most), least)
    shown = sum(_shows_mesh(each, side) for each in free)
    return "" if shown == wanted else f"{shown} mesh addresses, not {wanted},"


def _shows_mesh(instance: Mapping[str, Any], side: str) -> bool:
    shown = instance[_FIELDS[side][0]]
    return bool(shown) and shown[0] == instance["mesh"]


def _instances(page: Any) -> Iterable[dict[str, Any]]:
    for name, service in page["services"].items():
        for instance in service["instances"]:
            yield {**instance, "service": name}
