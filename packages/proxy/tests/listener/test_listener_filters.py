"""Listener filters and filter chains on real connections: what is found, what is waited for, who gets the connection."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from isthmus_proxy.listener.model import (
    ConnectionLimitConfig,
    ConnectionRbacConfig,
    DirectResponseConfig,
    FilterChain,
    FilterChainMatch,
    HttpInspectorConfig,
    ListenerConfig,
    ListenerFilterConfig,
    OriginalDstConfig,
    PipeAddress,
    PortRange,
    Predicate,
    ProxyProtocolConfig,
    SocketAddress,
    TlsInspectorConfig,
)
from isthmus_proxy.listener.serving_chain import ServingChain
from isthmus_proxy.rbac.model import Action, AddressIn, Anything, DestinationPort, HeaderIs, Policy, Rule, Rules
from isthmus_proxy.route.model import HeaderMatch
from isthmus_proxy.testing import PATIENCE, Peer, Proxy, eventually, running_proxy

pytestmark = pytest.mark.trio
LOCAL = SocketAddress("127.0.0.1", 0)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


def says(text: str, match: FilterChainMatch | None = None, *, content: str = "") -> FilterChain:
    return FilterChain(text, DirectResponseConfig(text.encode()), match or FilterChainMatch(), content=content)


def listener(
    *chains: FilterChain, filters: tuple[object, ...] = (), name: str = "l", **options: object
) -> ListenerConfig:
    each = tuple(ListenerFilterConfig(kind) for kind in filters)  # type: ignore[arg-type]
    options = {"address": LOCAL, "listener_filters": each, "content": repr((chains, options)), **options}
    return ListenerConfig(name=name, filter_chains=chains, **options)  # type: ignore[arg-type]


async def answer(proxy: Proxy, *pieces: bytes) -> bytes:
    peer = await proxy.client()
    for piece in pieces:
        await peer.send(piece)
    data = await peer.read_all()
    await peer.close()
    return data


def client_hello(name: str) -> bytes:
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


async def test_tls_and_its_server_name_choose_the_chain(proxy: Proxy) -> None:
    chains = (
        says("named", FilterChainMatch(server_names=("a.example",))),
        says("tls", FilterChainMatch(transport_protocol="tls")),
        says("plain", FilterChainMatch(transport_protocol="raw_buffer")),
    )
    proxy.open(listener(*chains, filters=(TlsInspectorConfig(),)))
    hello = client_hello("A.example")
    assert await answer(proxy, hello) == b"named"
    assert await answer(proxy, hello[:3], hello[3:100], hello[100:]) == b"named"
    assert await answer(proxy, client_hello("b.example")) == b"tls"
    assert await answer(proxy, b"x") == b"plain"
    counted = {name: proxy.stat(f"tls_inspector.{name}") for name in ("tls_found", "tls_not_found", "sni_found")}
    assert counted == {"tls_found": 3, "tls_not_found": 1, "sni_found": 3}
    assert proxy.stat("tls_inspector.alpn_not_found") == 3


async def test_a_client_hello_that_is_too_long_is_refused(proxy: Proxy) -> None:
    proxy.open(listener(says("x"), filters=(TlsInspectorConfig(max_client_hello_size=100),)))
    assert await answer(proxy, client_hello("a.b")[:50]) == b""
    assert proxy.stat("tls_inspector.client_hello_too_large") == 1


async def test_http_versions_are_application_protocols(proxy: Proxy) -> None:
    chains = [says(name, FilterChainMatch(application_protocols=(name,))) for name in ("http/1.0", "http/1.1", "h2c")]
    proxy.open(listener(*chains, says("other"), filters=(HttpInspectorConfig(),)))
    assert await answer(proxy, b"GET / HT", b"TP/1.0\r\n") == b"http/1.0"
    assert await answer(proxy, b"GET / HTTP/1.1\r\n") == b"http/1.1"
    assert await answer(proxy, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == b"h2c"
    assert await answer(proxy, b"\0") == b"other"
    assert proxy.stat("http_inspector.http2_found") == 1


async def test_bytes_that_were_looked_at_reach_the_filter(proxy: Proxy) -> None:
    async def echo(peer: Peer, _number: int) -> None:
        await peer.send(await peer.read_all())

    origin = await proxy.origin(echo)
    proxy.cluster("c", origin.port)
    proxy.tcp("c")
    config = proxy.listeners.active()[0]
    assert isinstance(config.address, SocketAddress)
    (listening,) = proxy.listeners._listeners.values()
    filters = (
        ListenerFilterConfig(ProxyProtocolConfig()),
        ListenerFilterConfig(TlsInspectorConfig()),
        ListenerFilterConfig(HttpInspectorConfig()),
    )
    proxy.open(replace(listening.config, listener_filters=filters, content="2", name="t"))
    proxy.port = config.address.port
    peer = await proxy.client()
    await peer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 3 4\r\nGET / HTTP")
    await peer.send(b"/1.1\r\n\r\n")
    await peer.stream.send_eof()
    assert await peer.read_all() == b"GET / HTTP/1.1\r\n\r\n"


async def test_a_protocol_in_which_the_server_speaks_first_waits_as_configured_and_no_longer(proxy: Proxy) -> None:
    config = listener(
        says("hello", FilterChainMatch(transport_protocol="raw_buffer")),
        filters=(TlsInspectorConfig(), HttpInspectorConfig()),
        listener_filters_timeout=0.02,
    )
    port = proxy.open(replace(config, continue_on_listener_filters_timeout=True))
    assert await answer(proxy) == b"hello"
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_pre_cx_timeout") == 1
    port = proxy.open(replace(config, name="strict"))
    assert await answer(proxy) == b""
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_pre_cx_timeout") == 1
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_pre_cx_active") == 0
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_cx_total") == 0


async def test_clients_that_leave_while_they_are_looked_at_are_counted(proxy: Proxy) -> None:
    port = proxy.open(listener(says("x"), filters=(TlsInspectorConfig(),), listener_filters_timeout=0.0))
    prefix = f"listener.127.0.0.1_{port}."
    silent, partial, broken = [await proxy.client() for _ in range(3)]
    await partial.send(b"\x16\x03")
    await broken.send(b"\x16\x03")
    await eventually(lambda: proxy.stat(prefix + "downstream_pre_cx_active") == 3)
    await silent.close()
    await partial.close()
    broken.abort()
    await eventually(lambda: proxy.stat(prefix + "downstream_pre_cx_active") == 0)
    lost = (proxy.stat(prefix + "downstream_listener_filter_remote_close") or 0) + (
        proxy.stat(prefix + "downstream_listener_filter_error") or 0
    )
    assert lost == 3


async def test_no_chain_fits(proxy: Proxy) -> None:
    port = proxy.open(listener(says("x", FilterChainMatch(destination_port=1))))
    assert await answer(proxy) == b""
    assert proxy.stat(f"listener.127.0.0.1_{port}.no_filter_chain_match") == 1
    assert proxy.listeners.connection_count == 0


PROXY_HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 3 4\r\n"


async def test_the_proxy_header_says_who_and_where(proxy: Proxy) -> None:
    match = FilterChainMatch(
        destination_port=4, source_ports=(3,), source_prefix_ranges=(ipaddress.ip_network("192.0.2.1/32"),)
    )
    proxy.open(listener(says("matched", match), says("other"), filters=(ProxyProtocolConfig(),)))
    assert await answer(proxy, PROXY_HEADER[:20], PROXY_HEADER[20:]) == b"matched"
    assert await answer(proxy, b"PROXY UNKNOWN\r\n") == b"other"
    assert await answer(proxy, b"GET / HTTP/1.1\r\n") == b""
    assert await answer(proxy, b"PROXY nonsense\r\n") == b""
    assert proxy.stat("proxy_proto.versions.v1.found") == 2
    assert proxy.stat("proxy_proto.versions.v1.error") == 1
    assert proxy.stat("proxy_proto.not_found_disallowed") == 1


async def test_a_header_that_may_be_absent_or_is_not_allowed(proxy: Proxy) -> None:
    lenient = ProxyProtocolConfig(allow_requests_without_proxy_protocol=True, stat_prefix="p")
    proxy.open(listener(says("x"), filters=(lenient,)))
    assert await answer(proxy, b"GET /") == b"x"
    assert proxy.stat("proxy_proto.p.not_found_allowed") == 1
    proxy.open(listener(says("y"), filters=(ProxyProtocolConfig(disallowed_versions=frozenset({1})),), name="strict"))
    assert await answer(proxy, PROXY_HEADER) == b""
    assert proxy.stat("proxy_proto.versions.v1.disallowed") == 1


async def test_a_filter_may_be_off_for_some_ports(proxy: Proxy) -> None:
    off = Predicate("or", rules=(Predicate("port", PortRange(4, 5)), Predicate("not", rules=(Predicate("any"),))))
    inspected = ListenerFilterConfig(HttpInspectorConfig(), off)
    config = listener(
        says("http", FilterChainMatch(application_protocols=("http/1.1",))),
        says("unknown"),
        listener_filters=(ListenerFilterConfig(ProxyProtocolConfig()), inspected),
    )
    proxy.open(config)
    assert await answer(proxy, PROXY_HEADER + b"GET / HTTP/1.1\r\n") == b"unknown"
    assert await answer(proxy, b"PROXY TCP4 192.0.2.1 192.0.2.2 3 5\r\nGET / HTTP/1.1\r\n") == b"http"


async def test_redirected_connections_go_to_the_listener_of_their_destination(proxy: Proxy) -> None:
    for name, address in (("exact", SocketAddress("192.0.2.2", 4)), ("port", SocketAddress("0.0.0.0", 5))):
        proxy.open(listener(says(name), name=name, address=address, bind_to_port=False))
    proxy.open(listener(says("virtual"), filters=(ProxyProtocolConfig(),), use_original_dst=True, name="v"))
    header = "PROXY TCP4 192.0.2.1 {} 3 {}\r\n"
    assert await answer(proxy, header.format("192.0.2.2", 4).encode()) == b"exact"
    assert await answer(proxy, header.format("192.0.2.9", 5).encode()) == b"port"
    assert await answer(proxy, header.format("192.0.2.9", 4).encode()) == b"virtual"
    assert await answer(proxy, b"PROXY UNKNOWN\r\n") == b"virtual"
    assert proxy.stat("listener.192.0.2.2_4.downstream_cx_total") == 1
    proxy.listeners.remove("exact")
    assert await answer(proxy, header.format("192.0.2.2", 4).encode()) == b"virtual"


async def test_a_connection_that_nothing_redirected_has_its_own_destination(proxy: Proxy) -> None:
    proxy.open(listener(says("self"), filters=(OriginalDstConfig(),), use_original_dst=True))
    assert await answer(proxy) == b"self"


async def test_a_listener_without_redirects_serves_restored_destinations_itself(proxy: Proxy) -> None:
    proxy.open(listener(says("bound nowhere"), name="n", address=SocketAddress("192.0.2.2", 4), bind_to_port=False))
    proxy.open(listener(says("self"), filters=(ProxyProtocolConfig(),), name="v"))
    assert await answer(proxy, b"PROXY TCP4 192.0.2.1 192.0.2.2 3 4\r\n") == b"self"


async def test_a_pipe_and_more_addresses(proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    config = listener(says("x"), address=PipeAddress(str(path), 0o600), additional_addresses=(LOCAL,))
    assert proxy.open(config) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    with trio.fail_after(PATIENCE):
        stream = await trio.open_unix_socket(path)
        assert await stream.receive_some(10) == b"x"
        await stream.aclose()
    (row,) = proxy.listeners.active()
    (more,) = row.additional_addresses
    assert isinstance(more, SocketAddress)
    proxy.port = more.port
    assert await answer(proxy) == b"x"
    proxy.listeners.remove("l")
    proxy.open(replace(config, content="again"))


async def test_connection_limit(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", origin.port)
    proxy.tcp("c")
    (listening,) = proxy.listeners._listeners.values()
    limited = replace(
        listening.config.filter_chains[0],
        gates=(ConnectionLimitConfig("limit", 1), ConnectionLimitConfig("slow", 5, 0.01)),
    )
    port = proxy.open(replace(listening.config, name="limited", filter_chains=(limited,), content="3"))
    first = await proxy.client()
    await eventually(lambda: proxy.stat("connection_limit.slow.active_connections") == 1)
    assert await answer(proxy) == b""
    assert proxy.stat("connection_limit.limit.limited_connections") == 1
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_cx_active") == 1
    await first.close()
    await eventually(lambda: proxy.stat("connection_limit.limit.active_connections") == 0)
    again = await proxy.client()
    await eventually(lambda: proxy.stat("connection_limit.limit.active_connections") == 1)
    await again.close()


def judged(action: Action, permission: Rule, principal: Rule) -> FilterChain:
    rules = Rules(action, (Policy("p", (permission,), (principal,)),))
    return replace(says("x"), gates=(ConnectionRbacConfig("tcp.", rules),))


LOOPBACK_PEER = AddressIn("direct_remote", ipaddress.IPv4Network("127.0.0.0/8"))


@pytest.mark.parametrize(
    ("action", "permission", "principal", "allowed"),
    [
        ("ALLOW", Anything(), LOOPBACK_PEER, True),
        ("ALLOW", Anything(), AddressIn("direct_remote", ipaddress.IPv4Network("10.0.0.0/8")), False),
        ("DENY", Anything(), LOOPBACK_PEER, False),
        ("DENY", DestinationPort(1, 2), LOOPBACK_PEER, True),
        ("ALLOW", AddressIn("destination", ipaddress.IPv4Network("127.0.0.1/32")), Anything(), True),
        ("LOG", Anything(), Anything(), True),
        ("ALLOW", HeaderIs(HeaderMatch(b"x-a")), Anything(), False),
    ],
)
async def test_connections_are_judged_when_they_come(
    proxy: Proxy, action: Action, permission: Rule, principal: Rule, allowed: bool
) -> None:
    proxy.open(listener(judged(action, permission, principal)))
    assert await answer(proxy) == (b"x" if allowed else b"")
    assert (proxy.stat("tcp.rbac.allowed"), proxy.stat("tcp.rbac.denied")) == ((1, 0) if allowed else (0, 1))
    await eventually(lambda: proxy.listeners.connection_count == 0)


async def test_shadow_rules_are_counted_only(proxy: Proxy) -> None:
    gate = ConnectionRbacConfig("s", None, Rules("DENY", (Policy("p", (Anything(),), (Anything(),)),)))
    proxy.open(listener(replace(says("x"), gates=(gate,))))
    assert await answer(proxy) == b"x"
    assert proxy.stat("s.rbac.shadow_denied") == 1


async def test_a_refused_connection_may_be_held_for_a_while(proxy: Proxy) -> None:
    gate = (ConnectionLimitConfig("held", 1, 0.02),)
    chain = replace(says("x"), gates=gate)
    proxy.open(listener(chain))
    silent = await proxy.client()  # stays until it has read, as its end is waited for
    await eventually(lambda: proxy.stat("connection_limit.held.active_connections") == 1)
    refused = await proxy.client()
    await eventually(lambda: proxy.stat("connection_limit.held.active_connections") == 2)
    assert await refused.read_all() == b""
    await silent.close()
    await eventually(lambda: proxy.stat("connection_limit.held.active_connections") == 0)
    assert proxy.listeners.connection_count == 0


async def test_an_update_leaves_chains_alone_that_did_not_change(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", origin.port)
    changed = says("old", FilterChainMatch(destination_port=1), content="old")
    proxy.tcp("c")
    (listening,) = proxy.listeners._listeners.values()
    tcp = replace(listening.config.filter_chains[0], content="tcp")
    config = replace(listening.config, name="chains", filter_chains=(tcp, changed), content="1", address=LOCAL)
    proxy.open(config)
    before = proxy.logs.opened
    fresh = says("new", FilterChainMatch(destination_port=2), content="new")
    proxy.open(replace(config, filter_chains=(tcp, fresh), content="2"))
    assert proxy.logs.opened == before
    assert [chain.config.name for chain in chains_of(proxy, "chains")] == ["", "new"]


def chains_of(proxy: Proxy, name: str) -> list[ServingChain]:
    current = proxy.listeners._listeners[name].current
    assert current is not None
    return current.chains
