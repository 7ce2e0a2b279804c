"""Envoy's nine criteria, one by one and against a reading of their definition that looks at every chain."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.filter_chain_match import Candidate, FilterChainIndex, OverlapError
from isthmus_proxy.listener.model import Address, FilterChainMatch, IpNetwork, PipeAddress, SocketAddress


def nets(*each: str) -> tuple[IpNetwork, ...]:
    return tuple(ipaddress.ip_network(net) for net in each)


HERE, THERE = SocketAddress("10.0.0.1", 80), SocketAddress("10.9.9.9", 40000)


def connection(
    local: Address = HERE,
    remote: Address = THERE,
    *,
    direct: Address | None = None,
    sni: str = "",
    transport: str = "",
    alpn: tuple[str, ...] = (),
) -> AcceptedSocket:
    with socket.socket() as sock:
        accepted = AcceptedSocket(sock, direct or remote, local, 1)
    accepted.remote = remote
    accepted.server_name, accepted.transport_protocol, accepted.application_protocols = sni, transport, alpn
    return accepted


def find(accepted: AcceptedSocket, *matches: FilterChainMatch, default: int | None = None) -> int | None:
    return FilterChainIndex([Candidate(match, number) for number, match in enumerate(matches)], default).find(accepted)


M = FilterChainMatch


def test_a_single_chain_without_criteria_serves_everything() -> None:
    index = FilterChainIndex([Candidate(M(), "chain")])
    assert index.always == "chain"
    assert index.find(connection()) == "chain"


def test_the_default_chain_is_for_what_no_other_fits() -> None:
    assert find(connection(), M(destination_port=81), default=9) == 9
    assert find(connection(), default=9) == 9
    assert find(connection(), M(destination_port=81)) is None


def test_a_port_that_some_chain_names_is_for_those_chains_only() -> None:
    chains = (M(destination_port=80, server_names=("a.b",)), M())
    assert find(connection(sni="a.b"), *chains) == 0
    assert find(connection(sni="c.d"), *chains) is None
    assert find(connection(SocketAddress("10.0.0.1", 81)), *chains) == 1


@pytest.mark.parametrize(
    ("host", "chain"),
    [("10.0.0.1", 2), ("10.0.0.2", 1), ("10.1.0.1", 0), ("192.168.0.1", 3), ("fe80::1", 3), ("fd00::1", 4)],
)
def test_the_longest_destination_prefix_wins(host: str, chain: int) -> None:
    chains = (
        M(prefix_ranges=nets("10.0.0.0/8")),
        M(prefix_ranges=nets("10.0.0.0/24")),
        M(prefix_ranges=nets("10.0.0.1/32", "172.16.0.0/12")),
        M(),
        M(prefix_ranges=nets("fd00::/8")),
    )
    assert find(connection(SocketAddress(host, 80)), *chains) == chain


@pytest.mark.parametrize(
    ("sni", "chain"),
    [("www.a.com", 0), ("x.a.com", 1), ("y.x.a.com", 1), ("a.com", 2), ("b.org", 3), ("", 3), ("com", 3), (".com", 2)],
)
def test_server_names_exact_then_the_longest_wildcard(sni: str, chain: int) -> None:
    chains = (M(server_names=("www.a.com",)), M(server_names=("*.a.com",)), M(server_names=("*.com",)), M())
    assert find(connection(sni=sni, transport="tls"), *chains) == chain


def test_transport_and_application_protocols() -> None:
    chains = (
        M(transport_protocol="tls", application_protocols=("h2",)),
        M(transport_protocol="tls"),
        M(transport_protocol="raw_buffer"),
        M(application_protocols=("h2c", "http/1.1")),
    )
    assert find(connection(transport="tls", alpn=("x", "h2")), *chains) == 0
    assert find(connection(transport="tls", alpn=("x",)), *chains) == 1
    assert find(connection(), *chains) == 2
    assert find(connection(transport="quic", alpn=("http/1.1",)), *chains) == 3
    assert find(connection(transport="quic"), *chains) is None


def test_the_clients_order_of_protocols_decides() -> None:
    chains = (M(application_protocols=("h2",)), M(application_protocols=("http/1.1",)))
    assert find(connection(alpn=("http/1.1", "h2")), *chains) == 1


def test_direct_source_is_the_peer_and_source_what_it_speaks_for() -> None:
    chains = (
        M(direct_source_prefix_ranges=nets("10.0.0.0/8"), source_prefix_ranges=nets("192.0.2.0/24")),
        M(direct_source_prefix_ranges=nets("10.0.0.0/8")),
        M(source_prefix_ranges=nets("192.0.2.0/24")),
    )
    peer, client = SocketAddress("10.1.1.1", 1), SocketAddress("192.0.2.7", 2)
    assert find(connection(remote=client, direct=peer), *chains) == 0
    assert find(connection(remote=peer, direct=peer), *chains) == 1
    assert find(connection(remote=client, direct=client), *chains) == 2


@pytest.mark.parametrize(
    ("remote", "chain"),
    [
        (SocketAddress("127.0.0.1", 9), 0),
        (SocketAddress("10.0.0.1", 9), 0),
        (PipeAddress(""), 0),
        (SocketAddress("10.2.2.2", 9), 1),
    ],
)
def test_source_type(remote: Address, chain: int) -> None:
    assert find(connection(remote=remote), M(source_type="SAME_IP_OR_LOOPBACK"), M(source_type="EXTERNAL")) == chain


def test_a_source_type_that_is_not_named_falls_to_any() -> None:
    chains = (M(source_type="SAME_IP_OR_LOOPBACK"), M())
    assert find(connection(), *chains) == 1
    assert find(connection(remote=SocketAddress("127.0.0.1", 9)), *chains) == 0


def test_source_ports() -> None:
    chains = (M(source_ports=(40000, 40001)), M())
    assert find(connection(), *chains) == 0
    assert find(connection(remote=SocketAddress("10.9.9.9", 1)), *chains) == 1
    assert find(connection(remote=PipeAddress("")), *chains) == 1


def test_a_pipe_has_no_port_and_every_address() -> None:
    accepted = connection(PipeAddress("/x"), PipeAddress(""))
    assert find(accepted, M(destination_port=80), M()) == 1
    assert find(accepted, M(prefix_ranges=nets("10.0.0.0/8")), M()) == 1


def test_what_leaves_a_choice_is_refused() -> None:
    first = M(server_names=("a.b", "*.c"), source_ports=(1, 2))
    with pytest.raises(OverlapError):
        find(connection(), first, M(server_names=("x.y", "*.c"), source_ports=(2,)))
    assert find(connection(sni="z.c", remote=SocketAddress("1.1.1.1", 2)), first, M(server_names=("x.y",))) == 0


IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "127.0.0.1", "192.0.2.1"])
RANGES = st.lists(
    st.sampled_from(nets("10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/8", "192.0.2.0/24")), max_size=2, unique=True
)
NAMES = ["a.b.c", "x.b.c", "*.b.c", "*.c"]
MATCHES = st.builds(
    FilterChainMatch,
    destination_port=st.sampled_from([0, 0, 80]),
    prefix_ranges=RANGES.map(tuple),
    server_names=st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple),
    transport_protocol=st.sampled_from(["", "", "tls", "raw_buffer"]),
    application_protocols=st.lists(st.sampled_from(["h2", "http/1.1"]), max_size=2, unique=True).map(tuple),
    direct_source_prefix_ranges=RANGES.map(tuple),
    source_type=st.sampled_from(["ANY", "ANY", "EXTERNAL", "SAME_IP_OR_LOOPBACK"]),
    source_prefix_ranges=RANGES.map(tuple),
    source_ports=st.lists(st.sampled_from([1, 2]), max_size=2, unique=True).map(tuple),
)
CONNECTIONS = st.builds(
    lambda host, remote, direct, port, source, sni, transport, alpn: connection(
        SocketAddress(host, port),
        SocketAddress(remote, source),
        direct=SocketAddress(direct, 9),
        sni=sni,
        transport=transport,
        alpn=alpn,
    ),
    IPS, IPS, IPS, st.sampled_from([80, 81]), st.sampled_from([1, 2, 3]),
    st.sampled_from(["", "a.b.c", "x.b.c", "q.b.c", "c", "z.c"]), st.sampled_from(["", "tls"]),
    st.sampled_from([(), ("h2",), ("x", "http/1.1")]),
)  # fmt: skip


def by_definition(accepted: AcceptedSocket, matches: list[FilterChainMatch]) -> int | None:
    """One criterion after the other: keep the chains whose value is the most specific one among those left that fits."""
    local, remote, direct = accepted.local, accepted.remote, accepted.direct_remote
    assert isinstance(local, SocketAddress)
    assert isinstance(remote, SocketAddress)
    assert isinstance(direct, SocketAddress)
    left = list(enumerate(matches))

    def keep(values: list[object], of: object) -> None:
        """``values`` from the most specific one that fits; ``of(match)`` are those that a chain has."""
        nonlocal left
        for value in values:
            found = [(number, match) for number, match in left if value in of(match)]  # type: ignore[operator]
            if found:
                left = found
                return
        left = []

    def prefixes(host: str) -> list[object]:
        return [*(ipaddress.ip_network(f"{host}/{length}", strict=False) for length in range(32, -1, -1))]

    every = nets("0.0.0.0/0")
    keep([local.port, 0], lambda match: [match.destination_port])
    keep(prefixes(local.host), lambda match: match.prefix_ranges or every)
    name = accepted.server_name
    labels = name.split(".")
    wildcards: list[object] = ["*." + ".".join(labels[index:]) for index in range(1, len(labels))]
    keep([name, *wildcards, None], lambda match: match.server_names or [None])
    keep([accepted.transport_protocol or "raw_buffer", ""], lambda match: [match.transport_protocol])
    keep([*accepted.application_protocols, None], lambda match: match.application_protocols or [None])
    keep(prefixes(direct.host), lambda match: match.direct_source_prefix_ranges or every)
    same = remote.host in (local.host, "127.0.0.1")
    keep(["SAME_IP_OR_LOOPBACK" if same else "EXTERNAL", "ANY"], lambda match: [match.source_type])
    keep(prefixes(remote.host), lambda match: match.source_prefix_ranges or every)
    keep([remote.port, 0], lambda match: match.source_ports or [0])
    return left[0][0] if left else None


@given(st.lists(MATCHES, max_size=6, unique=True), st.lists(CONNECTIONS, min_size=1, max_size=8))
def test_the_tables_find_what_the_definition_says(matches: list[FilterChainMatch], seen: list[AcceptedSocket]) -> None:
    try:
        index = FilterChainIndex([Candidate(match, number) for number, match in enumerate(matches)])
    except OverlapError:
        return
    for accepted in seen:
        assert index.find(accepted) == by_definition(accepted, matches)
