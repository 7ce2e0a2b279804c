"""Dual mode for the administration endpoint and the metrics: who is shown what of which instance, and why. Pure."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_mcp_bridge.dualmode.decide import Decided, Shown
from isthmus_mcp_bridge.dualmode.dual_modes import Decisions, DualModes
from isthmus_mcp_bridge.dualmode.policy import Choice
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.observe.metrics import Sample

MAX_INSTANCES = 10_000
"""Instances of a service that are listed; ``total`` says how many there are."""

GAUGES = {
    "isthmus_bridge_policies": "Policies of dual mode in use.",
    "isthmus_bridge_policies_age_seconds": "How long ago the source of the policies was heard; 0 while it is.",
    "isthmus_bridge_policies_live": "1 while the source of the policies is heard.",
    "isthmus_bridge_policy_problems": "Policies that cannot be used as their source has them.",
    "isthmus_bridge_policy_store_failures": "Writes of the last policies that failed.",
    "isthmus_bridge_overrides_held": "Configurators of ours that stand in a registry.",
    "isthmus_bridge_override_events": "What has happened to configurators since the start, by kind.",
    "isthmus_bridge_dual_mode_instances": "Instances by what consumers of a side are shown first.",
    "isthmus_bridge_dual_mode_draining": "Addresses that stay valid beside the one shown until their overlap is over.",
}


def services(modes: DualModes, host: str, now: float) -> dict[str, Any]:
    """By ``namespace/host``; ``host`` narrows to those whose host or full name is exactly that."""
    keys = sorted(key for key in modes.decisions if not host or host in (key.host, key.name))
    return {key.name: _service(modes.decisions[key], now) for key in keys}


def _service(decisions: Decisions, now: float) -> dict[str, Any]:
    found = [(port, one) for port, decision in decisions.items() for one in decision.instances.values()]
    return {
        "total": len(found),
        "instances": [_instance(port, one, now) for port, one in found[:MAX_INSTANCES]],
        "sdk_share_mesh": _share(one.sdk for _, one in found),
        "mesh_share_mesh": _share(one.mesh for _, one in found),
    }


def _instance(port: str, one: Decided, now: float) -> dict[str, Any]:
    instance = one.instance
    policy = one.mesh.ordered.policy or one.sdk.ordered.policy
    return {
        "id": instance.id,
        "application": instance.application,
        "port": port,
        "native": None if instance.native is None else str(instance.native),
        "mesh": None if instance.mesh is None else str(instance.mesh),
        "native_up": instance.native_up,
        "mesh_up": instance.mesh_up,
        "sdk": [str(address) for address in one.sdk.addresses],
        "mesh_shown": [str(address) for address in one.mesh.addresses],
        "policy": "" if policy is None else policy.full_name,
        "rule": one.mesh.ordered.rule,
        "sdk_rule": one.sdk.ordered.rule,
        "sdk_draining_s": _draining(one.sdk, now),
        "mesh_draining_s": _draining(one.mesh, now),
    }


def _draining(shown: Shown, now: float) -> dict[str, float]:
    return {str(each.address): round(max(0.0, each.until - now), 1) for each in shown.draining}


def _share(shown: Iterable[Shown]) -> float:
    """The part of the instances that are shown of which the mesh address is, from 0 to 1."""
    choices = [one.choice for one in shown if one.choice is not None]
    return round(choices.count(Choice.MESH) / len(choices), 4) if choices else 0.0


def policies(book: PolicyBook | None, epoch: float) -> dict[str, Any] | None:
    """The policies and how their source is; None where none is configured."""
    if book is None:
        return None
    return {
        "source": book.source,
        "live": book.live,
        "age_s": None if (age := book.age_s(epoch)) is None else round(age, 1),
        "error": book.error,
        "versions": dict(book.versions),
        "problems": list(book.problems),
    }


def samples(modes: DualModes, book: PolicyBook | None, epoch: float) -> Iterator[Sample]:
    """The gauges at this moment."""
    if book is not None:
        yield Sample("isthmus_bridge_policies", len(book.policies))
        yield Sample("isthmus_bridge_policies_live", book.live)
        yield Sample("isthmus_bridge_policy_problems", len(book.problems))
        age_s = book.age_s(epoch)
        if age_s is not None:
            yield Sample("isthmus_bridge_policies_age_seconds", round(age_s, 1))
    counts = _counts(modes)
    for side in ("sdk", "mesh"):
        for choice in Choice:
            labels = {"side": side, "address": choice.value}
            yield Sample("isthmus_bridge_dual_mode_instances", counts[side, choice.value], labels)
        yield Sample("isthmus_bridge_dual_mode_draining", counts[side, "draining"], {"side": side})


def _counts(modes: DualModes) -> Mapping[tuple[str, str], int]:
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for decisions in modes.decisions.values():
        for decision in decisions.values():
            for one in decision.instances.values():
                for side, shown in (("sdk", one.sdk), ("mesh", one.mesh)):
                    if shown.choice is not None:
                        counts[side, shown.choice.value] += 1
                    counts[side, "draining"] += len(shown.draining)
    return counts
