"""The accepted configuration, indexed once per change; what the translation reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from isthmus_controlplane.model.host import candidates
from isthmus_controlplane.model.policies import DEFAULT_ROOT_NAMESPACE, Policies
from isthmus_controlplane.model.service import Service, visible
from isthmus_controlplane.model.tracing import TracingProvider
from isthmus_controlplane.stores.base import ConfigObject

OutboundTrafficPolicy = Literal["REGISTRY_ONLY", "ALLOW_ANY"]


@dataclasses.dataclass(frozen=True, slots=True)
class MeshSettings:
    """Settings of the whole mesh (Istio's MeshConfig).

    Attributes:
        outbound_traffic_policy: what happens to requests for hosts that nobody defined. REGISTRY_ONLY answers 502;
            ALLOW_ANY passes them to where they were going, which needs traffic redirection.
        root_namespace: policies there hold for all namespaces.
        ca_certificates: path, on nodes, of the authorities that they trust for servers of the internet.
        locality_failover: whether clients prefer the nearest endpoints of services with outlier detection, where a
            DestinationRule says nothing of localities (Istio's ``localityLbSetting.enabled``).
        tracing_providers: where spans may go; the first where a Telemetry names none.
    """

    outbound_traffic_policy: OutboundTrafficPolicy = "REGISTRY_ONLY"
    root_namespace: str = DEFAULT_ROOT_NAMESPACE
    ca_certificates: str = "/etc/ssl/certs/ca-certificates.crt"
    locality_failover: bool = True
    tracing_providers: tuple[TracingProvider, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """Everything that translation needs, immutable.

    Attributes:
        mesh: settings of the whole mesh.
        services: by host, sorted.
        routes: VirtualServices of the mesh by host, the one that wins first.
        rules: DestinationRules by host, the one that wins first.
        policies: DualModes, sorted by key.
        by_label: objects that hold for workloads chosen by label.
        bindings: VirtualServices by the gateway (``NAMESPACE/NAME``) to which they are bound.
        considers_locality: whether any of the rules depends on where a client is.
        uses_mutual_tls: whether any of the rules lets clients call by mutual TLS.
        compared_labels: names of the labels of clients that some rule compares with those of endpoints.
    """

    mesh: MeshSettings
    services: Mapping[str, Service]
    routes: Mapping[str, tuple[ConfigObject, ...]]
    rules: Mapping[str, tuple[ConfigObject, ...]]
    policies: tuple[ConfigObject, ...] = ()
    by_label: Policies = dataclasses.field(default_factory=Policies)
    bindings: Mapping[str, tuple[ConfigObject, ...]] = dataclasses.field(default_factory=dict)
    considers_locality: bool = False
    uses_mutual_tls: bool = False
    compared_labels: frozenset[str] = frozenset()

    def service(self, host: str, namespace: str) -> Service | None:
        """Find the service that ``host``, written in an object of ``namespace``, stands for."""
        return find_service(self.services, host, namespace)

    def route(self, host: str, namespace: str) -> ConfigObject | None:
        """Return the VirtualService that governs ``host`` for clients in ``namespace``."""
        return _first_visible(self.routes.get(host, ()), namespace)

    def rule(self, host: str, namespace: str) -> ConfigObject | None:
        """Return the DestinationRule of ``host`` for clients in ``namespace``."""
        return _first_visible(self.rules.get(host, ()), namespace)


def find_service(services: Mapping[str, Service], host: str, namespace: str) -> Service | None:
    """Find the service that ``host``, written in an object of ``namespace``, stands for."""
    return next((services[name] for name in candidates(host, namespace) if name in services), None)


def full_host(services: Mapping[str, Service], host: str, namespace: str) -> str:
    """Return the full name of ``host``: that of the service it stands for, else the likeliest."""
    service = find_service(services, host, namespace)
    return service.host if service is not None else candidates(host, namespace)[0]


def subsets_of(rule: ConfigObject | None) -> Mapping[str, Any]:
    """Return the subsets of a DestinationRule by name."""
    if rule is None:
        return {}
    spec: Any = rule.spec
    return {subset.name: subset for subset in spec.subsets}


def _first_visible(objects: tuple[ConfigObject, ...], namespace: str) -> ConfigObject | None:
    return next((obj for obj in objects if is_visible(obj, namespace)), None)


def is_visible(obj: ConfigObject, namespace: str) -> bool:
    """Whether ``exportTo`` of an object shows it to clients in ``namespace``."""
    spec: Any = obj.spec
    return visible(spec.export_to, obj.key.namespace, namespace)


EMPTY_MODEL = Model(MeshSettings(), {}, {}, {})
