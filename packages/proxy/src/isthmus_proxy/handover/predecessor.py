"""The serving process's side of a hot upgrade: gives its sockets to a successor, and steps back when that serves."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import trio

from isthmus_proxy.handover.channel import Channel, listen
from isthmus_proxy.handover.messages import (
    MAX_SOCKETS,
    VERSION,
    Ask,
    Counters,
    HandoverError,
    Refused,
    SocketName,
    Sockets,
    difference,
    in_messages,
)

_log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
RETRY_SECONDS = 0.1
READY_SECONDS = 600.0
"""How long a successor may take to load its configuration and hear from the control plane."""


class Serving(Protocol):
    """The proxy, as far as it can be handed over."""

    def sockets(self) -> Iterable[tuple[SocketName, socket.socket]]:
        """What it listens on."""

    def counters(self) -> Counters:
        """What it has counted."""

    async def step_back(self) -> None:
        """Accept nothing any more and close the admin port, at once. Connections go on."""


class Predecessor:
    """Serves at ``path`` until a successor has taken over; then calls ``superseded``, and later ``finish`` says the rest."""

    def __init__(self, path: Path, epoch: int, serving: Serving, superseded: Callable[[], None]) -> None:
        """``epoch``: how many processes this one came after. Raises HandoverError if ``path`` cannot be listened on."""
        self._path = path
        self._epoch = epoch
        self._serving = serving
        self._superseded = superseded
        self._busy = False
        self._heir: Channel | None = None
        self._told: Counters = {}
        self._sock = listen(path)
        self._inode = path.stat().st_ino

    async def run(self) -> None:
        """Answer successors, one at a time, until one has taken over."""
        with self._sock:
            async with trio.open_nursery() as nursery:
                while self._heir is None:
                    await trio.lowlevel.wait_readable(self._sock)
                    try:
                        sock, _ = self._sock.accept()
                    except OSError:  # it gave up, or there are no descriptors: it will ask again
                        await trio.sleep(RETRY_SECONDS)
                        continue
                    sock.setblocking(False)
                    nursery.start_soon(self._serve, Channel(sock), nursery.cancel_scope)

    async def _serve(self, channel: Channel, all_of_them: trio.CancelScope) -> None:
        """One that wants to succeed. Whatever goes wrong with it, this process goes on."""
        try:
            channel.check_peer()
            if self._busy:
                await channel.receive(ANSWER_SECONDS)
                await channel.send(Refused("another process is taking over already"), ANSWER_SECONDS)
                return
            self._busy = True
            try:
                await self._hand_over(channel)
            finally:
                self._busy = False
        except HandoverError as error:
            if self._heir is channel:
                _log.warning("the process that has taken over did not take all counters: %s", error)
            else:
                _log.warning("a process wanted to take over, and this one goes on alone: %s", error)
        finally:
            if self._heir is not channel:
                channel.close()
        if self._heir is channel:
            all_of_them.cancel()
            self._superseded()

    async def _hand_over(self, channel: Channel) -> None:
        await self._expect(channel, "sockets", ANSWER_SECONDS)
        await self._give_sockets(channel)
        await self._expect(channel, "over", READY_SECONDS)
        await self._serving.step_back()
        self._heir = channel  # from here on there is no way back
        self._told = self._serving.counters()
        for counters in in_messages(self._told, more=True):
            await channel.send(counters, ANSWER_SECONDS)

    async def _give_sockets(self, channel: Channel) -> None:
        pairs = list(self._serving.sockets())
        _log.info("another process takes over: it is given %d listening sockets", len(pairs))
        for start in range(0, max(1, len(pairs)), MAX_SOCKETS):
            piece = pairs[start : start + MAX_SOCKETS]
            names = tuple(name for name, _ in piece)
            message = Sockets(names, self._epoch, start + MAX_SOCKETS < len(pairs))
            await channel.send(message, ANSWER_SECONDS, [sock for _, sock in piece])

    async def _expect(self, channel: Channel, what: str, seconds: float) -> None:
        message, socks = await channel.receive(seconds)
        for sock in socks:
            sock.close()
        if not isinstance(message, Ask) or message.what != what:
            raise HandoverError(f"expected a wish for {what}, got {message}")
        if message.version != VERSION:
            reason = f"this process hands over by version {VERSION} of the protocol, not {message.version}: restart it instead"
            await channel.send(Refused(reason), ANSWER_SECONDS)
            raise HandoverError(reason)

    async def finish(self) -> None:
        """Tell the successor what was counted since, and hang up; without one, give the path up."""
        channel, self._heir = self._heir, None
        self._sock.close()
        if channel is None:
            if self._path.exists() and self._path.stat().st_ino == self._inode:
                self._path.unlink(missing_ok=True)
            return
        try:
            for counters in in_messages(difference(self._serving.counters(), self._told), more=False):
                await channel.send(counters, 1.0)
        except HandoverError as error:
            _log.warning("what was counted at the end is lost: %s", error)
        finally:
            channel.close()
