"""Policies against a naive evaluator of the same trees, and each condition by itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.rbac.engine import Engine, PeerCertificate, Verdict, rule_test
from isthmus_proxy.rbac.model import (
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
from isthmus_proxy.route.metadata_match import Metadata, MetadataMatch, ValueMatch
from isthmus_proxy.route.model import HeaderMatch, StringMatch


@dataclass(frozen=True)
class Known:
    """A subject of which everything is given."""

    head: RequestHead
    source: str = "10.0.0.1:1000"
    remote: str = "10.0.0.2:0"
    direct_remote: str = "10.0.0.1:1000"
    destination: str = "127.0.0.1:80"
    server_name: str = ""
    peer: PeerCertificate | None = None
    dynamic_metadata: Metadata = field(default_factory=dict)
    filter_state: Mapping[str, str] = field(default_factory=dict)
    route_metadata: Metadata = field(default_factory=dict)


def exact(text: str) -> StringMatch:
    return StringMatch("exact", text.encode())


NAMES = ("x-a", "x-b", "x-c")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.1.0.1", "2001:db8::1")
TEXTS = st.sampled_from(["", "a", "b"])
_IP_NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/24", "10.0.0.0/8", "2001:db8::/32", "10.1.0.1/32")))
LEAVES: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Anything),
    st.builds(lambda name, text: HeaderIs(HeaderMatch(name.encode(), exact(text))), st.sampled_from(NAMES), TEXTS),
    st.builds(lambda text: PathIs(exact(f"/{text}")), TEXTS),
    st.builds(
        AddressIn, st.sampled_from(["destination", "source", "remote", "direct_remote"]), st.sampled_from(_IP_NETWORKS)
    ),
    st.builds(lambda start, size: DestinationPort(start, start + size), st.integers(79, 81), st.integers(1, 2)),
    st.builds(lambda text: ServerNameIs(exact(text)), TEXTS),
    st.builds(
        lambda key, text, of_route: MetadataIs(MetadataMatch("n", (key,), ValueMatch(string=exact(text))), of_route),
        TEXTS,
        TEXTS,
        st.booleans(),
    ),
    st.builds(lambda key, text: FilterStateIs(key, exact(text)), TEXTS, TEXTS),
    st.builds(lambda name: Authenticated(None if name is None else exact(name)), st.none() | TEXTS),
)
TREES: st.SearchStrategy[Rule] = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Not, inner)
    ),
    max_leaves=8,
)
ENDPOINTS = st.builds(
    lambda host, port: f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    st.sampled_from(ADDRESSES),
    st.integers(79, 82),
)
NAMESPACES = st.dictionaries(st.just("n"), st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=1)
SUBJECTS = st.builds(
    Known,
    st.builds(
        lambda path, query, headers: RequestHead(
            b"GET", f"/{path}{query}".encode(), b"h", [(name.encode(), text.encode()) for name, text in headers]
        ),
        TEXTS,
        st.sampled_from(["", "?q", "#f"]),
        st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=3, unique_by=lambda pair: pair[0]),
    ),
    ENDPOINTS,
    ENDPOINTS,
    ENDPOINTS,
    ENDPOINTS,
    TEXTS,
    st.none() | st.builds(PeerCertificate, st.tuples(TEXTS) | st.just(()), st.tuples(TEXTS) | st.just(()), TEXTS),
    NAMESPACES,
    st.dictionaries(TEXTS, TEXTS, max_size=2),
    NAMESPACES,
)


def naive(rule: Rule, subject: Known) -> bool:
    """The same by the words of the model, without compiling anything."""
    match rule:
        case AllOf(rules):
            return not [each for each in rules if not naive(each, subject)]
        case AnyOf(rules):
            return bool([each for each in rules if naive(each, subject)])
        case Not(inner):
            return not naive(inner, subject)
        case Anything(holds):
            return holds
        case HeaderIs(match):
            value = dict(subject.head.headers).get(match.name)
            return match.match is not None and value == match.match.value
        case PathIs(match):
            return subject.head.path.split(b"?")[0].split(b"#")[0] == match.value
        case AddressIn(which, network):
            host = getattr(subject, which).rsplit(":", 1)[0].strip("[]")
            return ipaddress.ip_address(host) in network
        case DestinationPort(start, end):
            return int(subject.destination.rsplit(":", 1)[1]) in range(start, end)
        case ServerNameIs(match):
            return subject.server_name.encode() == match.value
        case MetadataIs(metadata, of_route):
            source = subject.route_metadata if of_route else subject.dynamic_metadata
            found = source.get("n", {}).get(metadata.path[0])
            return isinstance(found, str) and metadata.value.string == exact(found)
        case FilterStateIs(key, match):
            return key in subject.filter_state and exact(subject.filter_state[key]) == match
        case Authenticated(name):
            peer = subject.peer
            names = () if peer is None else (*peer.uri_sans, *peer.dns_sans, peer.subject)
            return peer is not None and (name is None or name.value.decode() in names)
    raise AssertionError(rule)


@given(TREES, SUBJECTS)
def test_a_tree_holds_where_a_naive_reading_of_it_does(rule: Rule, subject: Known) -> None:
    assert rule_test(rule)(subject) == naive(rule, subject)


@given(
    st.sampled_from(["ALLOW", "DENY", "LOG"]),
    st.lists(
        st.tuples(
            st.lists(TREES, min_size=1, max_size=2).map(tuple), st.lists(TREES, min_size=1, max_size=2).map(tuple)
        ),
        max_size=3,
    ),
    SUBJECTS,
)
def test_the_first_policy_that_applies_decides(
    action: str, policies: list[tuple[tuple[Rule, ...], tuple[Rule, ...]]], subject: Known
) -> None:
    rules = Rules(action, tuple(Policy(f"p{i}", *each) for i, each in enumerate(policies)))  # type: ignore[arg-type]
    applying = [
        policy.name
        for policy in rules.policies
        if any(naive(each, subject) for each in policy.permissions)
        and any(naive(each, subject) for each in policy.principals)
    ]
    allowed = {"ALLOW": bool(applying), "DENY": not applying, "LOG": True}[action]
    assert Engine(rules).decide(subject) == Verdict(allowed, applying[0] if applying else "")


def test_without_policies_allow_refuses_everything_and_deny_nothing() -> None:
    subject = Known(RequestHead(b"GET", b"/", b"h", []))
    assert Engine(Rules("ALLOW")).decide(subject) == Verdict(False, "")
    assert Engine(Rules("DENY")).decide(subject) == Verdict(True, "")


@pytest.mark.parametrize(
    ("match", "value", "holds"),
    [
        (ValueMatch(), None, True),
        (ValueMatch(), 0, False),
        (ValueMatch(number=3.0), 3, True),
        (ValueMatch(number=1.0), True, False),
        (ValueMatch(range=(1.0, 2.0)), 1, True),
        (ValueMatch(range=(1.0, 2.0)), 2, False),
        (ValueMatch(boolean=False), False, True),
        (ValueMatch(boolean=False), 0, False),
        (ValueMatch(present=True), "", True),
        (ValueMatch(present=False), "", False),
        (ValueMatch(one_of=ValueMatch(number=2.0)), [1, 2], True),
        (ValueMatch(one_of=ValueMatch(number=2.0)), 2, False),
        (ValueMatch(alternatives=(ValueMatch(number=2.0), ValueMatch())), None, True),
        (ValueMatch(string=StringMatch("prefix", b"a")), ["a"], False),
    ],
)
def test_values_of_metadata(match: ValueMatch, value: object, holds: bool) -> None:
    subject = Known(RequestHead(b"GET", b"/", b"h", []), dynamic_metadata={"n": {"k": {"deep": value}}})
    there = MetadataMatch("n", ("k", "deep"), match)
    assert rule_test(MetadataIs(there))(subject) is holds
    assert rule_test(MetadataIs(MetadataMatch("n", ("k", "deep"), match, invert=True)))(subject) is not holds
    gone = MetadataMatch("n", ("k", "deep", "er"), match)
    assert rule_test(MetadataIs(gone))(subject) is False


def test_a_pipe_lies_in_no_network() -> None:
    subject = Known(RequestHead(b"GET", b"/", b"h", []), source="/run/socket")
    assert not rule_test(AddressIn("source", ipaddress.ip_network("0.0.0.0/0")))(subject)
    assert not rule_test(DestinationPort(0, 65536))(Known(subject.head, destination="/run/socket"))
