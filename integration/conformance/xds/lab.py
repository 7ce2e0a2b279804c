"""Streams to a server over real gRPC connections, and the servers: one inside for hand-made snapshots, and processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.message import Message

from conformance.xds.vector import expect
from harness.eventually import patience
from harness.isthmus import ControlPlane
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource import Content
from isthmus_controlplane.snapshot.resource_type import ENDPOINT, TYPE_PREFIX
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.server import ServerSettings, XdsServer
from isthmus_controlplane.xds.testing import NODE, names_in, snapshot_of

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
RUNTIME = TYPE_PREFIX + "envoy.service.runtime.v3.Runtime"
FENCES = 20
# A connection of its own, and windows that do not grow: else a client that never reads takes several megabytes.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
_LEFT_S = 0.05  # for what gRPC has still to do at the end
_SILENCE_S = 1.0  # of a process: long enough for its debounce


class Stream:
    """One xDS stream. ``node`` goes into its first request only, as clients do."""

    def __init__(self, address: str, *, node: Node, method: str, request: Any, response: Any) -> None:
        self.channel: Any = grpc.aio.insecure_channel(address, options=_OPTIONS)
        open_stream: Any = self.channel.stream_stream(
            method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        self._call = open_stream()
        self._node: Node | None = node
        # A read that is given up would cancel the call, so it goes on until something comes.
        self._reading: asyncio.Task[Any] | None = None

    async def write(self, request: Any) -> None:
        """Send a request."""
        if self._node is not None:
            request.node.CopyFrom(self._node)
            self._node = None
        await self._call.write(request)

    async def read(self, within: float | None = None) -> Any:
        """The next response; AssertionError if none comes ``within`` so many seconds (patience), or the stream ends."""
        task = await self._wait(patience() if within is None else within)
        expect(task.done(), "no response came")
        self._reading = None
        try:
            response = task.result()
        except grpc.aio.AioRpcError as error:
            raise AssertionError(f"the stream ended with {error.code().name}: {error.details()}") from None
        expect(isinstance(response, Message), "the stream ended")
        return response

    async def silent(self, seconds: float = _SILENCE_S) -> None:
        """Nothing comes for a while. For processes only, whose streams have no fence."""
        if (await self._wait(seconds)).done():
            raise AssertionError(f"an unexpected response: {_short(await self.read())}")

    async def _wait(self, seconds: float) -> asyncio.Task[Any]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._call.read())
        await asyncio.wait({self._reading}, timeout=seconds)
        return self._reading

    async def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.channel.close(None)

    async def end(self) -> tuple[str, str]:
        """Read to the end; the status code and its words."""
        try:
            async with asyncio.timeout(patience()):
                while isinstance(await self._call.read(), Message):
                    pass
        except TimeoutError:
            raise AssertionError("the stream did not end") from None
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


class Sotw(Stream):
    """A state-of-the-world stream."""

    def __init__(self, address: str, *, node: Node = NODE, method: str = f"{ADS}/StreamAggregatedResources") -> None:
        super().__init__(address, node=node, method=method, request=DiscoveryRequest, response=DiscoveryResponse)
        self._fences: list[str] = []
        self._fence_nonce = ""

    async def ask(
        self, type_url: str, names: Iterable[str] = (), *, nonce: str = "", version: str = "", error: str = ""
    ) -> None:
        """Send a request; ``error`` makes it a rejection."""
        request = DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce, version_info=version)
        if error:
            request.error_detail.code, request.error_detail.message = 3, error
        await self.write(request)

    async def ack(self, response: Any, names: Iterable[str] = ()) -> None:
        """Acknowledge; ``names`` is the subscription."""
        await self.ask(response.type_url, names, nonce=response.nonce, version=response.version_info)

    async def get(self, type_url: str, names: Iterable[str] = ()) -> Any:
        """Ask and read."""
        await self.ask(type_url, names)
        return await self.read()

    async def fence(self) -> None:
        """Nothing was to be said before this: the answer to a request made now comes next."""
        self._fences.append(f"fence-{len(self._fences)}")
        await self.ask(RUNTIME, self._fences, nonce=self._fence_nonce)
        response = await self.read()
        expect(response.type_url == RUNTIME, f"an unexpected response: {_short(response)}")
        self._fence_nonce = response.nonce


class Delta(Stream):
    """A delta stream."""

    def __init__(self, address: str, *, node: Node = NODE, method: str = f"{ADS}/DeltaAggregatedResources") -> None:
        super().__init__(
            address, node=node, method=method, request=DeltaDiscoveryRequest, response=DeltaDiscoveryResponse
        )
        self._absent = itertools.count()

    async def ask(
        self,
        type_url: str,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        *,
        nonce: str = "",
        initial: Mapping[str, str] | None = None,
        error: str = "",
    ) -> None:
        """Send a request; ``error`` makes it a rejection."""
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
            response_nonce=nonce,
            initial_resource_versions=initial or {},
        )
        if error:
            request.error_detail.code, request.error_detail.message = 3, error
        await self.write(request)

    async def ack(self, response: Any) -> None:
        """Acknowledge."""
        await self.ask(response.type_url, nonce=response.nonce)

    async def get(self, type_url: str, subscribe: Iterable[str] = ()) -> Any:
        """Ask, read and acknowledge."""
        await self.ask(type_url, subscribe)
        response = await self.read()
        await self.ack(response)
        return response

    async def fence(self) -> None:
        """Nothing was to be said before this: the answer about a name that is nowhere comes next."""
        name = f"nowhere-{next(self._absent)}"
        await self.ask(ENDPOINT, [name])
        response = await self.read()
        expect(list(response.removed_resources) == [name], f"an unexpected response: {_short(response)}")
        await self.ack(response)


S = TypeVar("S", bound=Stream)


class Lab:
    """What a vector works with: a server inside, streams to it, and processes."""

    def __init__(self, folder: Path, settings: ServerSettings | None = None) -> None:
        self.folder = folder
        self.server = XdsServer("127.0.0.1:0", on_scope_needed=self._need, settings=settings)
        self.address = ""
        self._snapshot: Snapshot | None = None
        self._streams: list[Stream] = []
        self._stack = contextlib.AsyncExitStack()

    def publish(self, *messages: Content) -> None:
        """Give every client these resources and nothing else; the resources of fences are always there."""
        fences: list[Content] = [Runtime(name=f"fence-{number}") for number in range(FENCES)]
        self._snapshot = snapshot_of(*messages, *fences, previous=self._snapshot)
        self.server.publish_all(dict.fromkeys(self.server.scopes_in_use(), self._snapshot), "vector")

    def sotw(self, **options: Any) -> Sotw:
        """A stream to the server inside, or to ``address``."""
        return self._opened(Sotw(options.pop("address", self.address), **options))

    def delta(self, **options: Any) -> Delta:
        """Likewise."""
        return self._opened(Delta(options.pop("address", self.address), **options))

    async def control_plane(self, store: str, **options: Any) -> ControlPlane:
        """A control plane of its own process."""
        started = await asyncio.to_thread(lambda: ControlPlane(store, self.folder, **options))
        self._stack.push_async_callback(asyncio.to_thread, started.stop)
        return started

    def _need(self, scope: Scope) -> None:
        if self._snapshot is not None:
            self.server.publish(scope, self._snapshot, "a client arrived")

    def _opened(self, stream: S) -> S:
        self._streams.append(stream)
        return stream

    async def close(self) -> None:
        """Close everything."""
        for stream in self._streams:
            await stream.close()
        await self.server.stop(1.0)
        await self._stack.aclose()
        # gRPC's own tasks complain on standard error when the loop ends before them.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_LEFT_S)


@contextlib.asynccontextmanager
async def running(folder: Path, settings: ServerSettings | None = None) -> AsyncIterator[Lab]:
    """A lab whose server listens."""
    lab = Lab(folder, settings)
    lab.address = await lab.server.start()
    try:
        yield lab
    finally:
        await lab.close()


def _short(response: Any) -> str:
    kind = str(response.type_url).rpartition(".")[2]
    removed = list(getattr(response, "removed_resources", ()))
    try:
        return f"{kind} {names_in(response)}" + (f" without {removed}" if removed else "")
    except ValueError:
        return kind
