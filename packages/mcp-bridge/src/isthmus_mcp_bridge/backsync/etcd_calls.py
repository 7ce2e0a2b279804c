"""The calls of etcd v3 that writing needs, on grpc.aio with aetcd's generated messages. Each has a deadline and raises RegistryFault."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import grpc
from aetcd import rpc

from isthmus_mcp_bridge.registries.etcd.client import CALL_DEADLINE_S, OPTIONS, PAGE, range_end
from isthmus_mcp_bridge.registries.faults import RegistryFault


class EtcdCalls:
    """A connection to one member."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self._target = target

        def unary(path: str, request: Any, response: Any) -> Any:
            return channel.unary_unary(f"/etcdserverpb.{path}", request.SerializeToString, response.FromString)

        def stream(path: str, request: Any, response: Any) -> Any:
            return channel.stream_stream(f"/etcdserverpb.{path}", request.SerializeToString, response.FromString)

        self._range = unary("KV/Range", rpc.RangeRequest, rpc.RangeResponse)
        self._txn = unary("KV/Txn", rpc.TxnRequest, rpc.TxnResponse)
        self._grant = unary("Lease/LeaseGrant", rpc.LeaseGrantRequest, rpc.LeaseGrantResponse)
        self._revoke = unary("Lease/LeaseRevoke", rpc.LeaseRevokeRequest, rpc.LeaseRevokeResponse)
        self._keep_alive = stream("Lease/LeaseKeepAlive", rpc.LeaseKeepAliveRequest, rpc.LeaseKeepAliveResponse)
        self._watch = stream("Watch/Watch", rpc.WatchRequest, rpc.WatchResponse)

    async def names(self, folder: str) -> tuple[frozenset[str], int]:
        """The names below a folder at one revision, and that revision."""
        prefix = f"{folder}/"
        found: set[str] = set()
        start, revision = prefix.encode(), 0
        while True:
            request = rpc.RangeRequest(
                key=start, range_end=range_end(prefix), limit=PAGE, revision=revision, keys_only=True
            )
            answer = await self._call(self._range, request)
            revision = revision or answer.header.revision
            found.update(kv.key.decode(errors="replace").removeprefix(prefix) for kv in answer.kvs)
            if not answer.more:
                return frozenset(name for name in found if "/" not in name), revision
            start = answer.kvs[-1].key + b"\0"

    async def key(self, key: str) -> tuple[Any | None, int]:
        """What stands at a key (``mvccpb.KeyValue``), or None, and at which revision."""
        answer = await self._call(self._range, rpc.RangeRequest(key=key.encode(), keys_only=True))
        return (answer.kvs[0] if answer.kvs else None), answer.header.revision

    async def transact(
        self, unchanged: Mapping[str, int], put: Mapping[str, bytes], delete: Collection[str], lease: int
    ) -> bool:
        """Put keys with a lease and delete others if each of ``unchanged`` was last written at that revision (0: is not there)."""
        request = rpc.TxnRequest()
        for key, revision in unchanged.items():
            request.compare.add(
                result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=key.encode(), mod_revision=revision
            )
        for key, value in put.items():
            request.success.add(request_put=rpc.PutRequest(key=key.encode(), value=value, lease=lease))
        for key in delete:
            request.success.add(request_delete_range=rpc.DeleteRangeRequest(key=key.encode()))
        return bool((await self._call(self._txn, request)).succeeded)

    async def grant(self, ttl_s: int) -> int:
        """A new lease."""
        return int((await self._call(self._grant, rpc.LeaseGrantRequest(TTL=ttl_s))).ID)

    async def revoke(self, lease: int) -> None:
        """End a lease, and every key of it."""
        await self._call(self._revoke, rpc.LeaseRevokeRequest(ID=lease))

    @contextlib.asynccontextmanager
    async def renewals(self) -> AsyncIterator[Renewals]:
        """A stream for renewing leases."""
        call = self._keep_alive()
        try:
            yield Renewals(call, self)
        finally:
            call.cancel()

    @contextlib.asynccontextmanager
    async def watches(self) -> AsyncIterator[Watches]:
        """A stream of watches."""
        call = self._watch()
        try:
            yield Watches(call, self)
        finally:
            call.cancel()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=CALL_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            raise self.fault(error) from error

    def fault(self, error: grpc.aio.AioRpcError) -> RegistryFault:
        """What the connection's users hear."""
        return RegistryFault(f"etcd at {self._target}: {error.code().name} {error.details()}")


class Renewals:
    """See ``EtcdCalls.renewals``."""

    def __init__(self, call: Any, calls: EtcdCalls) -> None:
        self._call = call
        self._calls = calls

    async def renew(self, lease: int, within_s: float) -> float:
        """Renew a lease. Returns for how many seconds it lives now; 0: it has ended."""
        try:
            async with asyncio.timeout(within_s):
                await self._call.write(rpc.LeaseKeepAliveRequest(ID=lease))
                answer = await self._call.read()
        except TimeoutError as error:
            raise RegistryFault(f"the lease could not be renewed within {within_s:g} s") from error
        except grpc.aio.AioRpcError as error:
            raise self._calls.fault(error) from error
        if not isinstance(answer, rpc.LeaseKeepAliveResponse):  # the end of the stream
            raise RegistryFault("etcd ended the stream of renewals")
        return float(answer.TTL)


class Watches:
    """See ``EtcdCalls.watches``."""

    def __init__(self, call: Any, calls: EtcdCalls) -> None:
        self._call = call
        self._calls = calls

    async def add(self, key: bytes, end: bytes, revision: int) -> None:
        """Watch a range of keys (one key if ``end`` is empty) from a revision on."""
        create = rpc.WatchCreateRequest(key=key, range_end=end, start_revision=revision)
        try:
            async with asyncio.timeout(CALL_DEADLINE_S):
                await self._call.write(rpc.WatchRequest(create_request=create))
        except (TimeoutError, asyncio.InvalidStateError) as error:
            raise RegistryFault("the stream of watches takes no more") from error
        except grpc.aio.AioRpcError as error:
            raise self._calls.fault(error) from error

    async def keys(self) -> AsyncIterator[str]:
        """The keys that change. Raises RegistryFault as soon as a watch cannot go on."""
        try:
            async for answer in self._call:
                if answer.canceled or answer.compact_revision:
                    raise RegistryFault(f"etcd ended a watch: {answer.cancel_reason[:200] or 'compacted'}")
                for event in answer.events:
                    yield event.kv.key.decode(errors="replace")
        except grpc.aio.AioRpcError as error:
            raise self._calls.fault(error) from error
        raise RegistryFault("etcd ended the stream of watches")


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncIterator[EtcdCalls]:
    """A connection to one member; nothing is sent yet."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        yield EtcdCalls(channel, target)
