"""An application that answers heartbeats lives; one that does not has its publications withdrawn."""

from __future__ import annotations

import pytest
import trio

from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.registry_api.application_check import watch
from isthmus_proxy.registry_api.model import ApplicationCheck
from isthmus_proxy.registry_api.registry import ApplicationRegistry
from isthmus_proxy.testing import eventually

pytestmark = pytest.mark.trio


async def test_publications_follow_the_application() -> None:
    codec, registry, answers = BoltCodec(), ApplicationRegistry(), [True]

    async def application(stream: trio.SocketStream) -> None:
        async with stream:
            asked = await stream.receive_some(100)
            await stream.send_all(codec.heartbeat_reply(bytes(asked)) if answers[0] else b"nonsense" * 5)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    check = ApplicationCheck(port, "bolt", interval=0.01, timeout=1.0, failures=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, application, listeners)
        nursery.start_soon(watch, check, codec, registry)
        registry.set_alive(False)
        await eventually(lambda: registry.alive)
        answers[0] = False
        await eventually(lambda: not registry.alive)
        answers[0] = True
        await eventually(lambda: registry.alive)
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_dead() -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        check = ApplicationCheck(taken.getsockname()[1], "bolt", interval=0.01, failures=1)
        registry = ApplicationRegistry()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, check, BoltCodec(), registry)
            await eventually(lambda: not registry.alive)
            nursery.cancel_scope.cancel()
