"""Where traffic goes by the place of client and endpoints: shares (``distribute``), or the nearest first (failover). Pure.

As in Istio: a setting of a DestinationRule stands for that of the mesh, whole; shares come first, and the nearest are preferred only with
outlier detection, since else nobody would notice that they fail.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus_controlplane.model.rule_aspects import lies_in, parts_of
from isthmus_controlplane.model.scope import Identity
from isthmus_controlplane.model.service import Endpoint
from isthmus_controlplane.translate.traffic_policy import TrafficPolicy

_OTHER_REGION, _LAST = 3, 4
# Labels that say a place: what the locality says goes before what a label of that name says, as in Istio.
_PLACE_LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Where a client is, and who.

    Attributes:
        locality: ``region/zone/subzone``; empty where it does not say: then every place is as good.
        mesh: whether the mesh prefers what is near where a DestinationRule says nothing of it.
        identity: what it presents to servers that ask; None where it has nothing.
        labels: those that a DestinationRule's ``failoverPriority`` compares with those of endpoints.
        authorities: path of those that it trusts where a DestinationRule asks for TLS and names none.
    """

    locality: str = ""
    mesh: bool = True
    identity: Identity | None = None
    labels: tuple[tuple[str, str], ...] = ()
    authorities: str = ""


NOWHERE = Client()


def distributes(policy: TrafficPolicy, client: Client) -> bool:
    """Whether a cluster gives each place a share, which it has to be told."""
    return _shares(_setting(policy, client), client) is not None


def place(assignment: Any, policy: TrafficPolicy, client: Client) -> None:
    """Set weights or priorities of the localities of a ClusterLoadAssignment as the client sees them."""
    setting = _setting(policy, client)
    shares = _shares(setting, client)
    if shares is not None:
        _distribute(assignment, shares)
    elif setting is not None and policy.outlier_detection is not None:
        _set_priorities(assignment.endpoints, client.locality, setting.failover)


def ranker(policy: TrafficPolicy, client: Client) -> Callable[[Endpoint], int] | None:
    """Return what ranks endpoints by ``failoverPriority``, 0 the best: how many of its labels do not count as shared.

    A label counts only if all before it do. It is shared where both sides have it with one value, or neither has it; for
    ``key=value`` that value stands in the place of the client's. None where endpoints are not ranked by labels.
    """
    balancer = policy.load_balancer
    if balancer is None or policy.outlier_detection is None:
        return None
    setting = balancer.locality_lb_setting
    if not setting.failover_priority or (setting.HasField("enabled") and not setting.enabled.value):
        return None
    own = _labels(dict(client.labels), client.locality)
    wanted = [(key, value if given else own.get(key, "")) for key, given, value in _pairs(setting.failover_priority)]

    def rank(endpoint: Endpoint) -> int:
        theirs = _labels(dict(endpoint.labels), endpoint.locality)
        shared = next((n for n, (key, value) in enumerate(wanted) if theirs.get(key, "") != value), len(wanted))
        return len(wanted) - shared

    return rank


def _pairs(labels: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return (each.partition("=") for each in labels)


def _labels(labels: Mapping[str, str], locality: str) -> Mapping[str, str]:
    return {**labels, **{name: part for name, part in zip(_PLACE_LABELS, parts_of(locality), strict=True) if part}}


def _setting(policy: TrafficPolicy, client: Client) -> Any:
    """Return the ``LocalityLoadBalancerSetting`` that holds; None where places make no difference."""
    if not client.locality:
        return None
    balancer = policy.load_balancer
    if balancer is not None and balancer.HasField("locality_lb_setting"):
        own = balancer.locality_lb_setting
        return None if own.HasField("enabled") and not own.enabled.value else own
    return _MESH_DEFAULT if client.mesh else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Default:
    """A setting that says no more than that the nearest are preferred."""

    distribute: tuple[Any, ...] = ()
    failover: tuple[Any, ...] = ()


_MESH_DEFAULT = _Default()


def _shares(setting: Any, client: Client) -> Any:
    """Return the shares by place for the client, from the first that means its place; None where none does."""
    if setting is None:
        return None
    return next((each.to for each in setting.distribute if lies_in(client.locality, getattr(each, "from"))), None)


def _distribute(assignment: Any, shares: Any) -> None:
    """Give each place its share, within it each locality by its own weight; what has no share gets nothing."""
    left = list(assignment.endpoints)
    kept = []
    for wanted in sorted(shares, key=_narrowest_first):
        chosen = [each for each in left if lies_in(_text(each.locality), wanted)]
        left = [each for each in left if each not in chosen]
        total = sum(each.load_balancing_weight.value for each in chosen)
        for each in chosen:
            weight = math.ceil(each.load_balancing_weight.value * shares[wanted] / total)
            if weight:
                each.load_balancing_weight.value = weight
                kept.append(each)
    ordered = [each for each in assignment.endpoints if each in kept]
    made = [type(each).FromString(each.SerializeToString()) for each in ordered]
    del assignment.endpoints[:]
    assignment.endpoints.extend(made)


def _narrowest_first(wanted: str) -> tuple[int, str]:
    return (sum(part in {"", "*"} for part in parts_of(wanted)), wanted)


def _set_priorities(groups: Any, locality: str, failover: Iterable[Any]) -> None:
    """Number the localities from the nearest, 0, without gaps, which clients refuse."""
    found = [_distance(_text(group.locality), locality, failover) for group in groups]
    numbers = {distance: number for number, distance in enumerate(sorted(set(found)))}
    for group, distance in zip(groups, found, strict=True):
        group.priority = numbers[distance]


def _distance(locality: str, own: str, failover: Iterable[Any]) -> int:
    """Count how far a locality is: the same, the same zone, the same region, another one, one that the setting does not name."""
    theirs, mine = parts_of(locality), parts_of(own)
    same = next((count for count in range(3) if theirs[count] != mine[count]), 3)
    distance = _OTHER_REGION - same
    if distance == _OTHER_REGION:
        target = next((each.to for each in failover if getattr(each, "from") == mine[0]), theirs[0])
        return _OTHER_REGION if theirs[0] == target else _LAST
    return distance


def _text(locality: Any) -> str:
    return f"{locality.region}/{locality.zone}/{locality.sub_zone}"
