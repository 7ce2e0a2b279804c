"""The host-name rule: which mesh host a Dubbo service gets.

A Dubbo service is ``group/interface:version``. By the rule its host is ``<interface>[-<group>][-<version>][.<domain>]`` in
lower case, where every character that DNS does not allow becomes ``-`` (in group and version the dot, too). An entry in
``hosts`` overrides the rule: first the one for the exact service, then the one for the bare interface.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping

from isthmus_mcp_bridge.catalog.istio_rules import is_host
from isthmus_mcp_bridge.errors import HostNameError
from isthmus_mcp_bridge.model import ServiceKey

MAX_DNS_LABEL = 63
_HASH_DIGITS = 8
_NOT_DNS = re.compile(r"[^a-z0-9.-]")
NO_VERSIONS = frozenset({"", "0.0.0", "*"})
"""What Dubbo writes for a service without version."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostOverride:
    """What the configuration says about one service in place of the rule; ports by family (``http``, ``dubbo``...)."""

    host: str
    namespace: str = ""
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class NamingRule:
    """How services get their hosts. ``version_in_host`` is false when versions are only a label."""

    namespace: str = "default"
    version_in_host: bool = True
    domain: str = ""
    hosts: Mapping[str, HostOverride] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """The outcome for one service: its key in the mesh and what distinguishes it from others with the same key.

    Two services with equal keys and different ``identity`` collide; an override has no identity because there the user
    has asked for the union.
    """

    key: ServiceKey
    identity: str
    ports: Mapping[str, int]


def service_name(interface: str, group: str, version: str) -> str:
    """Dubbo's own notation: ``group/interface:version``, without the parts that are not set."""
    name = f"{group}/{interface}" if group else interface
    return name if version in NO_VERSIONS else f"{name}:{version}"


def name_service(rule: NamingRule, interface: str, group: str, version: str) -> Naming:
    """The mesh name of a Dubbo service. Raises HostNameError when the rule makes no valid host."""
    full = service_name(interface, group, version)
    override = rule.hosts.get(full) or rule.hosts.get(interface)
    if override is not None:
        return Naming(ServiceKey(override.namespace or rule.namespace, override.host), "", override.ports)
    counted = version if rule.version_in_host else ""
    host = _host(interface, group, "" if counted in NO_VERSIONS else counted, rule.domain)
    if not is_host(host):
        raise HostNameError(f"makes the host {host[:80]!r}, which is not a DNS name; give {full} one under hosts")
    return Naming(ServiceKey(rule.namespace, host), service_name(interface, group, counted), {})


def _host(interface: str, group: str, version: str, domain: str) -> str:
    own = "-".join([interface, *(part.replace(".", "-") for part in (group, version) if part)])
    labels = [_dns_label(label) for label in _NOT_DNS.sub("-", own.lower()).split(".")]
    return ".".join([*labels, *([domain] if domain else [])])


def _dns_label(label: str) -> str:
    """A label that is too long keeps its start and gets a hash of the whole."""
    label = label.strip("-")
    if len(label) <= MAX_DNS_LABEL:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{label[: MAX_DNS_LABEL - _HASH_DIGITS - 1].rstrip('-')}-{digest}"
