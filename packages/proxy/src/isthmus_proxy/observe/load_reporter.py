"""Reports loads to a management server (LRS, ``envoy.service.load_stats.v3``), whose answers say of what, and how often."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import trio
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.message import DecodeError

from isthmus_proxy.grpc.call import CallListener, CallOptions, GrpcCall, Liveness
from isthmus_proxy.grpc.status import INTERNAL, GrpcError, Outcome
from isthmus_proxy.observe.load_book import LoadBook
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.xds.backoff import Backoff

PATH = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
SEND_ALL = "envoy.lrs.supports_send_all_clusters"
_OPTIONS = CallOptions(max_queued_bytes=16 * 1024 * 1024, liveness=Liveness())  # 1,000 clusters of 100 endpoints fit

_log = logging.getLogger(__name__)


class Caller(Protocol):
    """Begins gRPC calls (``grpc.client.GrpcClient``)."""

    def call(self, cluster: str, path: str, listener: CallListener, options: CallOptions) -> GrpcCall:
        """Begin a call to ``cluster``; ``listener`` is told what comes."""
        ...


class LoadReporter:
    """Keeps a stream to ``cluster`` and reports over it until cancelled; see the module.

    Stats under Envoy's names: ``requests`` counts answers that were received, ``responses`` reports that were sent, ``errors``
    streams that ended, ``retries`` those that were tried again.
    """

    def __init__(
        self,
        cluster: str,
        node: Any,
        book: LoadBook,
        grpc: Caller,
        scope: StatsScope,
        backoff: Backoff,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._cluster = cluster
        self._book = book
        self._grpc = grpc
        self._backoff = backoff
        self._now = now
        self._received = scope.counter("requests")
        self._sent = scope.counter("responses")
        self._errors = scope.counter("errors")
        self._retries = scope.counter("retries")
        self._node = type(node)()
        self._node.CopyFrom(node)
        if SEND_ALL not in self._node.client_features:
            self._node.client_features.append(SEND_ALL)
        self._by_endpoint = False
        self._complained = False

    async def run(self) -> None:
        """Report, and begin anew after each loss, with growing pauses."""
        while True:
            try:
                await self._serve()
            except GrpcError as error:
                self._errors.value += 1
                if not self._complained:
                    _log.warning("loads are not reported: load reporting service %s: %s", self._cluster, error)
                self._complained = True
            await trio.sleep(self._backoff.next_delay())
            self._retries.value += 1

    async def _serve(self) -> None:
        """One stream. Raises GrpcError at its end."""
        stream = _Stream()
        call = self._grpc.call(self._cluster, PATH, stream, _OPTIONS)
        try:
            # What came together while there was no stream goes with the first message.
            self._send(call, LoadStatsRequest(node=self._node))
            interval, due = float("inf"), float("inf")
            while True:
                with trio.move_on_at(due):
                    await stream.news.wait()
                if stream.ended is not None:
                    raise GrpcError(stream.ended.status, stream.ended.message, stream.ended.metadata)
                if stream.latest is not None:
                    interval = self._answered(stream.take())
                    due = self._now() + interval
                elif self._now() >= due:
                    self._send(call, LoadStatsRequest())
                    due = self._now() + interval
        finally:
            call.cancel()

    def _send(self, call: GrpcCall, request: Any) -> None:
        request.cluster_stats.extend(self._book.report(self._now(), by_endpoint=self._by_endpoint))
        # A server that does not read ends the call, once more waits for it than the options allow.
        call.send(request.SerializeToString())
        self._sent.value += 1

    def _answered(self, message: bytes) -> float:
        """Do as the server says. Returns seconds between reports. Raises GrpcError for what cannot be done."""
        try:
            answer: Any = LoadStatsResponse.FromString(message)
        except DecodeError as error:
            raise GrpcError(INTERNAL, f"an unreadable LoadStatsResponse: {error}") from None
        interval: float = answer.load_reporting_interval.ToNanoseconds() / 1e9
        if interval <= 0:
            raise GrpcError(INTERNAL, f"load_reporting_interval: {interval:g} s: must be more than 0")
        self._received.value += 1
        self._complained = False
        self._backoff.reset()
        self._by_endpoint = answer.report_endpoint_granularity
        self._book.track(None if answer.send_all_clusters else answer.clusters, self._now())
        return interval


class _Stream:
    """What the server says: its latest message, and the end. The latest counts, so no more are kept."""

    def __init__(self) -> None:
        self.latest: bytes | None = None
        self.ended: Outcome | None = None
        self.news = trio.Event()

    def take(self) -> bytes:
        """The latest message, once."""
        message, self.latest = self.latest or b"", None
        self.news = trio.Event()
        return message

    def message_received(self, message: bytes) -> None:
        """See CallListener."""
        self.latest = message
        self.news.set()

    def writable(self) -> None:
        """See CallListener: reports wait in the call."""

    def closed(self, outcome: Outcome) -> None:
        """See CallListener."""
        self.ended = outcome
        self.news.set()
