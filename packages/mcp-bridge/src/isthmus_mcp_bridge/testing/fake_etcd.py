"""An etcd in memory: Range and Watch of version 3, with revisions and compaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aetcd import rpc

from isthmus_mcp_bridge.testing.http_server import free_port


class FakeEtcd:
    """Keys with the revision that created each, and the events since the last compaction."""

    def __init__(self) -> None:
        self.target = f"127.0.0.1:{free_port()}"
        self.keys: dict[bytes, int] = {}
        self.revision = 1
        self._events: list[tuple[int, Any]] = []
        self._compacted = 0
        self._server: grpc.aio.Server | None = None
        self._changed = asyncio.Condition()

    async def put(self, key: str) -> None:
        """Write a key."""
        await self._apply(key.encode(), there=True)

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await self._apply(key.encode(), there=False)

    def compact(self) -> None:
        """Forget the past."""
        self._compacted = self.revision
        self._events.clear()

    async def start(self) -> None:
        """Serve."""
        if self._server is None:
            self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            handlers = {
                "Range": grpc.unary_unary_rpc_method_handler(
                    self._range, rpc.RangeRequest.FromString, rpc.RangeResponse.SerializeToString
                )
            }
            watch = grpc.stream_stream_rpc_method_handler(
                self._watch, rpc.WatchRequest.FromString, rpc.WatchResponse.SerializeToString
            )
            self._server.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler("etcdserverpb.KV", handlers),
                    grpc.method_handlers_generic_handler("etcdserverpb.Watch", {"Watch": watch}),
                )
            )
            self._server.add_insecure_port(self.target)
            await self._server.start()

    async def stop(self) -> None:
        """End all connections."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(0)

    async def _apply(self, key: bytes, *, there: bool) -> None:
        async with self._changed:
            self.revision += 1
            event = rpc.Event(type=rpc.Event.PUT if there else rpc.Event.DELETE)
            event.kv.key = key
            if there:
                self.keys.setdefault(key, self.revision)
                event.kv.create_revision = self.keys[key]
            else:
                self.keys.pop(key, None)
            event.kv.mod_revision = self.revision
            self._events.append((self.revision, event))
            self._changed.notify_all()

    async def _range(self, request: Any, _: Any) -> Any:
        answer = rpc.RangeResponse()
        answer.header.revision = self.revision
        found = sorted(key for key in self.keys if request.key <= key < request.range_end)
        for key in found[: request.limit or None]:
            answer.kvs.add(key=key, create_revision=self.keys[key])
        answer.more = bool(request.limit) and len(found) > request.limit
        return answer

    async def _watch(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        create = (await anext(aiter(requests))).create_request
        created = rpc.WatchResponse(created=True)
        created.header.revision = self.revision
        yield created
        at = create.start_revision
        if at <= self._compacted:
            yield rpc.WatchResponse(canceled=True, compact_revision=self._compacted)
            return
        while True:
            async with self._changed:
                while self.revision < at:
                    await self._changed.wait()
                events = [one for revision, one in self._events if revision >= at]
                at = self.revision + 1
            answer = rpc.WatchResponse(events=[one for one in events if create.key <= one.kv.key < create.range_end])
            answer.header.revision = at - 1
            yield answer
