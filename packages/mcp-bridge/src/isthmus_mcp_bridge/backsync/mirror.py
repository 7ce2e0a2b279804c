"""Mirrors what some registries claim into another one, for consumers that know only that one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from isthmus_mcp_bridge.backsync.entry import Wanted, WantedEntry
from isthmus_mcp_bridge.backsync.layouts import Description, Layout, entry_name
from isthmus_mcp_bridge.backsync.marks import Marks
from isthmus_mcp_bridge.backsync.write_back import HAND_OVER_S
from isthmus_mcp_bridge.backsync.writer import Writer
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.instances import APPLICATION_LABEL
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, SourcedClaim
from isthmus_mcp_bridge.registration.model import NAME, InstanceKey, SdkService

PORT_SCHEMES = {"dubbo-tcp": "dubbo", "bolt-tcp": "bolt"}
"""The SDK's scheme for a service port by its name."""
PROTOCOL_SCHEMES = {"HTTP": "http", "HTTP2": "http", "HTTPS": "https", "GRPC": "grpc"}
"""The same by its protocol."""
ID_PREFIX = "mirrored-"


@dataclasses.dataclass(frozen=True, slots=True)
class MirrorRule:
    """From which registries, and what the services are called that have no SDK's name: host -> service."""

    sources: frozenset[str]
    services: Mapping[str, SdkService] = dataclasses.field(default_factory=dict)


def mirrored(
    key: ServiceKey, claims: Sequence[SourcedClaim], rule: MirrorRule, layout: Layout, cluster: str
) -> dict[InstanceKey, tuple[Address, Description, tuple[str, ...]]]:
    """What of a service is mirrored: instance -> address, description and path. Pure.

    An address that a sidecar has registered here is left to the write-back.
    """
    ours = {
        Address(endpoint.address, endpoint.port)
        for sourced in claims
        if sourced.source == NAME
        for endpoint in sourced.claim.endpoints
    }
    found: dict[InstanceKey, tuple[Address, Description, tuple[str, ...]]] = {}
    for sourced in claims:
        if sourced.source not in rule.sources:
            continue
        for endpoint in sourced.claim.endpoints:
            service = _service(key, sourced.claim, endpoint, rule)
            address = Address(endpoint.address, endpoint.port)
            if service is None or service.protocol not in layout.protocols or address in ours:
                continue
            if endpoint.presence is Presence.OFFLINE or endpoint.presence is Presence.UNHEALTHY:
                continue
            instance = InstanceKey(service, f"{ID_PREFIX}{address}")
            path = (*endpoint.path, cluster)
            if instance not in found or len(path) < len(found[instance][2]):
                found[instance] = (address, _describe(endpoint), path)
    return found


def _service(key: ServiceKey, claim: ServiceClaim, endpoint: EndpointClaim, rule: MirrorRule) -> SdkService | None:
    stated = rule.services.get(key.host)
    if stated is not None:
        return stated
    port = next((one for one in claim.ports if one.name == endpoint.service_port), None)
    if port is None:
        return None
    scheme = PORT_SCHEMES.get(port.name) or PROTOCOL_SCHEMES.get(port.protocol)
    if scheme is None:
        return None
    if not claim.raw_names:
        return SdkService(scheme, key.host, version="1.0" if scheme == "bolt" else "")
    head, _, version = claim.raw_names[0].partition(":")
    group, _, interface = head.rpartition("/")
    return SdkService(scheme, interface, group, version or ("1.0" if scheme == "bolt" else ""))


def _describe(endpoint: EndpointClaim) -> Description:
    labels = dict(endpoint.labels)
    application = labels.pop(APPLICATION_LABEL, "")
    metadata = [(name, value) for name, value in labels.items() if name not in ("group", "version")]
    if endpoint.weight is not None:
        metadata.append(("weight", str(endpoint.weight)))
    return Description(application, tuple(sorted(metadata)))


class Mirror:
    """Keeps one registry's mirrored entries; lives in one event loop."""

    def __init__(
        self,
        rule: MirrorRule,
        writer: Writer,
        cluster: str,
        claims: Callable[[ServiceKey], Sequence[SourcedClaim]],
        services: Callable[[], Iterable[ServiceKey]],
    ) -> None:
        """``claims`` gives who claims a service; ``services`` all services there are."""
        self.rule = rule
        self._writer = writer
        self._cluster = cluster
        self._claims = claims
        self._services = services
        self._epoch: int | None = None
        self._wanted: dict[ServiceKey, set[InstanceKey]] = {}
        self._leaving: asyncio.TimerHandle | None = None

    def led(self, epoch: int | None) -> None:
        """We lead with this epoch; None: not any more, and what we wrote is left for our successor to replace, for a while."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._epoch = epoch
        if epoch is None:
            self._leaving = asyncio.get_running_loop().call_later(HAND_OVER_S, self._leave)
        else:
            self.changed(list(self._services()))

    def changed(self, services: Collection[ServiceKey]) -> None:
        """What is claimed of these services may have changed."""
        if self._epoch is None:
            return
        for key in services:
            self._write(key, self._epoch)

    def _write(self, service: ServiceKey, epoch: int) -> None:
        layout = self._writer.layout
        found = mirrored(service, self._claims(service), self.rule, layout, self._cluster)
        for key in self._wanted.get(service, set()) - found.keys():
            self._writer.want(key, None)
        for key, (address, about, path) in found.items():
            marks = Marks(path, key.id, epoch, mirrored=True)
            name = entry_name(layout.url(key.service, address, about, marks))
            self._writer.want(key, Wanted(key, epoch, path, (WantedEntry(name, address),)))
        if found:
            self._wanted[service] = set(found)
        else:
            self._wanted.pop(service, None)

    def _leave(self) -> None:
        self._leaving = None
        for key in [key for keys in self._wanted.values() for key in keys]:
            self._writer.want(key, None)
        self._wanted.clear()

    def status(self) -> dict[str, Any]:
        """For the administration endpoint."""
        return {
            "registry": self._writer.settings.registry,
            "from": sorted(self.rule.sources),
            "leader_epoch": self._epoch,
            "instances": sum(map(len, self._wanted.values())),
        }
