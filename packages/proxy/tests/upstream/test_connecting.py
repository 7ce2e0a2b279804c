"""Endpoints with several addresses: the order of the attempts, and what becomes of each, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.addresses import Address, HappyEyeballsConfig, TcpKeepalive, attempt_order
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.testing import Proxy, eventually, forward, running_proxy
from isthmus_proxy.tls.testing import client_tls

V4 = st.integers(1, 9).map(lambda number: (f"127.0.0.{number}", 80))
V6 = st.integers(1, 9).map(lambda number: (f"::{number}", 80))


@given(
    st.lists(st.one_of(V4, V6), min_size=1),
    st.builds(HappyEyeballsConfig, st.sampled_from(["DEFAULT", "V4", "V6"]), st.integers(1, 4)),
)
def test_every_address_has_its_turn(addresses: list[Address], config: HappyEyeballsConfig) -> None:
    order = attempt_order(addresses, config)
    assert sorted(order) == sorted(addresses)
    for six in (False, True):
        assert [each for each in order if (":" in each[0]) is six] == [
            each for each in addresses if (":" in each[0]) is six
        ]


@pytest.mark.parametrize(
    ("config", "order"),
    [
        (HappyEyeballsConfig(), "4a 6a 4b 6b 4c"),
        (HappyEyeballsConfig("V6"), "6a 4a 6b 4b 4c"),
        (HappyEyeballsConfig("V4", 2), "4a 4b 6a 4c 6b"),
        (HappyEyeballsConfig("V6", 9), "6a 6b 4a 4b 4c"),
    ],
)
def test_families_take_turns(config: HappyEyeballsConfig, order: str) -> None:
    known = {"4a": ("1.0.0.1", 1), "4b": ("1.0.0.2", 1), "4c": ("1.0.0.3", 1), "6a": ("::1", 1), "6b": ("::2", 1)}
    assert attempt_order(list(known.values()), config) == [known[name] for name in order.split()]


@contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens, as long as the block runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A port at which connections are never opened: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def note(proxy: Proxy, *names: str) -> None:
    """Log these operators of each request."""
    proxy.logs.render = compile_text(" ".join(f"%{name}%" for name in names))


def add(proxy: Proxy, first: int, *others: int, **options: object) -> None:
    endpoint = EndpointConfig("127.0.0.1", first, additional_addresses=tuple(("127.0.0.1", port) for port in others))
    assignment = Assignment("c", (LocalityEndpoints((endpoint,)),))
    proxy.clusters.add_or_update(ClusterConfig("c", "STATIC", assignment=assignment, **options))  # type: ignore[arg-type]
    proxy.route(forward())
    proxy.http()


@pytest.mark.trio
async def test_the_next_address_is_tried_at_once_when_one_refuses() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        note(proxy, "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "UPSTREAM_HOST")
        with refusing() as refused, refusing() as other:
            add(proxy, refused, other, origin.port)
            assert (await proxy.get())[2] == b"ok"
        assert origin.connections == 1
        assert proxy.stat("cluster.c.upstream_cx_total") == 3
        assert proxy.stat("cluster.c.upstream_cx_active") == 1
        assert proxy.stat("cluster.c.upstream_cx_connect_fail") == 0
        assert proxy.logs.texts == [f"127.0.0.1:{origin.port} 127.0.0.1 127.0.0.1:{refused}".encode()]


@pytest.mark.trio
async def test_the_next_address_is_tried_beside_one_that_says_nothing() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        with silent() as first, silent() as second:
            add(proxy, first, second, origin.port)
            assert (await proxy.get())[2] == b"ok"
        assert proxy.stat("cluster.c.upstream_cx_total") == 3


@pytest.mark.trio
async def test_a_handshake_that_fails_is_an_attempt_that_fails() -> None:
    async with running_proxy() as proxy:
        plain, closing = await proxy.origin(), await proxy.origin(lambda peer, _number: peer.stream.aclose())
        add(proxy, plain.port, closing.port, transport=client_tls())
        assert (await proxy.get())[0] == 503
        assert (plain.connections, closing.connections) == (1, 1)
        assert proxy.logs.lines[-1].flags == "UF"
        assert proxy.stat("cluster.c.upstream_cx_connect_fail") == 1


@pytest.mark.trio
async def test_the_last_failure_is_told() -> None:
    async with running_proxy() as proxy:
        note(proxy, "UPSTREAM_TRANSPORT_FAILURE_REASON", "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_LOCAL_PORT")
        with refusing() as first, refusing() as second:
            add(proxy, first, second)
            assert (await proxy.get())[0] == 503
        assert proxy.logs.texts == [b"delayed_connect_error:_Connection_refused - -"]
        assert proxy.stat("cluster.c.upstream_cx_active") == 0


@pytest.mark.trio
async def test_all_attempts_end_with_the_connect_timeout() -> None:
    async with running_proxy() as proxy:
        with silent() as first, silent() as second:
            add(proxy, first, second, connect_timeout=0.4)
            assert (await proxy.get())[0] == 503
        assert proxy.stat("cluster.c.upstream_cx_connect_timeout") == 1
        assert proxy.stat("cluster.c.upstream_cx_active") == 0


@pytest.mark.trio
async def test_tcp_proxies_try_every_address_too() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        with refusing() as refused:
            add(proxy, refused, origin.port, tcp_keepalive=TcpKeepalive(3, 30, 10))
            proxy.tcp("c")
            client = await proxy.client()
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await client.message())[1] == b"ok"
        await eventually(lambda: origin.connections == 1)
