"""Checks what a sidecar says. Pure: a request in, offers and errors out; one bad publication costs only itself."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_api.registration.v1alpha1 import registration_pb2
from isthmus_api.registration.v1alpha1.registration_pb2 import Publication
from isthmus_mcp_bridge.catalog.istio_rules import is_ip, is_port
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.errors import HostNameError, shorten
from isthmus_mcp_bridge.registration.model import Health, InstanceKey, Offer, SdkService, naming_of
from isthmus_mcp_bridge.registries.dubbo.providers import MARKS
from isthmus_mcp_bridge.registries.families import SCHEMES
from isthmus_mcp_bridge.registries.naming import NamingRule

MAX_PUBLICATIONS = 2000
MAX_NAME = 512
"""Characters of a service, group, version, application or instance."""
MAX_METADATA = 64
MAX_METADATA_CHARACTERS = 8192
_HEALTH = {
    registration_pb2.APPLICATION_HEALTH_ANSWERING: Health.ANSWERING,
    registration_pb2.APPLICATION_HEALTH_SILENT: Health.SILENT,
}
_RESERVED = "&=?/#"


class BadPublication(ValueError):  # noqa: N818 - told to the sidecar
    """A field is not what it must be: ``field`` and why."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"{field}: {shorten(value)}: {reason}")


def read_publications(
    publications: Sequence[Publication], rule: NamingRule
) -> tuple[dict[InstanceKey, Offer], list[str]]:
    """The offers, and what is wrong with the publications that make none."""
    offers: dict[InstanceKey, Offer] = {}
    errors: list[str] = []
    if len(publications) > MAX_PUBLICATIONS:
        errors.append(f"publications: {len(publications)}: at most {MAX_PUBLICATIONS} are taken; the rest is left out")
    for index, publication in enumerate(publications[:MAX_PUBLICATIONS]):
        try:
            offer = _offer(publication, rule)
        except BadPublication as error:
            errors.append(f"publications[{index}].{error}")
            continue
        if offers.setdefault(offer.key, offer) is not offer:
            twice = BadPublication("instance", offer.key.id, "this instance of the service stands twice")
            errors.append(f"publications[{index}].{twice}")
    return offers, errors


def _offer(publication: Publication, rule: NamingRule) -> Offer:
    service = _service(publication)
    try:
        naming_of(rule, service)
    except HostNameError as error:
        raise BadPublication("service", publication.service, str(error)) from error
    mesh = _address(publication.host, publication.port, "host", "port")
    native = None
    if publication.native_host or publication.native_port:
        native = _address(publication.native_host, publication.native_port, "native_host", "native_port")
    return Offer(
        InstanceKey(service, _name(publication.instance, "instance") or str(native or mesh)),
        mesh,
        native,
        _name(publication.application, "application"),
        _metadata(publication),
        _HEALTH.get(publication.application_health, Health.UNKNOWN),
    )


def _service(publication: Publication) -> SdkService:
    protocol = publication.protocol.lower()
    if protocol not in SCHEMES:
        raise BadPublication("protocol", publication.protocol, f"must be one of {', '.join(sorted(SCHEMES))}")
    name, group, version = (
        _name(publication.service.partition("@")[0], "service"),
        _name(publication.group, "group"),
        _name(publication.version, "version"),
    )
    if not name:
        raise BadPublication("service", "", "must name the service")
    if SCHEMES[protocol] == "bolt":
        # SOFARPC: INTERFACE:VERSION[:UNIQUE_ID]; its group is that of the registry, the same for all.
        interface, _, rest = name.partition(":")
        version, _, unique = rest.partition(":")
        return SdkService(protocol, interface, unique, version or "1.0")
    return SdkService(protocol, name, group, version)


def _name(value: str, field: str) -> str:
    if len(value) > MAX_NAME:
        raise BadPublication(field, value, f"must have at most {MAX_NAME} characters")
    if any(character in _RESERVED or not character.isprintable() or character == " " for character in value):
        raise BadPublication(field, value, f"must not hold blanks or any of {_RESERVED}")
    return value


def _address(host: str, port: int, host_field: str, port_field: str) -> Address:
    if not is_ip(host):
        raise BadPublication(host_field, host, "must be an IP address that others can reach")
    if not is_port(port):
        raise BadPublication(port_field, port, "must be from 1 to 65535")
    return Address(host, port)


def _metadata(publication: Publication) -> tuple[tuple[str, str], ...]:
    pairs = sorted(publication.metadata.items())
    if len(pairs) > MAX_METADATA:
        raise BadPublication("metadata", len(pairs), f"must have at most {MAX_METADATA} entries")
    if sum(len(key) + len(value) for key, value in pairs) > MAX_METADATA_CHARACTERS:
        raise BadPublication("metadata", len(pairs), f"must have at most {MAX_METADATA_CHARACTERS} characters")
    for key, value in pairs:
        if not key or key.startswith(MARKS) or any(character in "&=?" for character in key):
            raise BadPublication("metadata", key, f"keys must not be empty, begin with {MARKS} or hold &, = or ?")
        if "&" in value or not value.isprintable():
            raise BadPublication(f"metadata[{key}]", value, "must be printable and without &")
    return tuple((key, value) for key, value in pairs if value)
