"""The two calls of etcd v3 that the adapter needs, on grpc.aio with aetcd's generated messages.

aetcd's own watch hides the header of a response, so neither progress nor the compaction revision can be seen through it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aetcd import rpc

from isthmus_mcp_bridge.registries.faults import RegistryFault

PAGE = 1000
CALL_DEADLINE_S = 10.0
OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
]


class Compacted(Exception):  # noqa: N818 - ends a watch, not the adapter
    """The revision that a watch asked for is gone; everything has to be listed again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """A key: when it was created (revision), and whether it is there."""

    key: str
    create_revision: int
    there: bool = True


class EtcdKeys:
    """A connection to one member. Calls raise RegistryFault."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self._target = target
        self._range: Any = channel.unary_unary(
            "/etcdserverpb.KV/Range", rpc.RangeRequest.SerializeToString, rpc.RangeResponse.FromString
        )
        self._watch: Any = channel.stream_stream(
            "/etcdserverpb.Watch/Watch", rpc.WatchRequest.SerializeToString, rpc.WatchResponse.FromString
        )

    async def list_all(self, prefix: str) -> tuple[list[Key], int]:
        """Every key below the prefix at one revision, without values, and that revision."""
        found: list[Key] = []
        start, revision = prefix.encode(), 0
        while True:
            request = rpc.RangeRequest(
                key=start, range_end=range_end(prefix), limit=PAGE, revision=revision, keys_only=True
            )
            try:
                answer = await self._range(request, timeout=CALL_DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                raise self._fault(error) from error
            revision = revision or answer.header.revision
            found.extend(Key(kv.key.decode(errors="replace"), kv.create_revision) for kv in answer.kvs)
            if not answer.more:
                return found, revision
            start = answer.kvs[-1].key + b"\0"

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[tuple[list[Key], int]]:
        """Changes from that revision on, one response at a time with its revision. Raises Compacted and RegistryFault."""
        create = rpc.WatchCreateRequest(
            key=prefix.encode(), range_end=range_end(prefix), start_revision=revision, progress_notify=True
        )
        call = self._watch()
        try:
            await call.write(rpc.WatchRequest(create_request=create))
            async for answer in call:
                if answer.compact_revision:
                    raise Compacted
                if answer.canceled:
                    raise RegistryFault(f"etcd at {self._target} ends the watch: {answer.cancel_reason[:200]}")
                if not answer.created:
                    yield [_key(event) for event in answer.events], answer.header.revision
        except grpc.aio.AioRpcError as error:
            raise self._fault(error) from error
        finally:
            call.cancel()

    def _fault(self, error: grpc.aio.AioRpcError) -> RegistryFault:
        return RegistryFault(f"etcd at {self._target}: {error.code().name} {error.details()}")


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncIterator[EtcdKeys]:
    """A connection to one member; nothing is sent yet."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        yield EtcdKeys(channel, target)


def range_end(prefix: str) -> bytes:
    """The first key after every key with the prefix."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def _key(event: Any) -> Key:
    return Key(event.kv.key.decode(errors="replace"), event.kv.create_revision, event.type == rpc.Event.PUT)
