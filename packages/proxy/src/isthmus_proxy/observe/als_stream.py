"""Access logs to a log service (service.accesslog.v3): entries wait in a bounded queue for one task, which has the stream."""

from __future__ import annotations

import logging
from typing import Any

import trio
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.status import GrpcError
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import GrpcLogTarget
from isthmus_proxy.observe.als_entry import http_entry
from isthmus_proxy.observe.stats_scope import StatsScope

PATH = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
MAX_WAITING = 8192
"""Entries that wait at most; more are dropped."""
PAUSE_SECONDS = 1.0
SEND_SECONDS = 5.0

_log = logging.getLogger(__name__)


class AlsStream:
    """``run`` sends until ``close``; then it sends what is left."""

    def __init__(self, target: GrpcLogTarget, node: Any, scope: StatsScope, grpc: GrpcClient) -> None:
        self._target = target
        self._node = node
        self._grpc = grpc
        self._scope = scope
        self._written = scope.counter("logs_written")
        self._dropped = scope.counter("logs_dropped")
        self._waiting: list[Any] = []
        self._bytes = 0
        self._sending = 0
        self._wake = trio.Event()
        self._closed = False
        self._complained = False

    def add(self, info: StreamInfo) -> None:
        """Queue the entry of an exchange, or count it as dropped."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped.value += 1
            return
        target = self._target
        entry = http_entry(info, target.request_headers, target.response_headers)
        self._waiting.append(entry)
        self._bytes += entry.ByteSize()
        if len(self._waiting) == 1 or self._bytes >= target.buffer_bytes:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Send what is left and end."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Keep a stream while there is something to send over it."""
        while not self._closed:
            await self._wake.wait()
            try:
                await self._stream()
            except (GrpcError, trio.TooSlowError) as error:
                self._lost(error)
            if not self._closed:
                await trio.sleep(PAUSE_SECONDS)
        self._scope.close()

    async def _stream(self) -> None:
        lost: BaseException | None = None
        with TaskCall(self._grpc, self._target.cluster, PATH) as call:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_listen, call)
                    await self._send(call)
                    nursery.cancel_scope.cancel()
            except* (GrpcError, trio.TooSlowError) as group:
                lost = _first(group)
            if lost is not None:
                raise lost  # here: what is raised among the clauses above may come out within a group
            call.finish()
            with trio.move_on_after(SEND_SECONDS):
                await call.wait_closed()

    async def _send(self, call: TaskCall) -> None:
        message = StreamAccessLogsMessage()
        message.identifier.node.CopyFrom(self._node)
        message.identifier.log_name = self._target.log_name
        while True:
            await self._due()
            batch, self._waiting, self._bytes = self._waiting, [], 0
            if batch:
                message.http_logs.log_entry.extend(batch)
                self._sending = len(batch)
                with trio.fail_after(SEND_SECONDS):
                    await call.send(message.SerializeToString())
                self._written.value += len(batch)
                self._sending = 0
                self._complained = False
                message = StreamAccessLogsMessage()
            if self._closed:
                return

    async def _due(self) -> None:
        """Wait for entries, for more of them or for some time."""
        if not self._waiting:
            await self._woken()
        if self._bytes < self._target.buffer_bytes and not self._closed:
            with trio.move_on_after(self._target.flush_seconds):
                while self._bytes < self._target.buffer_bytes and not self._closed:
                    await self._woken()

    async def _woken(self) -> None:
        self._wake = trio.Event()
        await self._wake.wait()

    def _lost(self, error: BaseException) -> None:
        self._dropped.value += len(self._waiting) + self._sending
        self._waiting, self._bytes, self._sending = [], 0, 0
        if not self._complained:
            _log.warning("access logs are lost: log service %s: %s", self._target.cluster, error)
        self._complained = True
        self._wake = trio.Event()


async def _listen(call: TaskCall) -> None:
    """Wait for the service to end the stream, which it does not do unless something is wrong."""
    while True:
        await call.receive()


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
