"""One instance of a service with its two addresses: the application's own, and that of the sidecar before it."""

from __future__ import annotations

import dataclasses

from isthmus_mcp_bridge.model import Labels, ServiceKey


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Address:
    """A socket that consumers can call. ``host`` is an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service: at most one address of each kind, and whether it is up.

    ``protocol`` is the service port's (Istio's word, upper case). ``id`` is stable as long as the instance lives and equal
    for all replicas of the bridge: shares are counted by it. ``native`` is where the application itself listens, as an
    SDK registers it; ``mesh`` is where its sidecar takes requests for it. An address that is None is never up.
    """

    service: ServiceKey
    protocol: str
    id: str
    application: str
    labels: Labels
    native: Address | None
    mesh: Address | None
    native_up: bool
    mesh_up: bool
