"""The gRPC edge of the registration: one stream of a sidecar is one lease."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from isthmus_api.registration.v1alpha1.registration_pb2 import RegisterRequest, RegisterResponse
from isthmus_mcp_bridge.observe.metrics import Metrics
from isthmus_mcp_bridge.registration.leases import LeaseRefused
from isthmus_mcp_bridge.registration.publications import MAX_NAME, read_publications
from isthmus_mcp_bridge.registration.registrations import Registrations

SERVICE = "isthmus.registration.v1alpha1.RegistrationService"
REQUESTS_METRIC = "isthmus_bridge_registration_requests_total"
STREAMS_METRIC = "isthmus_bridge_registration_streams_total"
EPOCH_FIELD = "isthmus-epoch"
"""With which epoch a smaller one was refused, in the trailing metadata: a sidecar whose clock went back goes on from there."""
FIRST_REQUEST_S = 10.0
"""How long a stream may stay silent before it says who it is."""
LAST_READ_S = 1.0
"""How long the end of a stream waits for its reader."""
QUIET_S = 10.0
"""A sidecar that has sent keep-alives and is silent for so long is taken for gone."""
MAX_ERRORS = 20
"""Errors told in one response."""

log = logging.getLogger(__name__)


class RegistrationService:
    """Serves sidecars; lives in one event loop."""

    def __init__(self, registrations: Registrations, metrics: Metrics) -> None:
        self._registrations = registrations
        self._metrics = metrics
        self._numbers = itertools.count(1)
        self._streams: dict[int, asyncio.Event] = {}
        self._closing = False

    @property
    def streams(self) -> int:
        """How many streams have a lease."""
        return len(self._streams)

    def close(self) -> None:
        """End all streams and take no more: the sidecars go to another replica."""
        self._closing = True
        for ended in self._streams.values():
            ended.set()

    def move_away(self) -> None:
        """End all streams, but go on taking new ones: sidecars that know of another replica go there."""
        for ended in self._streams.values():
            ended.set()

    def handlers(self) -> Any:
        """The handlers to register with a grpc.aio server."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._register, RegisterRequest.FromString, RegisterResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Register": handler})

    async def _register(self, requests: AsyncIterator[RegisterRequest], context: Any) -> None:
        if self._closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this replica is going; connect to another one")
        number = next(self._numbers)
        try:
            async with asyncio.timeout(FIRST_REQUEST_S):
                first = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {FIRST_REQUEST_S:g} s")
        if not isinstance(first, RegisterRequest):
            return
        await self._begin(number, first, context)
        ended = self._streams[number] = asyncio.Event()
        context.add_done_callback(lambda _: ended.set())
        reader = asyncio.create_task(self._read(number, first, context))
        waiter = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait([reader, waiter], return_when=asyncio.FIRST_COMPLETED)
            if ended.is_set() and not reader.done() and not context.done():
                reason = "the lease has gone to another stream, or another replica is to hold it"
                await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
        finally:
            # The lease first: a read of a call that is over may take a cancellation and go on waiting.
            self._streams.pop(number, None)
            self._registrations.leases.end(number, self._registrations.now())
            self._registrations.changed()
            log.info("the stream of %s is gone", first.node_id[:MAX_NAME])
            reader.cancel()
            waiter.cancel()
            await asyncio.wait([reader, waiter], timeout=LAST_READ_S)

    async def _begin(self, number: int, first: RegisterRequest, context: Any) -> None:
        node = first.node_id
        if not node or len(node) > MAX_NAME or not node.isprintable():
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"node_id: must be printable, of 1 to {MAX_NAME} characters"
            )
        try:
            before = self._lease(number, first)
        except LeaseRefused as refusal:
            self._metrics.count(STREAMS_METRIC, outcome="refused")
            fields = ((EPOCH_FIELD, str(refusal.epoch)),) if refusal.epoch else ()
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal), fields)
            return
        self._metrics.count(STREAMS_METRIC, outcome="taken")
        log.info("%s registers with epoch %d", node, first.epoch)
        if before is not None and before in self._streams:
            self._streams[before].set()

    def _lease(self, number: int, first: RegisterRequest) -> int | None:
        """Begin the lease; returns the stream that had it before. Raises LeaseRefused."""
        registrations = self._registrations
        offers, _ = read_publications(first.publications, registrations.naming.rule)
        floor = registrations.learned_epoch(offers)
        if floor > first.epoch:
            reason = (
                f"epoch: {first.epoch}: another replica has written an instance of it with the greater epoch {floor}"
            )
            raise LeaseRefused(reason, floor)
        return registrations.leases.begin(
            number, first.node_id, first.zone[:MAX_NAME], first.epoch, registrations.now()
        )

    async def _read(self, number: int, first: RegisterRequest, context: Any) -> None:
        request: Any = first
        quiet_s: float | None = None
        while isinstance(request, RegisterRequest):
            if request.keep_alive:
                quiet_s = QUIET_S
                await context.write(RegisterResponse(nonce=request.nonce))
            else:
                await context.write(self._take(number, request))
            async with asyncio.timeout(quiet_s):
                request = await context.read()

    def _take(self, number: int, request: RegisterRequest) -> RegisterResponse:
        registrations = self._registrations
        offers, errors = read_publications(request.publications, registrations.naming.rule)
        errors += registrations.leases.say(number, offers)
        if request.leaving:
            registrations.leases.leave(number, registrations.now())
        registrations.changed()
        self._metrics.count(REQUESTS_METRIC, outcome="partly" if errors else "taken")
        if errors:
            log.warning("%s: %s", request.node_id or "a sidecar", "; ".join(errors[:MAX_ERRORS]))
        more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
        return RegisterResponse(nonce=request.nonce, error="; ".join([*errors[:MAX_ERRORS], *more]))
