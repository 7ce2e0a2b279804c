"""The new process's side of a hot upgrade: gets the listening sockets, and takes over once it can serve."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from isthmus_proxy.handover.channel import Channel, close_all, connect
from isthmus_proxy.handover.messages import (
    Ask,
    Counters,
    CounterValues,
    HandoverError,
    Message,
    Refused,
    SocketName,
    Sockets,
)

_log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
MOST_SOCKETS = 16_384
"""Sockets that are taken; more of them mean that something else is at the other end."""


class Successor:
    """``sockets`` are those of the predecessor, which serves on until ``take_over``."""

    def __init__(self, channel: Channel, sockets: dict[SocketName, socket.socket], epoch: int) -> None:
        self._channel = channel
        self.sockets = sockets
        self.epoch = epoch
        """How many processes this one comes after."""

    async def take_over(self, count: Callable[[Counters], None]) -> None:
        """Let the predecessor step back; ``count`` gets what it has counted. Raises HandoverError if it did not answer."""
        await self._channel.send(Ask("over"), ANSWER_SECONDS)
        message = await self._counters(ANSWER_SECONDS)
        count(message.values)

    async def listen_on(self, count: Callable[[Counters], None], seconds: float) -> None:
        """Take what the predecessor counts until it ends, for at most ``seconds`` between two messages."""
        try:
            more = True
            while more:
                message = await self._counters(seconds)
                count(message.values)
                more = message.more
            _log.info("the process before this one has ended")
        except HandoverError as error:
            _log.warning("what the process before this one counted at its end is lost: %s", error)
        finally:
            self._channel.close()

    async def _counters(self, seconds: float) -> CounterValues:
        message = await _receive(self._channel, seconds)
        if not isinstance(message, CounterValues):
            raise HandoverError(f"expected counters, got {message}")
        return message

    def close(self) -> None:
        """Leave the predecessor as it is."""
        self._channel.close()
        close_all(list(self.sockets.values()))


async def meet(path: Path) -> Successor | None:
    """Get the sockets of the process that serves at ``path``; None where there is none. Raises HandoverError."""
    channel = connect(path)
    if channel is None:
        return None
    sockets: dict[SocketName, socket.socket] = {}
    try:
        channel.check_peer()
        await channel.send(Ask("sockets"), ANSWER_SECONDS)
        epoch = await _receive_sockets(channel, sockets)
    except HandoverError:
        channel.close()
        close_all(list(sockets.values()))
        raise
    return Successor(channel, sockets, epoch + 1)


async def _receive_sockets(channel: Channel, found: dict[SocketName, socket.socket]) -> int:
    while True:
        message, socks = await channel.receive(ANSWER_SECONDS)
        if not isinstance(message, Sockets) or len(message.names) != len(socks) or len(found) > MOST_SOCKETS:
            close_all(socks)
            raise HandoverError(_said(message))
        found.update(zip(message.names, socks, strict=True))
        if not message.more:
            return message.epoch


async def _receive(channel: Channel, seconds: float) -> Message:
    message, socks = await channel.receive(seconds)
    close_all(socks)
    if isinstance(message, Refused):
        raise HandoverError(_said(message))
    return message


def _said(message: Message) -> str:
    return message.reason if isinstance(message, Refused) else f"expected sockets with their names, got {message}"
