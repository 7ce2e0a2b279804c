"""The ADS service: sessions on gRPC streams. Sinks (istiod, our control plane) connect and ask."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources
from isthmus_mcp_bridge.mcp import messages
from isthmus_mcp_bridge.mcp.classic import SERVICE_ENTRIES, ClassicSession, UnsupportedCollection
from isthmus_mcp_bridge.mcp.delta import DeltaSession
from isthmus_mcp_bridge.mcp.filters import SinkFilter, Views, filter_for
from isthmus_mcp_bridge.mcp.session import DeltaRequest, Outcome, Response, SotwRequest, TooManyTypes, TypeStatus
from isthmus_mcp_bridge.mcp.snapshot import Snapshot
from isthmus_mcp_bridge.mcp.sotw import SotwSession
from isthmus_mcp_bridge.mcp.streams import Stream
from isthmus_mcp_bridge.mcp.type_urls import is_service_entry
from isthmus_mcp_bridge.observe.metrics import Metrics

CLASSIC_SERVICE = "istio.mcp.v1alpha1.ResourceSource"
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
REQUESTS_METRIC = "isthmus_bridge_requests_total"
RESPONSES_METRIC = "isthmus_bridge_responses_total"
REFUSED_METRIC = "isthmus_bridge_refused_streams_total"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class SourceSettings:
    """Bounds of the service: sizes in bytes, times in seconds.

    ``max_response_bytes`` bounds what a delta response brings; a SotW response is whole by nature. ``write_timeout_s`` is
    how long a sink may let a response lie before its stream is ended.
    """

    max_streams: int = 1000
    max_request_bytes: int = 16 * 1024 * 1024
    max_response_bytes: int = 3 * 1024 * 1024
    write_timeout_s: float = 60.0
    keepalive_time_s: float = 30.0
    keepalive_timeout_s: float = 10.0

    def channel_options(self) -> list[tuple[str, int]]:
        """As gRPC wants them."""
        return [
            ("grpc.keepalive_time_ms", int(self.keepalive_time_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.max_receive_message_length", self.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]


class McpSource:
    """Serves one snapshot at a time to any number of sinks; lives in one event loop."""

    def __init__(
        self, settings: SourceSettings, metrics: Metrics, nonce_space: str, filters: Sequence[SinkFilter] = ()
    ) -> None:
        """``nonce_space`` begins every nonce and must differ from that of the process before."""
        self._settings = settings
        self._metrics = metrics
        self._snapshot = Snapshot()
        self._views = Views()
        self._filters = filters
        self._streams: dict[int, Stream] = {}
        self._ids = itertools.count(1)
        nonces = itertools.count(1)
        self._new_nonce = lambda: f"{nonce_space}-{next(nonces)}"

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on, to all streams; what each must be sent is for its session to decide."""
        self._snapshot = snapshot
        self._views.publish(snapshot)
        for stream in self._streams.values():
            stream.session.publish(self._views.view(stream.filter))
            stream.wake.set()

    @property
    def snapshot(self) -> Snapshot:
        """What is served now."""
        return self._snapshot

    @property
    def streams(self) -> list[Stream]:
        """The open streams, oldest first."""
        return list(self._streams.values())

    def classic_handlers(self) -> Any:
        """The handlers of classic MCP, where the sink dials."""
        handler = grpc.stream_stream_rpc_method_handler(self.serve_classic, RequestResources.FromString, bytes)
        return grpc.method_handlers_generic_handler(CLASSIC_SERVICE, {"EstablishResourceStream": handler})

    async def serve_classic(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Run one classic stream, whoever dialled."""
        session = ClassicSession(self._new_nonce, self._settings.max_response_bytes)

        def handle(message: Any) -> tuple[str, Outcome]:
            request = messages.classic_request(message)
            return request.collection, session.handle_request(request)

        def encode(response: Response) -> bytes:
            return messages.classic_response(response, incremental=session.is_incremental(response.type_url))

        await self._serve(requests, context, Stream("classic", context.peer(), session), handle, encode)

    def handlers(self) -> Any:
        """The handlers to register with a grpc.aio server. Responses are bytes already."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._sotw, DiscoveryRequest.FromString, bytes
                ),
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._delta, DeltaDiscoveryRequest.FromString, bytes
                ),
            },
        )

    async def _sotw(self, requests: AsyncIterator[Any], context: Any) -> None:
        session = SotwSession(self._new_nonce)

        def handle(message: Any) -> tuple[str, Outcome]:
            request: SotwRequest = messages.sotw_request(message)
            return request.type_url, session.handle_request(request)

        await self._serve(requests, context, Stream("sotw", context.peer(), session), handle, messages.sotw_response)

    async def _delta(self, requests: AsyncIterator[Any], context: Any) -> None:
        session = DeltaSession(self._new_nonce, self._settings.max_response_bytes)

        def handle(message: Any) -> tuple[str, Outcome]:
            request: DeltaRequest = messages.delta_request(message)
            return request.type_url, session.handle_request(request)

        await self._serve(requests, context, Stream("delta", context.peer(), session), handle, messages.delta_response)

    async def _serve(
        self,
        requests: AsyncIterator[Any],
        context: Any,
        stream: Stream,
        handle: Callable[[Any], tuple[str, Outcome]],
        encode: Callable[[Response], bytes],
    ) -> None:
        """Run one stream from its opening to its end."""
        if len(self._streams) >= self._settings.max_streams:
            self._metrics.count(REFUSED_METRIC)
            message = f"the bridge serves {self._settings.max_streams} streams already; raise mcp.max_streams"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        number = next(self._ids)
        self._streams[number] = stream
        stream.filter = filter_for(self._filters, "")
        stream.session.publish(self._views.view(stream.filter))
        reader = asyncio.create_task(self._read(requests, stream, handle))
        try:
            await self._write(stream, context, encode, reader)
        except TooManyTypes as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except UnsupportedCollection as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TimeoutError:
            log.warning("%s did not take a response within %g s", stream.sink, self._settings.write_timeout_s)
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the response was not read in time; connect again")
        finally:
            del self._streams[number]
            reader.cancel()
            log.info("%s (%s) is gone", stream.sink, stream.variant)

    async def _read(
        self, requests: AsyncIterator[Any], stream: Stream, handle: Callable[[Any], tuple[str, Outcome]]
    ) -> None:
        try:
            async for message in requests:
                node = message.sink_node.id if stream.variant == "classic" else message.node.id
                if not stream.node and node:
                    stream.node = node[:256]
                    stream.filter = filter_for(self._filters, stream.node)
                    stream.session.publish(self._views.view(stream.filter))
                    log.info("%s asks (%s)", stream.sink, stream.variant)
                self._note(stream, *handle(message))
                stream.wake.set()
        finally:
            stream.wake.set()

    def _note(self, stream: Stream, type_url: str, outcome: Outcome) -> None:
        self._metrics.count(REQUESTS_METRIC, outcome=outcome, type=_kind(type_url))
        status = stream.session.status.get(type_url, TypeStatus())
        if outcome is Outcome.NACK and status.rejection is not None:
            log.warning(
                "%s rejects %s version %s (code %d): %s; it is not sent again until it changes",
                stream.sink, type_url, status.rejected_version, status.rejection.code, status.rejection.message,
            )  # fmt: skip
        else:
            log.debug("%s: %s of %s version %s", stream.sink, outcome, type_url, status.acked_version)

    async def _write(
        self, stream: Stream, context: Any, encode: Callable[[Response], bytes], reader: asyncio.Task[None]
    ) -> None:
        """Send what the session has to say until the sink closes the stream; raises what the reader raised."""
        while True:
            while (response := stream.session.next_response()) is not None:
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await context.write(encode(response))
                self._metrics.count(RESPONSES_METRIC, type=_kind(response.type_url))
                log.debug("%s: sent %d of %s", stream.sink, response.count, response.type_url)
            if reader.done():
                return reader.result()
            await stream.wake.wait()
            stream.wake.clear()


def _kind(type_url: str) -> str:
    return "ServiceEntry" if is_service_entry(type_url) or type_url == SERVICE_ENTRIES else "other"
