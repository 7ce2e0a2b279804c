"""gRPC calls for trio tasks: sent and received by ``await``, with back-pressure on both sides, cancelled with their task."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio

from isthmus_proxy.grpc.call import CallOptions
from isthmus_proxy.grpc.client import DEFAULTS, GrpcClient
from isthmus_proxy.grpc.status import INTERNAL, GrpcError, Metadata, Outcome

_UNREAD_BYTES = 1024 * 1024
"""Received bytes beyond which the server's window is withheld until they are read."""


class TaskCall:
    """One call of any kind: use it as a context, ``send`` and ``receive`` until GrpcError, which also tells success (status 0).

    One task may send while another receives.
    """

    def __init__(self, client: GrpcClient, cluster: str, path: str, options: CallOptions = DEFAULTS) -> None:
        self._received: list[bytes] = []
        self._unread = 0
        self._ended: Outcome | None = None
        self._news = trio.Event()
        self._room = trio.Event()
        self._call = client.call(cluster, path, self, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    @property
    def initial_metadata(self) -> Metadata:
        """The fields of the response head, once it is here."""
        return self._call.initial_metadata

    @property
    def unread(self) -> list[bytes]:
        """Messages that are here and were not received; they stay after the end of the call."""
        return self._received

    async def send(self, message: bytes) -> None:
        """Send one message, and wait while the server takes too little. Raises GrpcError if the call is over."""
        self._check_open()
        if self._call.send(message):
            await trio.lowlevel.checkpoint()
        else:
            await self._wait_for_room()

    async def wait_started(self) -> None:
        """Wait until the call has a connection. Raises GrpcError if it gets none."""
        while not self._call.started:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._check_open()
        if self._room.is_set():
            self._room = trio.Event()
        await self._room.wait()
        self._check_open()

    def finish(self) -> None:
        """No more messages will be sent."""
        self._call.finish()

    async def receive(self) -> list[bytes]:
        """Wait for messages and return those that are here, at least one. Raises GrpcError at the end of the call."""
        while not self._received:
            self._check_open()
            self._news = trio.Event()
            await self._news.wait()
        received, self._received = self._received, []
        if self._unread > _UNREAD_BYTES:
            self._call.resume()
        self._unread = 0
        await trio.lowlevel.checkpoint_if_cancelled()
        return received

    async def wait_closed(self) -> None:
        """Wait for the end of the call, whatever it is; messages are not waited for."""
        while self._ended is None:
            self._news = trio.Event()
            await self._news.wait()

    def cancel(self) -> None:
        """Give the call up, if it is not over."""
        self._call.cancel()

    def _check_open(self) -> None:
        ended = self._ended
        if ended is not None:
            raise GrpcError(ended.status, ended.message, ended.metadata)

    # ---- CallListener ----

    def message_received(self, message: bytes) -> None:
        """Keep it for ``receive``."""
        before = self._unread
        self._received.append(message)
        self._unread = before + len(message)
        if before <= _UNREAD_BYTES < self._unread:
            self._call.pause()
        self._news.set()

    def writable(self) -> None:
        """Let ``send`` go on."""
        self._room.set()

    def closed(self, outcome: Outcome) -> None:
        """Nothing more comes."""
        self._ended = outcome
        self._news.set()
        self._room.set()


async def unary(
    client: GrpcClient, cluster: str, path: str, message: bytes, options: CallOptions = DEFAULTS
) -> tuple[bytes, Metadata]:
    """Send ``message`` and wait for the answer: (message, trailing metadata). Raises GrpcError without one."""
    with TaskCall(client, cluster, path, options) as call:
        answer: bytes | None = None
        try:
            await call.send(message)
            call.finish()
            while True:
                answer = (await call.receive())[-1]
        except GrpcError as end:
            if end.status:
                raise
            if call.unread:  # a quick server has answered and ended the call before ``send`` came back
                answer = call.unread[-1]
            if answer is None:
                raise GrpcError(INTERNAL, "the server answered without a message", end.metadata) from None
            return answer, end.metadata
