"""No response ever reaches a request that it does not answer: whatever the order, the losses, and where identifiers wrap."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_proxy.codec.bolt.testing import V1, BoltVersion, request, response
from isthmus_proxy.codec.rpc import Frame
from isthmus_proxy.route.model import RetryPolicy
from isthmus_proxy.rpc.rpc_proxy import RpcProxy
from isthmus_proxy.rpc.testing import CODEC, HEADER, Frames, answer, rpc
from isthmus_proxy.testing import Peer, Proxy, forward, running_proxy

RETRY = RetryPolicy(frozenset({"reset"}), 2, base_interval=0.001)
VERSIONS = (V1, BoltVersion(2), BoltVersion(2, 2, 1))


class Unruly:
    """An origin that answers in any order, some requests twice, some not at all, says what nobody asked, and hangs up at times."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def __call__(self, peer: Peer, number: int) -> None:
        draw, held = self._random, []
        frames = Frames(peer)
        while True:
            held.append(await frames.next())
            if number and draw.random() < 0.05:
                return
            if draw.random() < 0.4:
                continue
            draw.shuffle(held)
            await peer.send(b"".join(self._said_to(*each) for each in held))
            held.clear()

    def _said_to(self, frame: Frame, data: bytes) -> bytes:
        draw = self._random
        told = answer(frame, data, status=draw.choice((0, 0, 0, 4, 2)))
        if draw.random() < 0.1:
            told += told
        if draw.random() < 0.1:
            told += response(draw.getrandbits(32) & 0x7FFFFFFF | 0x100000, b"nobody asked")
        return told if draw.random() < 0.95 else b""


def rpc_proxy(proxy: Proxy) -> RpcProxy:
    for listener in proxy.listeners.serving():
        assert listener.current is not None
        found = listener.current.chains[0].network_filter
        assert isinstance(found, RpcProxy)
        return found
    raise AssertionError("nothing listens")


async def client(proxy: Proxy, name: int, batches: list[list[int]], seed: int, hangs_up: bool) -> None:
    draw = random.Random(seed)
    peer = await proxy.client()
    frames = Frames(peer)
    waiting: dict[int, bytes] = {}
    serial = 0
    for batch in batches:
        sent = b""
        for identifier in batch:
            if identifier not in waiting:
                serial += 1
                token = b"client %d request %d of identifier %d;" % (name, serial, identifier)
                waiting[identifier] = token
                sent += request(identifier, HEADER, token, version=draw.choice(VERSIONS), timeout=100)
        cut = draw.randrange(len(sent) + 1)
        await peer.send(sent[:cut])
        await peer.send(sent[cut:])
        for _ in range(draw.randrange(len(waiting) + 1)):
            await _answered(frames, waiting)
    if hangs_up:
        await peer.close()
        return
    while waiting:
        await _answered(frames, waiting)


async def until_the_end(mode: str, play: Callable[..., Awaitable[None]], *arguments: object) -> None:
    try:
        await play(*arguments)
    except (EOFError, trio.BrokenResourceError):
        if mode != "BOUND":  # there, an endpoint that hangs up ends the client's connection
            raise


async def _answered(frames: Frames, waiting: dict[int, bytes]) -> None:
    with trio.fail_after(20):
        frame, data = await frames.next()
    token = waiting.pop(frame[3])
    body = data[frame[6] :]
    if data[0] == 2 and data[1] == 2 and data[11] & 1:
        assert data == CODEC.set_id(data, frame[3])
        body = body[:-4]
    assert not body or body.startswith(token), (body, token)


async def _play(
    seed: int, batches: list[list[list[int]]], hang_ups: set[int], start: int, retries: bool, mode: str
) -> None:
    async with running_proxy() as proxy:
        origins = [await proxy.origin(Unruly(seed + number)) for number in range(2)]
        proxy.cluster("c", *(origin.port for origin in origins[: 1 + seed % 2]))
        proxy.route(forward(retry=RETRY if retries else None))
        rpc(proxy, pool_mode=mode)
        served = rpc_proxy(proxy)
        served.first_id = start
        async with trio.open_nursery() as nursery:
            for number, each in enumerate(batches):
                nursery.start_soon(until_the_end, mode, client, proxy, number, each, seed + number, number in hang_ups)
        assert served.stats.rq_active.value >= 0
        cluster = proxy.clusters.get("c")
        assert cluster is not None
        assert cluster.breakers[0].active_requests >= 0


identifiers = st.integers(0, 5) | st.sampled_from((0xFFFFFFFF, 0xFFFFFFFE, 0x80000000))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.lists(st.lists(st.lists(identifiers, min_size=1, max_size=12), min_size=1, max_size=4), min_size=1, max_size=4),
    st.sets(st.integers(0, 3), max_size=1),
    st.sampled_from((0, 0xFFFFFFF0, 0xFFFFFFFE)),
    st.booleans(),
    st.sampled_from(("MULTIPLEX", "MULTIPLEX", "PING_PONG", "BOUND")),
)
def test_no_response_reaches_a_wrong_request(
    seed: int, batches: list[list[list[int]]], hang_ups: set[int], start: int, retries: bool, mode: str
) -> None:
    trio.run(_play, seed, batches, hang_ups, start, retries, mode)
