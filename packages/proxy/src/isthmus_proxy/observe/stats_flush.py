"""Sends stats to a statsd server at an interval. What does not get through is counted and not sent again."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Protocol

import trio

from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.statsd import StatsdConfig, StatsdLines, datagrams

SEND_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Addresses(Protocol):
    """Where a cluster's endpoints are."""

    def __call__(self, cluster: str, /) -> tuple[str, int] | None:
        """One of them; None without."""


class StatsFlush:
    """``run`` sends until cancelled. ``refresh`` brings gauges that are computed on reading up to date."""

    def __init__(
        self, config: StatsdConfig, store: StatsStore, refresh: Callable[[], None], addresses: Addresses
    ) -> None:
        self._config = config
        self._store = store
        self._refresh = refresh
        self._addresses = addresses
        self._lines = StatsdLines(config.prefix, tagged=config.tagged)
        scope = store.scope("stats_sink.statsd")
        self._sent = scope.counter("flushes_sent")
        self._failed = scope.counter("flushes_failed")
        self._complained = False

    async def run(self) -> None:
        """Flush, wait, and so on."""
        while True:
            await trio.sleep(self._config.interval)
            self._refresh()
            try:
                with trio.fail_after(SEND_SECONDS):
                    await (self._stream() if self._config.cluster else self._datagrams())
            except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
                self._failed.value += 1
                if not self._complained:
                    _log.warning("stats do not get to their sink: %s", error or "it takes too long")
                self._complained = True
            else:
                self._sent.value += 1
                self._complained = False

    async def _datagrams(self) -> None:
        config = self._config
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
            await sock.connect((config.host, config.port))
            for data in datagrams(self._lines.take(self._store), config.datagram_bytes):
                if data:
                    await sock.send(data)
                else:
                    await trio.lowlevel.checkpoint()

    async def _stream(self) -> None:
        address = self._addresses(self._config.cluster)
        if address is None:
            raise OSError(f"cluster {self._config.cluster} has no endpoint")
        stream = await trio.open_tcp_stream(*address)
        try:
            for data in datagrams(self._lines.take(self._store), 64 * 1024):
                if data:
                    await stream.send_all(data + b"\n")
                else:
                    await trio.lowlevel.checkpoint()
        finally:
            await trio.aclose_forcefully(stream)
