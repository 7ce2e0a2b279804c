"""Reads what sidecars may register and what is written back into registries."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC
from isthmus_mcp_bridge.config.kinds import NAMING_FIELDS, dns_label, read_naming
from isthmus_mcp_bridge.config.model import (
    BacksyncConfig,
    MirrorConfig,
    RegistrationConfig,
    RegistryConfig,
    WrittenKind,
)
from isthmus_mcp_bridge.config.values import integer, number
from isthmus_mcp_bridge.document import Field
from isthmus_mcp_bridge.registration.leases import LeaseLimits
from isthmus_mcp_bridge.registration.model import SdkService

MAX_REGISTRIES = 32
WRITABLE = ("dubbo", "sofarpc")
"""Layouts that are written."""


def read_registration(field: Field) -> RegistrationConfig:
    """The registration of sidecars. Raises DocumentError."""
    fields = field.mapping("namespace", "grace_s", "max_leases", "max_instances", *NAMING_FIELDS)
    default = LeaseLimits()
    naming, ports = read_naming(fields, dns_label(fields["namespace"]) if "namespace" in fields else "default")
    limits = LeaseLimits(
        grace_s=number(fields, "grace_s", 0.1, 600, default.grace_s),
        max_leases=integer(fields, "max_leases", 1, 1_000_000, default.max_leases),
        max_instances=integer(fields, "max_instances", 1, 10_000_000, default.max_instances),
    )
    return RegistrationConfig(naming, ports, limits)


def read_backsync(field: Field, registries: Sequence[RegistryConfig]) -> BacksyncConfig:
    """What is written where. Raises DocumentError."""
    fields = field.mapping("cluster", "registries", "overlap_s", "writes_per_s", "mirror")
    for required in ("cluster", "registries"):
        if required not in fields:
            raise field.error(f"must have the field {required}")
    default = BacksyncConfig(dns_label(fields["cluster"]))
    named = tuple(_writable(one, registries) for one in fields["registries"].items(MAX_REGISTRIES))
    if len(set(named)) < len(named):
        raise fields["registries"].error("names a registry twice")
    return BacksyncConfig(
        default.cluster,
        named,
        overlap_s=number(fields, "overlap_s", 0, 3600, default.overlap_s),
        writes_per_s=number(fields, "writes_per_s", 1, 100_000, default.writes_per_s),
        mirror=_mirrors(fields["mirror"], registries, named) if "mirror" in fields else (),
    )


def _mirrors(field: Field, registries: Sequence[RegistryConfig], named: Sequence[str]) -> tuple[MirrorConfig, ...]:
    found: list[MirrorConfig] = []
    for item in field.items(MAX_REGISTRIES):
        one = _mirror(item, registries, named)
        if any(one.to == other.to for other in found):
            raise item.mapping()["to"].error("stands twice; name all registries that are mirrored there in one from")
        found.append(one)
    return tuple(found)


def _mirror(field: Field, registries: Sequence[RegistryConfig], named: Sequence[str]) -> MirrorConfig:
    fields = field.mapping("from", "to", "services")
    for required in ("from", "to"):
        if required not in fields:
            raise field.error(f"must have the field {required}")
    to = fields["to"].one_of(*named)
    known = [one.name for one in registries if one.name != to]
    sources = tuple(item.one_of(*known) for item in fields["from"].items(MAX_REGISTRIES))
    if not sources:
        raise fields["from"].error("must name at least one registry")
    services = fields["services"].mapping() if "services" in fields else {}
    return MirrorConfig(to, sources, {host: _service(value) for host, value in services.items()})


def _service(field: Field) -> SdkService:
    """The name of a service in its SDK."""
    fields = field.mapping("interface", "protocol", "group", "version")
    for required in ("interface", "protocol"):
        if required not in fields:
            raise field.error(f"must have the field {required}")
    protocol = fields["protocol"].one_of(*sorted(DUBBO.protocols | SOFARPC.protocols))
    return SdkService(
        protocol,
        fields["interface"].string(),
        fields["group"].string() if "group" in fields else "",
        fields["version"].string() if "version" in fields else "1.0" if protocol == "bolt" else "",
    )


def _writable(field: Field, registries: Sequence[RegistryConfig]) -> str:
    name = field.string()
    found = next((one for one in registries if one.name == name), None)
    if found is None:
        raise field.error(f"is no registry; there are {', '.join(one.name for one in registries)}")
    if not isinstance(found.kind, WrittenKind) or found.kind.layout not in WRITABLE:
        raise field.error(
            f"must be a zookeeper registry with the layout {' or '.join(WRITABLE)}, or an etcd registry: no other one is written"
        )
    return name
