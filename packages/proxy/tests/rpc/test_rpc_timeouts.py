"""Per-try timeouts, timeouts that an attachment asks for, the switch of the route cache, and what circuit breakers count."""

from __future__ import annotations

import pytest

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.codec.dubbo import testing as dubbo
from isthmus_proxy.codec.dubbo.codec import SERVER_TIMEOUT, DubboCodec
from isthmus_proxy.listener.model import RdsReference, RpcProxyConfig
from isthmus_proxy.route.model import RetryPolicy
from isthmus_proxy.rpc.testing import HEADER, Frames, answer, echo, rpc
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio

PER_TRY = RetryPolicy(frozenset({"5xx"}), 2, per_try_timeout=0.05, base_interval=0.001)


async def deaf(peer: Peer, _number: int) -> None:
    while await peer.read():
        pass


class DeafAtFirst:
    """Answers the third request and those behind it."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            self.count += 1
            if self.count > 2:
                await peer.send(answer(frame, data))


async def test_an_attempt_that_takes_too_long_is_followed_by_another(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(DeafAtFirst())).port)
    patient = RetryPolicy(frozenset({"5xx"}), 100, per_try_timeout=0.05, base_interval=0.001)
    proxy.route(forward(retry=patient, timeout=0.0))
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, b"x", timeout=-1))
    assert await client.response() == (1, 0, b"x")
    assert (proxy.stat("cluster.c.upstream_rq_per_try_timeout") or 0) >= 2
    assert proxy.stat("cluster.c.upstream_rq_timeout") == 0
    assert proxy.stat("rpc.test.rq_timeout") == 0


async def test_the_last_attempt_that_takes_too_long_is_the_answer(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(deaf)).port)
    proxy.route(forward(retry=PER_TRY, timeout=0.0))
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, timeout=-1))
    assert (await client.response())[:2] == (1, status.TIMEOUT)
    assert proxy.stat("cluster.c.upstream_rq_total") == 3
    assert proxy.stat("rpc.test.rq_timeout") == 1
    assert proxy.logs.lines[-1].details == "upstream_per_try_timeout"
    assert proxy.stat("cluster.c.upstream_rq_active") == 0


async def test_the_timeout_of_the_whole_request_ends_all_attempts(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(deaf)).port)
    patient = RetryPolicy(frozenset({"5xx"}), 1000, per_try_timeout=0.02, base_interval=0.001)
    proxy.route(forward(retry=patient))
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, timeout=120))
    assert (await client.response())[:2] == (1, status.TIMEOUT)
    assert (proxy.stat("cluster.c.upstream_rq_per_try_timeout") or 0) >= 1
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 0)


async def first_given_up(proxy: Proxy, timeout_header: bytes, **attachments: str) -> int:
    """Which of two calls to an endpoint that never answers is given up first, over a route with a timeout of 80 ms.

    The first is sent with the attachments. With equal timeouts it is the first to be given up.
    """
    codec = DubboCodec()
    proxy.cluster("c", (await proxy.origin(deaf)).port)
    proxy.route(forward(timeout=0.08))
    config = RpcProxyConfig("test", RdsReference("r"), "dubbo", timeout_header=timeout_header)
    proxy.listen("rpc", config, 0)
    client = await proxy.client()
    await client.send(dubbo.request(1, "s", "m", extra=attachments) + dubbo.request(2, "s", "m"))
    frame = codec.split(await client.read(), 1 << 20)[0][0]
    assert frame[7] == SERVER_TIMEOUT
    return frame[3]


@pytest.mark.parametrize(
    ("header", "attachments", "expected"),
    [
        (b"timeout", {"timeout": "20"}, 1),
        (b"timeout", {"timeout": "3600000"}, 2),  # the application may ask for more than the route gives
        (b"timeout", {"timeout": "soon"}, 1),
        (b"timeout", {}, 1),
        (b"", {"timeout": "3600000"}, 1),
    ],
)
async def test_an_attachment_says_how_long_a_request_may_take(
    proxy: Proxy, header: bytes, attachments: dict[str, str], expected: int
) -> None:
    assert await first_given_up(proxy, header, **attachments) == expected


@pytest.mark.parametrize(("cached", "made"), [(True, 1), (False, 5)])
async def test_the_route_cache_can_be_switched_off(proxy: Proxy, cached: bool, made: int) -> None:
    proxy.cluster("c", (await proxy.origin(echo)).port)
    proxy.route(forward())
    rpc(proxy, route_cache=cached)
    client = Frames(await proxy.client())
    for identifier in range(5):
        await client.peer.send(request(identifier, HEADER, b"x"))
        assert await client.response() == (identifier, 0, b"x")
    assert proxy.stat("rpc.test.plan_memo_misses") == made


async def test_what_waits_for_connections_is_bounded_over_all_of_them(proxy: Proxy) -> None:
    first, second = await proxy.origin(echo), await proxy.origin(echo)
    proxy.cluster("c", first.port, second.port, thresholds=Thresholds(max_pending_requests=3))
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    # They come in one read, before either connection is there.
    await client.peer.send(b"".join(request(i, HEADER) for i in range(5)))
    codes = [(await client.response())[1] for _ in range(5)]
    assert sorted(codes) == [0, 0, 0, status.SERVER_THREADPOOL_BUSY, status.SERVER_THREADPOOL_BUSY]
    assert proxy.stat("cluster.c.upstream_rq_pending_total") == 3
    assert proxy.stat("cluster.c.upstream_rq_pending_active") == 0
    assert proxy.stat("cluster.c.upstream_rq_pending_overflow") == 2


async def test_overflows_of_running_requests_are_counted_and_nothing_stays_pending(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(deaf)).port, thresholds=Thresholds(max_requests=1))
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, HEADER, timeout=100) + request(2, HEADER))
    assert (await client.response())[:2] == (2, status.SERVER_THREADPOOL_BUSY)
    assert proxy.stat("cluster.c.upstream_rq_active_overflow") == 1
    assert (await client.response())[:2] == (1, status.TIMEOUT)
    assert proxy.stat("cluster.c.upstream_rq_pending_active") == 0
    assert proxy.clusters.get("c").breakers[0].pending == 0  # type: ignore[union-attr]


async def test_endpoints_that_fail_are_ejected(proxy: Proxy) -> None:
    async def failing(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            await peer.send(answer(frame, data, status=status.SERVER_EXCEPTION))

    bad, good = await proxy.origin(failing), await proxy.origin(echo)
    outliers = OutlierDetectionConfig(consecutive_5xx=3, max_ejection_percent=50)
    proxy.cluster("c", bad.port, good.port, outlier_detection=outliers)
    proxy.route(forward())
    rpc(proxy)
    client = Frames(await proxy.client())
    codes = []
    for identifier in range(30):
        await client.peer.send(request(identifier, HEADER, b"x"))
        codes.append((await client.response())[1])
    assert codes.count(status.SERVER_EXCEPTION) == 3
    assert codes[-10:] == [0] * 10
    assert proxy.stat("cluster.c.outlier_detection.ejections_enforced_consecutive_5xx") == 1
