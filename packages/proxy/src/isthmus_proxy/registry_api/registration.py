"""Tells the registration service what the application publishes, over one gRPC stream that is the lease of it all.

A stream that ends, or on which no answer comes in time, is followed by one to the next replica of the service, at once and with
everything said again; only when all of them fail one after the other, there is a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import trio

from isthmus_api.registration.v1alpha1 import registration_pb2
from isthmus_api.registration.v1alpha1.registration_pb2 import Publication as PublicationMessage
from isthmus_api.registration.v1alpha1.registration_pb2 import RegisterRequest, RegisterResponse
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.status import GrpcError
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.registry_api.model import Publication, RegistryApiConfig
from isthmus_proxy.registry_api.registry import ApplicationRegistry

PATH = "/isthmus.registration.v1alpha1.RegistrationService/Register"
EPOCH_FIELD = b"isthmus-epoch"
"""With what epoch the service holds an instance, when it refuses a smaller one: the clock has gone back."""
FIRST_PAUSE_SECONDS = 0.25
LAST_PAUSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


def epoch_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class Registration:
    """See the module. Call ``changed`` whenever the registry has changed; ``run`` keeps a stream for as long as it runs."""

    def __init__(
        self,
        registry: ApplicationRegistry,
        config: RegistryApiConfig,
        node: tuple[str, str],
        grpc: GrpcClient,
        scope: StatsScope,
        clock: Callable[[], int],
    ) -> None:
        """``node`` is the sidecar's id and zone; ``clock`` gives milliseconds, from which epochs are made."""
        self._registry = registry
        self._config = config
        self._node_id, self._zone = node
        self._grpc = grpc
        self._clock = clock
        self._epoch = 0
        self._wake = trio.Event()
        self._nonce = 0
        self._answered = 0.0
        self._leaving = False
        self._answer = trio.Event()
        self._taken = scope.counter("registrations_taken")
        self._refused = scope.counter("registrations_refused")
        self._lost = scope.counter("registration_streams_lost")
        self._stalled = scope.counter("registration_streams_stalled")
        self._connected = scope.gauge("registration_connected")

    async def leave(self) -> None:
        """Say that this sidecar is about to stop, and go on for ``leave_time``, in which consumers hear of it.

        Waits no longer than that and ``stall_timeout``, whether the service hears it or not.
        """
        self._leaving = True
        self._answer = trio.Event()
        self._wake.set()
        if self._registry.published and self._connected.value:
            with trio.move_on_after(self._config.stall_timeout):
                await self._answer.wait()
            await trio.sleep(self._config.leave_time)

    def changed(self) -> None:
        """What is published has changed: the service is told soon."""
        self._wake.set()

    async def run(self) -> None:
        """Register until cancelled."""
        failed, turn = 0, 0
        while True:
            cluster = self._config.clusters[turn % len(self._config.clusters)]
            answered = self._taken.value + self._refused.value
            reason = await self._stream_until_lost(cluster)
            self._connected.value = 0
            self._lost.value += 1
            _log.warning("the stream to the registration service in cluster %s is lost: %s", cluster, reason)
            failed = 0 if self._taken.value + self._refused.value > answered else failed + 1
            turn += 1
            rounds = failed // len(self._config.clusters)
            if rounds or len(self._config.clusters) == 1:
                await trio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** min(rounds, 8), LAST_PAUSE_SECONDS))

    async def _stream_until_lost(self, cluster: str) -> str:
        """Keep one stream; returns why it is over."""
        try:
            await self._stream(cluster)
        except GrpcError as error:
            self._learn_epoch(error)
            return str(error) or type(error).__name__
        except trio.TooSlowError:
            self._stalled.value += 1
            return f"no answer for {self._config.stall_timeout:g} s"
        return "it ended"

    def _learn_epoch(self, error: GrpcError) -> None:
        for name, value in error.metadata:
            if name == EPOCH_FIELD and value.isdigit() and len(value) <= 20:
                self._epoch = max(self._epoch, int(value))

    async def _stream(self, cluster: str) -> None:
        self._epoch = max(self._epoch + 1, self._clock())
        lost: BaseException | None = None
        with TaskCall(self._grpc, cluster, PATH) as call:
            self._answered = trio.current_time()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, call)
                    nursery.start_soon(self._keep_alive, call)
                    while True:
                        self._wake = trio.Event()
                        with trio.fail_after(self._config.stall_timeout):
                            await call.send(self._request().SerializeToString())
                        await self._wake.wait()
            except* (GrpcError, trio.TooSlowError) as group:
                lost = _first(group)
        if lost is not None:
            raise lost  # here: what is raised among the clauses above may come out within a group

    async def _keep_alive(self, call: TaskCall) -> None:
        """Ask for an answer now and then. Raises TooSlowError when there is none for long."""
        message = RegisterRequest(keep_alive=True).SerializeToString()
        while True:
            await trio.sleep(self._config.keep_alive)
            if trio.current_time() - self._answered > self._config.stall_timeout:
                raise trio.TooSlowError
            with trio.fail_after(self._config.stall_timeout):
                await call.send(message)

    async def _listen(self, call: TaskCall) -> None:
        while True:
            for data in await call.receive():
                self._answered = trio.current_time()
                response = RegisterResponse.FromString(data)
                self._connected.value = 1
                if response.nonce == str(self._nonce):
                    self._answer.set()
                if response.error:
                    self._refused.value += 1
                    _log.error("the registration service does not take all that is published: %s", response.error)
                elif response.nonce:
                    self._taken.value += 1

    def _request(self) -> RegisterRequest:
        self._nonce += 1
        return RegisterRequest(
            node_id=self._node_id,
            zone=self._zone,
            nonce=str(self._nonce),
            publications=[self._message(each) for each in self._registry.published],
            epoch=self._epoch,
            leaving=self._leaving,
        )

    def _message(self, publication: Publication) -> PublicationMessage:
        config = self._config
        health = registration_pb2.APPLICATION_HEALTH_UNSPECIFIED
        if config.check is not None:
            alive = self._registry.alive
            health = (
                registration_pb2.APPLICATION_HEALTH_ANSWERING if alive else registration_pb2.APPLICATION_HEALTH_SILENT
            )
        return PublicationMessage(
            service=publication.service,
            protocol=publication.protocol,
            group=publication.group,
            version=publication.version,
            host=config.host,
            port=config.inbound_port,
            application=publication.application,
            metadata=dict(publication.metadata),
            native_host=(config.native_host or config.host) if config.native_port else "",
            native_port=config.native_port,
            instance=config.instance,
            application_health=health,
        )


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
