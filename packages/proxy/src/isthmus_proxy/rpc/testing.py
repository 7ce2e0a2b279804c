"""Clients and origins that speak an RPC protocol, for tests with real sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from isthmus_proxy.codec.bolt import testing as bolt
from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.codec.rpc import RESPONSE, SEALED, Frame
from isthmus_proxy.listener.model import RdsReference, RpcProxyConfig
from isthmus_proxy.rpc.model import RpcLimits
from isthmus_proxy.testing import Peer, Proxy

CODEC = BoltCodec()
HEADER = [(b"service", b"com.x.Foo:1.0"), (b"sofa_head_method_name", b"say")]
Script = Callable[[Peer, int], Awaitable[None]]


class Frames:
    """The frames that a peer sends, one at a time."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._held = b""

    async def next(self) -> tuple[Frame, bytes]:
        """The next frame and its bytes. Raises EOFError at the end."""
        while True:
            frames, _, _ = CODEC.split(self._held, 1 << 24)
            if frames:
                end = frames[0][2]
                data, self._held = self._held[:end], self._held[end:]
                return frames[0], data
            more = await self.peer.read()
            if not more:
                raise EOFError(self._held)
            self._held += more

    async def response(self) -> tuple[int, int, bytes]:
        """The next response: (identifier, status, content)."""
        frame, data = await self.next()
        assert frame[0] & ~SEALED == RESPONSE
        return frame[3], frame[7], content(data, frame)


def content(data: bytes, frame: Frame) -> bytes:
    """The content of a frame without a check sum."""
    return data[frame[6] : frame[2]]


async def echo(peer: Peer, _number: int) -> None:
    """Answer every request with its own content."""
    frames = Frames(peer)
    while True:
        frame, data = await frames.next()
        await peer.send(answer(frame, data))


def answer(frame: Frame, data: bytes, *, status: int = 0) -> bytes:
    """The response with the content of a request; heartbeats get theirs."""
    if frame[0] & ~SEALED == 3:
        return CODEC.heartbeat_reply(data)
    version = bolt.V1 if data[0] == 1 else bolt.BoltVersion(2, data[1], data[11])
    return bolt.response(frame[3], content(data, frame), version=version, status=status)


def rpc(proxy: Proxy, *, limits: RpcLimits | None = None, **options: Any) -> int:
    """Serve Bolt with the routes of ``r``; answer the port."""
    config = RpcProxyConfig("test", RdsReference("r"), "bolt", limits=limits or RpcLimits(), **options)
    return proxy.listen("rpc", config, 0)
