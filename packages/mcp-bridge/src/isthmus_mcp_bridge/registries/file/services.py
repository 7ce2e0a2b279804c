"""Reads one file of a ``file`` registry: a list of services with their instances. Pure: bytes in, claims out.

The format is documented in ``docs/reference/registry-file.md``.
"""

from __future__ import annotations

import dataclasses

from isthmus_mcp_bridge.catalog import istio_rules
from isthmus_mcp_bridge.document import Field, parse_document
from isthmus_mcp_bridge.model import (
    ORDINARY_WEIGHT,
    EndpointClaim,
    Labels,
    Presence,
    ServiceClaim,
    ServiceKey,
    ServicePort,
    Side,
)

MAX_SERVICES = 100_000
MAX_INSTANCES = 100_000
MAX_PORTS = 256
MAX_LABELS = 256
MAX_WEIGHT = 10_000

_SERVICE_FIELDS = ("host", "namespace", "addresses", "ports", "instances")
_INSTANCE_FIELDS = (
    "address", "port", "ports", "weight", "labels", "locality", "network", "service_account", "healthy", "enabled",
    "side", "instance",
)  # fmt: skip


def parse_services(data: bytes, file: str, namespace: str) -> tuple[ServiceClaim, ...]:
    """The claims in a file; ``namespace`` is for services that name none. Raises DocumentError (file, path, value)."""
    document = parse_document(data, file)
    if document.value is None:
        return ()
    fields = document.mapping("services")
    if "services" not in fields:
        raise document.error("must have the field services, a list")
    claims: dict[ServiceKey, ServiceClaim] = {}
    for service in fields["services"].items(MAX_SERVICES):
        claim = _service(service, namespace)
        if claim.key in claims:
            raise service.mapping()["host"].error("stands twice in this file; put all instances under one service")
        claims[claim.key] = claim
    return tuple(claims.values())


def _service(service: Field, namespace: str) -> ServiceClaim:
    fields = service.mapping(*_SERVICE_FIELDS)
    for required in ("host", "ports"):
        if required not in fields:
            raise service.error(f"must have the field {required}")
    host = fields["host"].string()
    if not istio_rules.is_host(host):
        raise fields["host"].error("must be a DNS name in lower case whose last part is not a number")
    ports = _ports(fields["ports"])
    instances = fields["instances"].items(MAX_INSTANCES) if "instances" in fields else ()
    return ServiceClaim(
        key=ServiceKey(_namespace(fields["namespace"]) if "namespace" in fields else namespace, host),
        ports=ports,
        endpoints=tuple(endpoint for instance in instances for endpoint in _instance(instance, ports)),
        addresses=_addresses(fields["addresses"]) if "addresses" in fields else (),
        raw_names=(host,),
    )


def _namespace(field: Field) -> str:
    namespace = field.string()
    if not istio_rules.is_dns_label(namespace):
        raise field.error("must be a DNS label in lower case")
    return namespace


def _addresses(field: Field) -> tuple[str, ...]:
    addresses = []
    for item in field.items(MAX_PORTS):
        if not istio_rules.is_ip_or_cidr(item.string()):
            raise item.error("must be an IP address or CIDR")
        addresses.append(item.string())
    return tuple(addresses)


def _ports(field: Field) -> tuple[ServicePort, ...]:
    ports: list[ServicePort] = []
    for item in field.items(MAX_PORTS):
        port = _port(item)
        if any(port.name == other.name or port.number == other.number for other in ports):
            raise item.error("the name or the number stands twice in this service")
        ports.append(port)
    if not ports:
        raise field.error("must hold at least one port")
    return tuple(ports)


def _port(item: Field) -> ServicePort:
    fields = item.mapping("name", "number", "protocol")
    for required in ("number", "protocol"):
        if required not in fields:
            raise item.error(f"must have the field {required}")
    protocol = fields["protocol"].string().upper()
    if protocol not in istio_rules.PROTOCOLS:
        raise fields["protocol"].error(f"must be one of {', '.join(sorted(istio_rules.PROTOCOLS))}")
    name = fields["name"].string() if "name" in fields else protocol.lower()
    if not istio_rules.is_dns_label(name):
        raise fields["name"].error("must be a DNS label in lower case")
    return ServicePort(name, fields["number"].integer(1, istio_rules.MAX_PORT), protocol)


def _instance(item: Field, ports: tuple[ServicePort, ...]) -> list[EndpointClaim]:
    fields = item.mapping(*_INSTANCE_FIELDS)
    if "address" not in fields:
        raise item.error("must have the field address")
    address = fields["address"].string()
    if not istio_rules.is_ip(address):
        raise fields["address"].error("must be an IP address")
    claim = EndpointClaim(
        service_port="",
        address=address,
        port=0,
        raw_id=item.path,
        network=_optional_string(fields, "network"),
        presence=_presence(fields),
        weight=_weight(fields),
        labels=_labels(fields["labels"]) if "labels" in fields else (),
        locality=_optional_string(fields, "locality"),
        service_account=_optional_string(fields, "service_account"),
        side=Side(fields["side"].one_of(*Side)) if "side" in fields else Side.NATIVE,
        instance=_optional_string(fields, "instance"),
    )
    listening = _listening(item, fields, ports)
    return [dataclasses.replace(claim, service_port=name, port=number) for name, number in listening.items()]


def _listening(item: Field, fields: dict[str, Field], ports: tuple[ServicePort, ...]) -> dict[str, int]:
    """The port on which the instance listens for each service port."""
    if "port" in fields and "ports" in fields:
        raise item.error("must have either port or ports, not both")
    if "port" in fields:
        if len(ports) > 1:
            raise fields["port"].error("the service has several ports: use ports, a mapping from port name to number")
        return {ports[0].name: fields["port"].integer(1, istio_rules.MAX_PORT)}
    if "ports" not in fields:
        return {port.name: port.number for port in ports}
    names = [port.name for port in ports]
    numbers = fields["ports"].mapping(*names)
    if not numbers:
        raise fields["ports"].error("must name at least one port of the service")
    return {name: number.integer(1, istio_rules.MAX_PORT) for name, number in numbers.items()}


def _presence(fields: dict[str, Field]) -> Presence:
    enabled = fields["enabled"].boolean() if "enabled" in fields else True
    healthy = fields["healthy"].boolean() if "healthy" in fields else True
    if not enabled or ("weight" in fields and fields["weight"].value == 0):
        return Presence.OFFLINE
    return Presence.UP if healthy else Presence.UNHEALTHY


def _weight(fields: dict[str, Field]) -> int | None:
    if "weight" not in fields:
        return None
    weight = fields["weight"].integer(0, MAX_WEIGHT)
    return weight * ORDINARY_WEIGHT or None


def _labels(field: Field) -> Labels:
    labels = []
    mapping = field.mapping()
    if len(mapping) > MAX_LABELS:
        raise field.error(f"must hold at most {MAX_LABELS} labels")
    for key, value in mapping.items():
        if not istio_rules.is_label_key(key):
            raise value.error("the label's key must be [prefix/]name with at most 63 letters, digits, '-', '_' and '.'")
        if not isinstance(value.value, str) or not istio_rules.is_label_value(value.value):
            raise value.error("must be a string of at most 63 letters, digits, '-', '_' and '.' (quote numbers)")
        labels.append((key, value.value))
    return tuple(sorted(labels))


def _optional_string(fields: dict[str, Field], name: str) -> str:
    return fields[name].string() if name in fields else ""
