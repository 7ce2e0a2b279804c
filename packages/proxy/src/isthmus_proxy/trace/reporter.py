"""Spans on their way to a collector: a bounded queue, sent in batches by one task. A slow collector delays no request."""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.trace.model import Collector
from isthmus_proxy.trace.otlp import export_request
from isthmus_proxy.trace.span import FinishedSpan
from isthmus_proxy.trace.zipkin import report as zipkin_report

FLUSH_SECONDS = 1.0
"""How long spans wait for others at most."""
BATCH = 256
LAST_SECONDS = 2.0
"""How long the last report may take when its tracer goes."""

_log = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends one report to a collector."""

    async def __call__(self, collector: Collector, body: bytes) -> None:
        """Raises OSError with a reason if the collector did not take it; LookupError if there is no such cluster."""


class Reporter:
    """``add`` never waits. ``run`` sends until ``close``; then it sends what is left."""

    def __init__(self, collector: Collector, scope: StatsScope, send: Sender, service_name: str) -> None:
        self._collector = collector
        self._send = send
        self._service_name = service_name
        self._queue: list[FinishedSpan] = []
        self._wake = trio.Event()
        self._closed = False
        zipkin = collector.kind == "zipkin"
        self._scope = scope
        self._sent = scope.counter("spans_sent")
        self._dropped = scope.counter("reports_dropped" if zipkin else "spans_dropped")
        self._failed = scope.counter("reports_failed")
        self._reports = scope.counter("reports_sent")
        self._no_cluster = scope.counter("reports_skipped_no_cluster")
        self._flushed = scope.counter("timer_flushed")
        self._complained = False

    def add(self, span: FinishedSpan) -> None:
        """Queue a span, or count it as dropped."""
        if len(self._queue) >= self._collector.max_spans:
            self._dropped.value += 1
            return
        self._queue.append(span)
        if len(self._queue) == 1 or len(self._queue) == BATCH:
            self._wake.set()

    def close(self) -> None:
        """Send what is left and end."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Send until closed."""
        while await self._due():
            await self._send_all()
        with trio.move_on_after(LAST_SECONDS, shield=True):
            await self._send_all()
        self._scope.close()

    async def _due(self) -> bool:
        """Wait until there are spans to send, more of them or for some time. False once closed."""
        await self._woken()
        if self._closed or len(self._queue) >= BATCH:
            return not self._closed
        with trio.move_on_after(FLUSH_SECONDS) as waited:
            await self._woken()
        if waited.cancelled_caught:
            self._flushed.value += 1
        return not self._closed

    async def _woken(self) -> None:
        await self._wake.wait()
        self._wake = trio.Event()
        if self._closed:
            self._wake.set()

    async def _send_all(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            await self._report(batch)

    async def _report(self, batch: list[FinishedSpan]) -> None:
        collector = self._collector
        try:
            with trio.fail_after(collector.timeout):
                await self._send(collector, self._encode(batch))
        except LookupError as error:
            self._no_cluster.value += 1
            self._complain(batch, str(error))
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            self._failed.value += 1
            self._complain(batch, str(error) or f"no answer within {collector.timeout:g} s")
        else:
            self._complained = False
            self._reports.value += 1
            self._sent.value += len(batch)

    def _encode(self, batch: list[FinishedSpan]) -> bytes:
        collector = self._collector
        if collector.kind != "zipkin":
            return export_request(batch, self._service_name)
        return zipkin_report(batch, self._service_name, shared=collector.shared_span_context)

    def _complain(self, batch: list[FinishedSpan], reason: str) -> None:
        self._dropped.value += len(batch)
        if not self._complained:
            self._complained = True
            _log.warning("spans are lost: collector of cluster %s: %s", self._collector.cluster, reason)
