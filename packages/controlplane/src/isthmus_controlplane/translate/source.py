"""Who asks, as matches of VirtualServices see it: on which port and gateway, from which namespace, with which labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from isthmus_controlplane.model.gateway import MESH_GATEWAY, full_names
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.stores.base import ConfigObject


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where requests or connections come from.

    Attributes:
        port: to which they came.
        namespace: of the client.
        labels: of the client.
        gateway: ``mesh``, or the Gateway that took them, ``NAMESPACE/NAME``.
        owner: namespace of the VirtualService, which a bare name of a gateway means.
    """

    port: int
    namespace: str
    labels: Mapping[str, str]
    gateway: str
    owner: str

    def fits(self, match: Any) -> bool:
        """Whether a match (of HTTP, TLS or TCP) can hold for the client."""
        if match.port not in {0, self.port} or match.source_namespace not in {"", self.namespace}:
            return False
        if match.gateways and self.gateway not in full_names(match.gateways, self.owner):
            return False
        return all(self.labels.get(name) == value for name, value in match.source_labels.items())


def source_of(scope: Scope, governing: ConfigObject, port: int, gateway: str = MESH_GATEWAY) -> Source:
    """Say how a scope looks to the matches of a VirtualService."""
    return Source(port, scope.namespace, dict(scope.labels), gateway, governing.key.namespace)
