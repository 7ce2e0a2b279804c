"""Finds out whether the application lives: while it does not, what it published is told to be of no use."""

from __future__ import annotations

import logging

import trio

from isthmus_proxy.codec.rpc import HEARTBEAT_REPLY, SEALED, RpcCodec, RpcProtocolError
from isthmus_proxy.registry_api.model import ApplicationCheck
from isthmus_proxy.registry_api.registry import ApplicationRegistry

_log = logging.getLogger(__name__)

_MAX_REPLY = 1024


async def watch(check: ApplicationCheck, codec: RpcCodec, registry: ApplicationRegistry) -> None:
    """Check until cancelled."""
    failed = 0
    while True:
        with trio.move_on_after(check.timeout) as waited:
            alive = await _lives(check.port, codec)
        failed = 0 if alive and not waited.cancelled_caught else failed + 1
        if failed == 0 and not registry.alive:
            _log.info("the application on port %d is back: what it published counts again", check.port)
            registry.set_alive(True)
        elif failed == check.failures:
            _log.warning("the application on port %d does not answer: what it published does not count", check.port)
            registry.set_alive(False)
        await trio.sleep(check.interval)


async def _lives(port: int, codec: RpcCodec) -> bool:
    """Whether somebody on ``port`` answers a heartbeat, or takes a connection where the protocol has none."""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            heartbeat = codec.heartbeat(1, 0)
            if not heartbeat:
                return True
            await stream.send_all(heartbeat)
            held = b""
            while len(held) < _MAX_REPLY:
                data = await stream.receive_some(_MAX_REPLY)
                if not data:
                    return False
                held += data
                frames, _, _ = codec.split(held, _MAX_REPLY)
                if frames:
                    return frames[0][0] & ~SEALED == HEARTBEAT_REPLY
            return False
    except (OSError, trio.BrokenResourceError, RpcProtocolError):
        return False
