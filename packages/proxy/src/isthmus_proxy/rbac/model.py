"""Policies of role-based access control as immutable values (config.rbac.v3). Built by ``config.rbac``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, TypeAlias

from isthmus_proxy.route.metadata_match import MetadataMatch
from isthmus_proxy.route.model import HeaderMatch, StringMatch


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of ``rules`` holds."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of ``rules`` holds."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``rule`` does not hold."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Anything:
    """Always holds, unless ``holds`` is False."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class HeaderIs:
    """A header of the request matches."""

    match: HeaderMatch


@dataclass(frozen=True, slots=True)
class PathIs:
    """The request's path, without query and fragment, matches."""

    match: StringMatch


@dataclass(frozen=True, slots=True)
class AddressIn:
    """An address of the connection lies in ``network``.

    ``which``: the ``destination``; the ``source`` of the connection; the ``remote`` client as trusted proxies tell it; or
    the ``direct_remote`` peer.
    """

    which: Literal["destination", "source", "remote", "direct_remote"]
    network: IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class DestinationPort:
    """The destination's port is at least ``start`` and less than ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ServerNameIs:
    """The name that the client asked for in its TLS handshake matches; it is empty without one."""

    match: StringMatch


@dataclass(frozen=True, slots=True)
class MetadataIs:
    """A value of the request's dynamic metadata, or of its route's metadata with ``of_route``, matches."""

    match: MetadataMatch
    of_route: bool = False


@dataclass(frozen=True, slots=True)
class FilterStateIs:
    """The text that filters have kept under ``key`` matches; none does not."""

    key: str
    match: StringMatch


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer came over TLS that ends here, and a name in its certificate matches if ``name`` is set.

    Whether TLS asks for a certificate is the listener's decision, as in Envoy: without ``name`` none is needed here.
    """

    name: StringMatch | None = None


Rule: TypeAlias = (
    AllOf
    | AnyOf
    | Not
    | Anything
    | HeaderIs
    | PathIs
    | AddressIn
    | DestinationPort
    | ServerNameIs
    | MetadataIs
    | FilterStateIs
    | Authenticated
)
"""A permission (what is done) or a principal (who does it)."""

Action = Literal["ALLOW", "DENY", "LOG"]


@dataclass(frozen=True, slots=True)
class Policy:
    """config.rbac.v3.Policy: applies where one of ``permissions`` and one of ``principals`` hold."""

    name: str
    permissions: tuple[Rule, ...]
    principals: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """config.rbac.v3.RBAC: policies in the order of their names, and what it means that one applies.

    ALLOW lets pass what a policy applies to and nothing else, DENY all else; LOG lets everything pass.
    """

    action: Action
    policies: tuple[Policy, ...] = ()
