"""The few calls of etcd v3 that the store needs, on grpc.aio with aetcd's generated messages.

aetcd's own watch hands out single events without the header of their response, so neither atomicity nor progress nor the
compaction revision can be seen through it; hence the calls are made here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from aetcd import rpc

from isthmus_controlplane.stores.etcd.mirror import KeyValue

PAGE = 500  # keys in one list response; etcd limits a message to what a client accepts, 4 MiB by default
CALL_DEADLINE_S = 10.0
_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # The store spaces its attempts itself.
    ("grpc.use_local_subchannel_pool", 1),
]


class CompactedError(Exception):
    """The revision that a watch asked for is gone; the prefix has to be listed again."""


@dataclasses.dataclass(frozen=True, slots=True)
class WatchResponse:
    """One response of a watch. Without events it says only that everything up to ``revision`` was told."""

    events: tuple[KeyValue, ...]
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One key to write or delete (``value`` None), if it was last written at ``expected_revision`` (0: not there)."""

    key: str
    value: bytes | None
    expected_revision: int


class EtcdClient:
    """A connection to one member; use as an async context manager. Calls raise ``grpc.aio.AioRpcError``."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)

    async def list(self, prefix: str) -> tuple[list[KeyValue], int]:
        """Every key below ``prefix`` at one revision, and that revision."""
        found: list[KeyValue] = []
        start, revision = prefix.encode(), 0
        while True:
            request = rpc.RangeRequest(key=start, range_end=_end(prefix), limit=PAGE, revision=revision)
            response = await self._call("KV/Range", request, rpc.RangeResponse)
            revision = revision or response.header.revision
            found.extend(KeyValue(kv.key.decode(), kv.value, kv.mod_revision) for kv in response.kvs)
            if not response.more:
                return found, revision
            start = response.kvs[-1].key + b"\0"

    async def watch(self, prefix: str, start_revision: int) -> AsyncIterator[WatchResponse]:
        """Changes from ``start_revision`` on, until the stream ends.

        Raises:
            CompactedError: the revision is compacted. etcd says so only after it said that the watch was created.
        """
        create = rpc.WatchCreateRequest(
            key=prefix.encode(), range_end=_end(prefix), start_revision=start_revision, progress_notify=True
        )
        method: Any = self._channel.stream_stream(  # the type stubs do not know calls without a request iterator
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc.WatchRequest.SerializeToString,
            response_deserializer=rpc.WatchResponse.FromString,
        )
        call = method()
        await call.write(rpc.WatchRequest(create_request=create))
        async for response in call:
            if response.compact_revision:
                raise CompactedError
            if response.canceled:
                return
            if response.created:
                continue  # its revision says nothing of what this watch has been told
            yield WatchResponse(tuple(map(_event, response.events)), response.header.revision)

    async def write(self, writes: Sequence[Write]) -> bool:
        """Do all writes in one transaction; False when a key is not at its expected revision."""
        compare = [
            rpc.Compare(
                key=write.key.encode(),
                target=rpc.Compare.MOD,
                result=rpc.Compare.EQUAL,
                mod_revision=write.expected_revision,
            )
            for write in writes
        ]
        request = rpc.TxnRequest(compare=compare, success=[_operation(write) for write in writes])
        response = await self._call("KV/Txn", request, rpc.TxnResponse)
        return bool(response.succeeded)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def _call(self, method: str, request: Any, response: Any) -> Any:
        call: Any = self._channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return await call(request, timeout=CALL_DEADLINE_S)


def _end(prefix: str) -> bytes:
    """The first key after every key with the prefix."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def _event(event: Any) -> KeyValue:
    value = event.kv.value if event.type == rpc.Event.PUT else None
    return KeyValue(event.kv.key.decode(), value, event.kv.mod_revision)


def _operation(write: Write) -> Any:
    if write.value is None:
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=write.key.encode()))
    return rpc.RequestOp(request_put=rpc.PutRequest(key=write.key.encode(), value=write.value))
