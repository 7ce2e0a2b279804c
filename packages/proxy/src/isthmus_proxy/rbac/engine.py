"""Decides by policies: rules are compiled into predicates over what is known of a request or of a connection. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.rbac.model import (
    Action,
    AddressIn,
    AllOf,
    AnyOf,
    Anything,
    Authenticated,
    DestinationPort,
    FilterStateIs,
    HeaderIs,
    MetadataIs,
    Not,
    PathIs,
    Policy,
    Rule,
    Rules,
    ServerNameIs,
)
from isthmus_proxy.route.matcher import fields_tests, string_test
from isthmus_proxy.route.metadata_match import Metadata, metadata_test

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_ADDRESSES = 4096
"""Addresses whose parsed form is remembered."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The names in the certificate that a peer has shown and that was verified. ``subject`` is in the form of RFC 2253."""

    uri_sans: tuple[str, ...] = ()
    dns_sans: tuple[str, ...] = ()
    subject: str = ""


NAMELESS = PeerCertificate()
"""Stands for a peer that has shown no certificate, over TLS that asks for none, or one whose names cannot be read."""


class PeerNames(Protocol):
    """The names in a peer's certificate (``PeerCertificate``, ``tls.model.TlsDetails``)."""

    @property
    def uri_sans(self) -> tuple[str, ...]:
        """Its URIs."""

    @property
    def dns_sans(self) -> tuple[str, ...]:
        """Its DNS names."""

    @property
    def subject(self) -> str:
        """Its subject."""


class Subject(Protocol):
    """What is known of who asks for what. Addresses are ``host:port``; ``peer`` is None without TLS."""

    @property
    def head(self) -> RequestHead:
        """The request; one without headers for a bare connection."""

    @property
    def source(self) -> str:
        """The connection's source."""

    @property
    def remote(self) -> str:
        """The client as trusted proxies tell it."""

    @property
    def direct_remote(self) -> str:
        """The peer."""

    @property
    def destination(self) -> str:
        """Where the connection was meant for."""

    @property
    def server_name(self) -> str:
        """The name asked for in the TLS handshake."""

    @property
    def peer(self) -> PeerNames | None:
        """The names of the peer, as far as it has shown any; None for one that did not come over TLS that ends here."""

    @property
    def dynamic_metadata(self) -> Metadata:
        """What filters have said of the request."""

    @property
    def filter_state(self) -> Mapping[str, str]:
        """What filters have kept of it."""

    @property
    def route_metadata(self) -> Metadata:
        """What the configuration says of its route."""


Test = Callable[[Subject], bool]


class Verdict(NamedTuple):
    """``policy`` is the name of the policy that applies, empty if none does."""

    allowed: bool
    policy: str


class Engine:
    """The policies of one configuration. ``action`` is what it means that one applies."""

    __slots__ = ("_policies", "action")

    def __init__(self, rules: Rules) -> None:
        self.action: Action = rules.action
        self._policies = tuple((policy.name, _policy_test(policy)) for policy in rules.policies)

    def decide(self, subject: Subject) -> Verdict:
        """Decide by the first policy, in the order of names, that applies."""
        policy = next((name for name, test in self._policies if test(subject)), None)
        if self.action == "LOG":
            return Verdict(True, policy or "")
        return Verdict((policy is not None) == (self.action == "ALLOW"), policy or "")


def _policy_test(policy: Policy) -> Test:
    permitted, identified = _any(policy.permissions), _any(policy.principals)
    return lambda subject: permitted(subject) and identified(subject)


def _any(rules: Sequence[Rule]) -> Test:
    tests = tuple(map(rule_test, rules))
    if len(tests) == 1:
        return tests[0]
    return lambda subject: any(test(subject) for test in tests)


def _all(rules: Sequence[Rule]) -> Test:
    tests = tuple(map(rule_test, rules))
    return lambda subject: all(test(subject) for test in tests)


def rule_test(rule: Rule) -> Test:
    """Compile a permission or a principal."""
    if isinstance(rule, AllOf):
        return _all(rule.rules)
    if isinstance(rule, AnyOf):
        return _any(rule.rules)
    if isinstance(rule, Not):
        test = rule_test(rule.rule)
        return lambda subject: not test(subject)
    if isinstance(rule, Anything):
        holds = rule.holds
        return lambda _subject: holds
    if isinstance(rule, HeaderIs | PathIs):
        return _request_test(rule)
    if isinstance(rule, MetadataIs):
        metadata = metadata_test(rule.match)
        if rule.of_route:
            return lambda subject: metadata(subject.route_metadata)
        return lambda subject: metadata(subject.dynamic_metadata)
    if isinstance(rule, FilterStateIs):
        key, text = rule.key, string_test(rule.match)
        return lambda subject: (kept := subject.filter_state.get(key)) is not None and text(kept.encode())
    return _connection_test(rule)


def _request_test(rule: HeaderIs | PathIs) -> Test:
    if isinstance(rule, HeaderIs):
        (header,) = fields_tests((rule.match,))
        return lambda subject: header(subject.head)
    path = string_test(rule.match)
    return lambda subject: path(bare_path(subject.head.path))


def bare_path(path: bytes) -> bytes:
    """``path`` without query and fragment."""
    return path.partition(b"?")[0].partition(b"#")[0]


def _connection_test(rule: AddressIn | DestinationPort | ServerNameIs | Authenticated) -> Test:
    if isinstance(rule, AddressIn):
        return _address_test(rule)
    if isinstance(rule, DestinationPort):
        start, end = rule.start, rule.end
        return lambda subject: start <= _port(subject.destination) < end
    if isinstance(rule, ServerNameIs):
        server_name = string_test(rule.match)
        return lambda subject: server_name(subject.server_name.encode())
    return _authenticated_test(rule)


def _address_test(rule: AddressIn) -> Test:
    network = rule.network
    if rule.which == "destination":
        return lambda subject: _lies_in(network, subject.destination)
    if rule.which == "remote":
        return lambda subject: _lies_in(network, subject.remote)
    if rule.which == "direct_remote":
        return lambda subject: _lies_in(network, subject.direct_remote)
    return lambda subject: _lies_in(network, subject.source)


def _lies_in(network: Network, address: str) -> bool:
    """Whether the host of ``host:port`` lies in ``network``; a pipe lies nowhere."""
    ip = _ip(address.rpartition(":")[0])
    return ip is not None and ip in network


@lru_cache(_MAX_ADDRESSES)
def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else -1


def _authenticated_test(rule: Authenticated) -> Test:
    if rule.name is None:
        return lambda subject: subject.peer is not None
    name = string_test(rule.name)

    def holds(subject: Subject) -> bool:
        peer = subject.peer
        if peer is None:
            return False
        # The subject counts even where there are other names and none of them matches: so does Envoy.
        return any(name(each.encode()) for each in (*peer.uri_sans, *peer.dns_sans, peer.subject))

    return holds
