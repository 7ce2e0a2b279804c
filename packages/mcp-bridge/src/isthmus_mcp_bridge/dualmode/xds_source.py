"""Policies from a control plane, by MCP over xDS: one SotW stream, opened again with back-off for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.rpc.status_pb2 import Status

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_mcp_bridge.dualmode.policy_book import Item, PolicyBook
from isthmus_mcp_bridge.registries.backoff import Backoff

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
TYPE_URL = "isthmus.io/v1alpha1/DualMode"
INVALID_ARGUMENT = 3  # google.rpc.Code
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]

log = logging.getLogger(__name__)


class BadResponseError(ValueError):
    """A response is not what MCP over xDS says; the text says how."""


class XdsPolicies:
    """Keeps a PolicyBook in step with a control plane."""

    def __init__(
        self,
        target: str,
        node_id: str,
        book: PolicyBook,
        changed: Callable[[], None],
        epoch: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """``target`` is ``host:port``; ``changed`` is told after the book was replaced; ``epoch`` is Unix time in seconds."""
        self._target = target
        self._node = reader_node(node_id)
        self._book = book
        self._changed = changed
        self._epoch = epoch
        self._backoff = Backoff(random)

    async def run(self) -> None:
        """Follow the control plane until cancelled."""
        while True:
            reason = await self._follow()
            if self._book.live:
                log.warning("%s: %s; %d policies stay in use", self._book.source, reason, len(self._book.policies))
            self._book.lost(reason, self._epoch())
            await asyncio.sleep(self._backoff.delay())

    async def _follow(self) -> str:
        """One stream; returns why it ended."""
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            method: Any = channel.stream_stream(
                METHOD, DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString
            )
            call = method()
            try:
                await call.write(DiscoveryRequest(node=self._node, type_url=TYPE_URL))
                accepted = ""
                async for response in _responses(call):
                    answer = self.receive(response, accepted)
                    accepted = answer.version_info
                    await call.write(answer)
                return f"the stream was closed: {(await call.details()) or (await call.code()).name}"
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            except asyncio.InvalidStateError:  # of a write, when the stream has just ended
                return f"the stream was closed: {(await call.details()) or (await call.code()).name}"
            finally:
                call.cancel()

    def receive(self, response: DiscoveryResponse, accepted: str) -> DiscoveryRequest:
        """Take a response; returns the answer to it. ``accepted`` is the version acknowledged before."""
        answer = DiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce, version_info=response.version_info
        )
        try:
            items = unpack(response)
        except BadResponseError as error:
            problems: Sequence[str] = [str(error)]
        else:
            problems = self._book.replace(items, self._epoch())
            self._backoff.reset()
            self._changed()
        if problems:
            log.error("%s: %s", self._book.source, "; ".join(problems))
            answer.version_info = accepted
            answer.error_detail.CopyFrom(Status(code=INVALID_ARGUMENT, message="; ".join(problems)))
        return answer


def reader_node(node_id: str) -> Node:
    """A node that asks for objects as they were written, as Istio names such readers."""
    metadata = Struct()
    metadata.update({"GENERATOR": "api"})
    return Node(id=node_id, user_agent_name="isthmus-mcp-bridge", metadata=metadata)


def unpack(response: DiscoveryResponse) -> list[Item]:
    """The policies in a response. Raises BadResponseError."""
    if response.type_url != TYPE_URL:
        raise BadResponseError(f"the type is {response.type_url!r}, not {TYPE_URL}")
    return [_item(packed, index) for index, packed in enumerate(response.resources)]


def _item(packed: Any, index: int) -> Item:
    resource, spec = Resource(), DualMode()
    try:
        if not packed.Unpack(resource):
            raise BadResponseError(f"resources[{index}]: {packed.type_url!r} is not a {Resource.DESCRIPTOR.full_name}")
        if not resource.body.Unpack(spec):
            where = f"resources[{index}] ({resource.metadata.name}).body"
            raise BadResponseError(f"{where}: {resource.body.type_url!r} is not a {DualMode.DESCRIPTOR.full_name}")
    except DecodeError as error:
        raise BadResponseError(f"resources[{index}]: {error}") from error
    return Item(resource.metadata.name, resource.metadata.version, spec)


async def _responses(call: Any) -> AsyncIterator[DiscoveryResponse]:
    while isinstance(response := await call.read(), DiscoveryResponse):
        yield response
