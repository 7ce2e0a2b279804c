"""Objects that hold for workloads chosen by label: by kind and namespace, and which labels matter at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.model.gateway import GATEWAY_API_GATEWAY
from isthmus_controlplane.stores.base import ConfigObject

POLICY_KINDS = (
    "AuthorizationPolicy",
    "PeerAuthentication",
    "RequestAuthentication",
    "EnvoyFilter",
    "Gateway",
    "Sidecar",
    "Telemetry",
)
DEFAULT_ROOT_NAMESPACE = "istio-system"
ALL_NAMESPACES = ""
GATEWAY_KINDS = frozenset({"Gateway", GATEWAY_API_GATEWAY})
Labels = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Policies:
    """The objects, immutable.

    Attributes:
        root_namespace: objects there hold for all namespaces.
        objects: by kind and namespace, the one that came first first.
        selecting: the labels that any of them selects by; others of a node change nothing.
    """

    root_namespace: str = DEFAULT_ROOT_NAMESPACE
    objects: Mapping[tuple[str, str], tuple[ConfigObject, ...]] = dataclasses.field(default_factory=dict)
    selecting: frozenset[tuple[str, str]] = frozenset()

    @property
    def traces(self) -> bool:
        """Whether any Telemetry speaks of spans, which name the workload."""
        found = (obj for (kind, _), each in self.objects.items() if kind == "Telemetry" for obj in each)
        return any(obj.spec.tracing for obj in found)  # type: ignore[attr-defined]

    def holding(self, kind: str, namespace: str, labels: Labels) -> list[ConfigObject]:
        """Return those of one kind that hold for a workload, those of the root namespace first."""
        namespaces = dict.fromkeys((self.root_namespace, namespace))
        found = (obj for each in namespaces for obj in self.objects.get((kind, each), ()))
        return [obj for obj in found if selects(obj, labels)]

    def gateways(self, labels: Labels, namespace: str) -> list[ConfigObject]:
        """Return the Gateways that select a proxy: Istio's of whatever namespace, the Gateway API's of the proxy's own."""
        found = self.objects.get(("Gateway", ALL_NAMESPACES), ())
        return [obj for obj in found if selects(obj, labels) and (_is_istio(obj) or obj.key.namespace == namespace)]

    def sidecar(self, namespace: str, labels: Labels) -> ConfigObject | None:
        """Return the Sidecar of a workload: one that selects it, else that of its namespace, else that of the root namespace."""
        own = self.objects.get(("Sidecar", namespace), ())
        of_root = self.objects.get(("Sidecar", self.root_namespace), ())
        selecting = (obj for obj in own if selector_of(obj) and selects(obj, labels))
        without = (obj for obj in (*own, *of_root) if not selector_of(obj))
        return next(selecting, None) or next(without, None)


def index_policies(
    objects: Iterable[ConfigObject], root_namespace: str, selecting_too: Iterable[tuple[str, str]] = ()
) -> Policies:
    """Index policies.

    Args:
        objects: in the order of precedence.
        root_namespace: objects there hold for all namespaces.
        selecting_too: labels that other objects select clients by.
    """
    index: dict[tuple[str, str], list[ConfigObject]] = {}
    selecting: set[tuple[str, str]] = set(selecting_too)
    for obj in objects:
        gateway = obj.key.kind in GATEWAY_KINDS
        key = ("Gateway", ALL_NAMESPACES) if gateway else (obj.key.kind, obj.key.namespace)
        index.setdefault(key, []).append(obj)
        selecting.update(selector_of(obj).items())
    return Policies(root_namespace, {key: tuple(each) for key, each in index.items()}, frozenset(selecting))


def selector_of(obj: ConfigObject) -> Labels:
    """Return the labels by which an object selects workloads; none selects all."""
    spec: Any = obj.spec
    labels: Labels
    match obj.key.kind:
        case "Sidecar" | "EnvoyFilter":
            labels = spec.workload_selector.labels
        case "Gateway" | "Gateway.gateway.networking.k8s.io":
            labels = spec.selector
        case _:
            labels = spec.selector.match_labels
    return labels


def _is_istio(gateway: ConfigObject) -> bool:
    return gateway.key.kind == "Gateway"


def selects(obj: ConfigObject, labels: Labels) -> bool:
    """Whether an object holds for workloads with these labels, as far as its namespace allows."""
    return all(labels.get(name) == value for name, value in selector_of(obj).items())


def narrowest_last(policies: Iterable[ConfigObject]) -> list[ConfigObject]:
    """Of those that hold for a workload (`Policies.holding`) keep the oldest of the root namespace, of the namespace and of the
    workload, in this order."""
    chosen: dict[tuple[bool, str], ConfigObject] = {}
    for policy in policies:
        chosen.setdefault((bool(selector_of(policy)), policy.key.namespace), policy)
    namespaces = list(dict.fromkeys(namespace for _, namespace in chosen))
    return [chosen[key] for key in sorted(chosen, key=lambda key: (key[0], namespaces.index(key[1])))]
