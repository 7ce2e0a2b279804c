"""A store that follows an MCP-over-xDS source, such as the bridge, and keeps what it has while the source is away."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.stores.base import Problem, Publish, StoreState
from isthmus_controlplane.stores.mcp_inventory import Inventory
from isthmus_controlplane.stores.mcp_session import DeltaSink, SotwSink, sink_node

log = logging.getLogger(__name__)

Variant = Literal["delta", "sotw"]
Sleep = Callable[[float], Awaitable[None]]

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_ADDRESS = re.compile(r"xds://(?P<target>(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5}))/?")
_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # Attempts are spaced by the back-off below; a shared subchannel would add a second one of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, in seconds.

    Attributes:
        first: upper bound of the wait after the first failure; it doubles with each further one.
        most: upper bound of any wait.
    """

    first: float = 0.25
    most: float = 15.0

    def delay(self, failures: int, source: random.Random) -> float:
        """Return the wait after so many failures in a row: between half and all of the bound."""
        bound = min(self.most, self.first * 2.0 ** min(failures - 1, 32))
        return bound * source.uniform(0.5, 1.0)


DEFAULT_BACKOFF = Backoff()


@dataclasses.dataclass(frozen=True, slots=True)
class SinkStatus:
    """How the sink is doing, for status pages.

    Attributes:
        connected: a response arrived on the current stream.
        objects: number of objects held.
        responses: responses received since the start.
        rejected: how many of them were rejected, at least in part.
        failures: attempts and streams that failed since the last response.
        error: why the last one failed; empty while connected.
    """

    connected: bool = False
    objects: int = 0
    responses: int = 0
    rejected: int = 0
    failures: int = 0
    error: str = ""


class McpSink:
    """Follows one source; implements `isthmus_controlplane.stores.base.Store`.

    A lost connection never empties the state: the last objects stay, with a problem that says so.
    """

    def __init__(
        self,
        source: str,
        *,
        node_id: str,
        variant: Variant = "delta",
        backoff: Backoff = DEFAULT_BACKOFF,
        randomness: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Prepare a sink.

        Args:
            source: ``xds://HOST:PORT`` of the source.
            node_id: how this control plane calls itself.
            variant: delta asks only for what changed; SotW is for sources that cannot.
            backoff: waits between attempts.
            randomness: source of jitter.
            sleep: how to wait.

        Raises:
            ConfigError: ``source`` is not such an address.
        """
        self.source = source
        self._target = parse_address(source)
        self._variant = variant
        self._node = sink_node(node_id)
        self._backoff = backoff
        self._random = randomness or random.Random()
        self._sleep = sleep
        self._inventory = Inventory(source)
        self._status = SinkStatus()
        self._published: StoreState | None = None

    @property
    def status(self) -> SinkStatus:
        """How the sink is doing now."""
        return self._status

    async def run(self, publish: Publish) -> None:
        """Follow the source until cancelled; see `Store.run`."""
        while True:
            error = await self._follow(publish)
            failures = self._status.failures + 1
            if failures == 1:
                log.warning("%s: %s; keeping %d objects, trying again", self.source, error, self._status.objects)
            self._status = dataclasses.replace(self._status, connected=False, failures=failures, error=error)
            self._publish(publish)
            await self._sleep(self._backoff.delay(failures, self._random))

    async def _follow(self, publish: Publish) -> str:
        """Run one stream to its end; returns why it ended."""
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            session, call = self._open(channel)
            try:
                await call.write(session.first_request())
                while isinstance(response := await call.read(), (DeltaDiscoveryResponse, DiscoveryResponse)):
                    await call.write(self._take(session, response, publish))
                return f"the source ended the stream: {await call.code()}"
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            except asyncio.InvalidStateError:
                return f"the stream ended: {await call.code()}: {await call.details()}"

    def _open(self, channel: grpc.aio.Channel) -> tuple[Any, Any]:
        """Start a stream in the variant asked for."""
        delta: Any  # the type stubs do not know calls without a request iterator
        sotw: Any
        if self._variant == "delta":
            delta = channel.stream_stream(
                f"{_SERVICE}DeltaAggregatedResources",
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=DeltaDiscoveryResponse.FromString,
            )
            return DeltaSink(self._node, self._inventory), delta()
        sotw = channel.stream_stream(
            f"{_SERVICE}StreamAggregatedResources",
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )
        return SotwSink(self._node, self._inventory), sotw()

    def _take(self, session: Any, response: Any, publish: Publish) -> Any:
        """Apply a response and publish what came of it; returns the answer."""
        reply = session.receive(response)
        rejected = reply.HasField("error_detail")
        if rejected:
            log.warning("%s: %s", self.source, reply.error_detail.message)
        before = self._status
        self._status = SinkStatus(
            connected=True,
            objects=len(self._inventory.objects()),
            responses=before.responses + 1,
            rejected=before.rejected + rejected,
        )
        if not before.connected:
            log.info("%s: connected, %d objects", self.source, self._status.objects)
        self._publish(publish)
        return reply

    def _publish(self, publish: Publish) -> None:
        """Publish the state unless it is the one that was published last."""
        problems = (*self._inventory.problems(), *self._disconnected())
        state = StoreState(self.source, self._inventory.synced, self._inventory.objects(), tuple(sorted(problems)))
        if state != self._published:
            self._published = state
            publish(state)

    def _disconnected(self) -> tuple[Problem, ...]:
        if self._status.connected:
            return ()
        held = (
            f"the last {self._status.objects} services stay in use"
            if self._inventory.synced
            else "no services are known yet"
        )
        return (Problem(self.source, "", f"disconnected ({self._status.error}); {held}; is the source running?"),)


def parse_address(source: str) -> str:
    """Read ``HOST:PORT`` out of ``xds://HOST:PORT``.

    Raises:
        ConfigError: it is something else.
    """
    match = _ADDRESS.fullmatch(source)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise ConfigError(f"--mcp {source}: is not of the form xds://HOST:PORT")
    return match["target"]
