"""What the data path tells outlier detection, seen from the requests: real sockets, ejection and return."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.route.model import RetryPolicy
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

EJECTING = OutlierDetectionConfig(
    consecutive_5xx=3, max_ejection_percent=50, base_ejection_time=3600, max_ejection_time=3600
)


def answering(status: bytes, headers: bytes = b""):  # type: ignore[no-untyped-def]
    async def script(peer: Peer, _number: int) -> None:
        while True:
            await peer.message()
            await peer.send(b"HTTP/1.1 " + status + b"\r\n" + headers + b"content-length: 0\r\n\r\n")

    return script


async def dropping(peer: Peer, _number: int) -> None:
    await peer.message()
    peer.abort()


async def hanging(peer: Peer, _number: int) -> None:
    await peer.read_all()


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken but does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def ejected(proxy: Proxy) -> int | None:
    return proxy.stat("cluster.c.outlier_detection.ejections_active")


@pytest.mark.trio
@pytest.mark.parametrize(
    "script",
    [
        answering(b"503 Down"),
        answering(b"200 OK", b"content-type: application/grpc\r\ngrpc-status: 14\r\n"),
        dropping,
        hanging,
    ],
    ids=["503", "grpc", "reset", "timeout"],
)
async def test_failures_eject_and_then_all_requests_succeed(script) -> None:  # type: ignore[no-untyped-def]
    async with running_proxy() as proxy:
        bad, good = await proxy.origin(script), await proxy.origin()
        proxy.cluster("c", bad.port, good.port, outlier_detection=EJECTING)
        proxy.route(forward(timeout=0.05))
        proxy.http()
        for _ in range(6):
            await proxy.get()
        assert ejected(proxy) == 1
        assert [(await proxy.get())[2] for _ in range(10)] == [b"ok"] * 10


@pytest.mark.trio
async def test_an_endpoint_that_refuses_connections_is_ejected(refusing_port: int) -> None:
    async with running_proxy() as proxy:
        good = await proxy.origin()
        proxy.cluster("c", good.port, refusing_port, outlier_detection=EJECTING)
        proxy.route(forward(retry=RetryPolicy(frozenset({"connect-failure"}), num_retries=3, base_interval=0.001)))
        proxy.http()
        assert [(await proxy.get())[0] for _ in range(10)] == [200] * 10
        assert ejected(proxy) == 1


@pytest.mark.trio
async def test_an_ejected_endpoint_comes_back() -> None:
    async with running_proxy() as proxy:
        bad, good = await proxy.origin(answering(b"500 Oops")), await proxy.origin()
        config = OutlierDetectionConfig(
            consecutive_5xx=1, max_ejection_percent=50, interval=0.02, base_ejection_time=0.02, max_ejection_time=0.02
        )
        proxy.cluster("c", bad.port, good.port, outlier_detection=config)
        proxy.route(forward())
        proxy.http()
        while ejected(proxy) != 1:
            await proxy.get()
        await eventually(lambda: ejected(proxy) == 0)
        assert bad.connections == 1


@pytest.mark.trio
async def test_overflow_is_nobodys_fault() -> None:
    async with running_proxy() as proxy:
        from isthmus_proxy.cluster.model import Thresholds

        origin = await proxy.origin()
        config = OutlierDetectionConfig(consecutive_5xx=1, max_ejection_percent=100)
        proxy.cluster("c", origin.port, outlier_detection=config, thresholds=Thresholds(max_requests=0))
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[0] == 503
        assert ejected(proxy) == 0


@pytest.mark.trio
async def test_a_tcp_proxy_counts_connections(refusing_port: int) -> None:
    async with running_proxy() as proxy:
        config = OutlierDetectionConfig(consecutive_5xx=2, max_ejection_percent=100)
        proxy.cluster("c", refusing_port, outlier_detection=config)
        proxy.tcp("c")
        for _ in range(2):
            client = await proxy.client()
            assert await client.read_all() == b""
        assert ejected(proxy) == 1


@pytest.mark.trio
async def test_detection_that_is_configured_away_takes_everybody_back() -> None:
    async with running_proxy() as proxy:
        bad = await proxy.origin(answering(b"500 Oops"))
        proxy.cluster(
            "c", bad.port, outlier_detection=OutlierDetectionConfig(consecutive_5xx=1, max_ejection_percent=100)
        )
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[0] == 500
        assert ejected(proxy) == 1
        proxy.cluster("c", bad.port)
        assert ejected(proxy) == 0
        endpoint = proxy.clusters.hosts("c")[0]
        assert (endpoint.flags, endpoint.monitor) == (0, None)
