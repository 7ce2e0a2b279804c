"""What the registration speaks about: services by the names of their SDKs, offers of sidecars, and registered instances."""

from __future__ import annotations

import dataclasses
import enum

from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.model import Labels, ServiceKey
from isthmus_mcp_bridge.registries.families import FAMILIES, SCHEMES
from isthmus_mcp_bridge.registries.naming import Naming, NamingRule, name_service

NAME = "registration"
"""The name of the source in the catalog; no registry may have it."""


class Health(enum.StrEnum):
    """What a sidecar knows of its application."""

    UNKNOWN = "unknown"
    """Nobody checks; counts as answering."""
    ANSWERING = "answering"
    SILENT = "silent"
    """Neither address of the instance is of use."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class SdkService:
    """A service as an SDK names it. ``protocol`` is the scheme of its addresses (``bolt``, ``dubbo``, ``tri``...).

    Of SOFARPC ``group`` is the ``uniqueId``, and ``version`` that of the interface, which tells no two services apart.
    """

    protocol: str
    interface: str
    group: str = ""
    version: str = ""

    def __str__(self) -> str:
        parts = [self.interface, self.version, *([self.group] if self.group else [])]
        return f"{self.protocol} {':'.join(parts)}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """Identity of a registered instance: the service, and which of its instances."""

    service: SdkService
    id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """One checked publication of a sidecar."""

    key: InstanceKey
    mesh: Address
    native: Address | None = None
    application: str = ""
    metadata: Labels = ()
    health: Health = Health.UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """A registered instance as everybody shall know it. ``epoch`` is the fencing token of its lease."""

    key: InstanceKey
    instance: Instance
    epoch: int
    metadata: Labels = ()
    zone: str = ""
    node: str = ""


def naming_of(rule: NamingRule, service: SdkService) -> Naming:
    """The service's name in the mesh. Raises HostNameError."""
    version = "" if SCHEMES.get(service.protocol) == "bolt" else service.version
    return name_service(rule, service.interface, service.group, version)


def mesh_protocol(service: SdkService) -> str:
    """Istio's word for the protocol."""
    return FAMILIES[SCHEMES[service.protocol]].protocol


def registered(
    offer: Offer,
    service: ServiceKey,
    *,
    up: tuple[bool, bool],
    epoch: int,
    zone: str = "",
    node: str = "",
) -> Registered:
    """The instance that an offer makes; ``up``: its native address, its mesh address."""
    native_up, mesh_up = up
    instance = Instance(
        service=service,
        protocol=mesh_protocol(offer.key.service),
        id=offer.key.id,
        application=offer.application,
        labels=offer.metadata,
        native=offer.native,
        mesh=offer.mesh,
        native_up=native_up and offer.native is not None,
        mesh_up=mesh_up,
    )
    return Registered(offer.key, instance, epoch, offer.metadata, zone, node)
