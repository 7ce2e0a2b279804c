"""Dubbo through the same machinery: calls, one-way calls, READONLY as a farewell, other serialisations, errors."""

from __future__ import annotations

import pytest

from isthmus_proxy.codec.dubbo.codec import DubboCodec
from isthmus_proxy.codec.dubbo.testing import frame, request, response
from isthmus_proxy.codec.rpc import GOAWAY, HEARTBEAT, HEARTBEAT_REPLY, ONE_WAY, Frame
from isthmus_proxy.listener.model import RdsReference, RpcProxyConfig
from isthmus_proxy.route.model import ClusterWeight, ForwardAction, HeaderMatch, Route, RouteMatch, StringMatch
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio
CODEC = DubboCodec()


class Frames:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._held = b""

    async def next(self) -> tuple[Frame, bytes]:
        while True:
            frames, _, _ = CODEC.split(self._held, 1 << 24)
            if frames:
                data, self._held = self._held[: frames[0][2]], self._held[frames[0][2] :]
                return frames[0], data
            more = await self.peer.read()
            if not more:
                raise EOFError
            self._held += more


def named(name: str) -> object:
    async def script(peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            got, data = await frames.next()
            if got[0] == HEARTBEAT:
                await peer.send(CODEC.heartbeat_reply(data))
            elif got[0] != ONE_WAY:
                await peer.send(response(got[3], b"\x94" + name.encode()))

    return script


def serve(proxy: Proxy, **options: object) -> None:
    config = RpcProxyConfig("test", RdsReference("r"), "dubbo", **options)  # type: ignore[arg-type]
    proxy.listen("rpc", config, 0)


async def test_calls_are_routed_by_interface_method_and_attachments(proxy: Proxy) -> None:
    for name in ("blue", "green"):
        proxy.cluster(name, (await proxy.origin(named(name))).port)  # type: ignore[arg-type]
    gray = HeaderMatch(b"tag", StringMatch("exact", b"gray"))
    proxy.route(
        Route(RouteMatch(StringMatch("prefix", b"/"), (gray,)), ForwardAction((ClusterWeight("green"),), 1)),
        Route(RouteMatch(StringMatch("exact", b"/say")), ForwardAction((ClusterWeight("blue"),), 1)),
    )
    serve(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(
        request(1, "com.x.A", "say")
        + request(2**64 - 1, "com.x.A", "say", extra={"tag": "gray"})
        + request(3, "com.x.A", "other")
        + request(4, "com.x.A", "say", two_way=False)
    )
    got = {}
    for _ in range(3):
        answer, data = await client.next()
        got[answer[3]] = (answer[7], data[17:])
    assert got[1] == (20, b"blue")
    assert got[2**64 - 1] == (20, b"green")
    assert got[3][0] == 60
    assert proxy.stat("rpc.test.downstream_rq_one_way") == 1
    assert proxy.stat("rpc.test.service.com.x.A.method.say.rq_success") == 2


async def test_other_serialisations_go_where_everything_goes(proxy: Proxy) -> None:
    proxy.cluster("c", (await proxy.origin(named("x"))).port)  # type: ignore[arg-type]
    proxy.route(forward())
    serve(proxy)
    client = Frames(await proxy.client())
    await client.peer.send(frame(0xC6, 9, b'"2.0.2"\n"com.x.A"\n'))
    answer, _ = await client.next()
    assert (answer[3], answer[7]) == (9, 20)


async def test_readonly_moves_calls_and_heartbeats_are_echoed(proxy: Proxy) -> None:
    async def script(peer: Peer, number: int) -> None:
        frames = Frames(peer)
        while True:
            got, _ = await frames.next()
            if number == 0:
                await peer.send(CODEC.goaway(0))
                await eventually(lambda: proxy.stat("rpc.test.upstream_goaway") == 1)
            await peer.send(response(got[3], b"\x94%d" % number))

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward())
    serve(proxy, goaway=True)
    client = Frames(await proxy.client())
    await client.peer.send(request(1, "s", "m"))
    assert (await client.next())[1].endswith(b"0")
    await client.peer.send(request(2, "s", "m") + frame(0xE2, 3, b"N"))
    seen = [await client.next() for _ in range(2)]
    assert {each[0][0] for each in seen} >= {HEARTBEAT_REPLY}
    assert any(data.endswith(b"1") for _, data in seen)
    proxy.listeners.remove("rpc")
    assert (await client.next())[0][0] == GOAWAY
