"""Tells the registration service what the application publishes, over one gRPC stream that is the lease of it all."""

from __future__ import annotations

import logging
from typing import Any

import trio

from isthmus_api.registration.v1alpha1.registration_pb2 import Publication as PublicationMessage
from isthmus_api.registration.v1alpha1.registration_pb2 import RegisterRequest, RegisterResponse
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.status import GrpcError
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.registry_api.model import Publication, RegistryApiConfig
from isthmus_proxy.registry_api.registry import ApplicationRegistry

PATH = "/isthmus.registration.v1alpha1.RegistrationService/Register"
FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 30.0
SEND_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Registration:
    """See the module. Call ``changed`` whenever the registry has changed; ``run`` keeps a stream for as long as it runs."""

    def __init__(
        self,
        registry: ApplicationRegistry,
        config: RegistryApiConfig,
        node_id: str,
        zone: str,
        grpc: GrpcClient,
        scope: StatsScope,
    ) -> None:
        self._registry = registry
        self._config = config
        self._node_id = node_id
        self._zone = zone
        self._grpc = grpc
        self._wake = trio.Event()
        self._nonce = 0
        self._taken = scope.counter("registrations_taken")
        self._refused = scope.counter("registrations_refused")
        self._lost = scope.counter("registration_streams_lost")
        self._connected = scope.gauge("registration_connected")

    def changed(self) -> None:
        """What is published has changed: the service is told soon."""
        self._wake.set()

    async def run(self) -> None:
        """Register until cancelled; a stream that ends is begun anew, after ever longer pauses while nothing is taken."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            taken = self._taken.value
            reason = "it ended"
            try:
                await self._stream()
            except (GrpcError, trio.TooSlowError) as error:
                reason = str(error) or type(error).__name__
            self._connected.value = 0
            self._lost.value += 1
            pause = FIRST_PAUSE_SECONDS if self._taken.value > taken else min(pause * 2, LAST_PAUSE_SECONDS)
            _log.warning(
                "the stream to the registration service in cluster %s is lost: %s", self._config.cluster, reason
            )
            await trio.sleep(pause)

    async def _stream(self) -> None:
        with TaskCall(self._grpc, self._config.cluster, PATH) as call:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, call)
                    while True:
                        self._wake = trio.Event()
                        with trio.fail_after(SEND_SECONDS):
                            await call.send(self._request().SerializeToString())
                        await self._wake.wait()
            except* (GrpcError, trio.TooSlowError) as group:
                raise _first(group) from None

    async def _listen(self, call: TaskCall) -> None:
        while True:
            for data in await call.receive():
                response = RegisterResponse.FromString(data)
                self._connected.value = 1
                if response.error:
                    self._refused.value += 1
                    _log.error("the registration service does not take what is published: %s", response.error)
                else:
                    self._taken.value += 1

    def _request(self) -> RegisterRequest:
        self._nonce += 1
        publications = [self._message(each) for each in self._registry.published]
        return RegisterRequest(
            node_id=self._node_id, zone=self._zone, nonce=str(self._nonce), publications=publications
        )

    def _message(self, publication: Publication) -> PublicationMessage:
        return PublicationMessage(
            service=publication.service,
            protocol=publication.protocol,
            group=publication.group,
            version=publication.version,
            host=self._config.host,
            port=self._config.inbound_port,
            application=publication.application,
            metadata=dict(publication.metadata),
        )


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
