"""Tells a collector of every request: one JSON object a line, over TCP.

Requests never wait for the collector. What they leave goes into a bounded queue, which a task of the filter empties; when the
queue is full records are dropped and counted. When the connection breaks the task fails, and the proxy starts it again after a
pause. Records that were being sent at that moment are sent again: a collector may see some twice, by ``id``.

``on_end`` runs on the worker's own thread, where the queue may be used without a lock: do not configure ``threads``.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from isthmus_proxy.extension import Exchange, FilterContext, HttpFilter, RequestHeaders

BATCH = 256
"""Records sent at once."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where the collector is, how many records may wait, and which request headers are recorded."""

    host: str
    port: int
    queue_size: int
    headers: tuple[str, ...]


class RequestAudit(HttpFilter[Config]):
    """See the module."""

    def __init__(self, config: Config, context: FilterContext) -> None:
        super().__init__(config, context)
        self.queue: deque[dict[str, object]] = deque()
        self.filled = trio.Event()
        self.sent = context.counter("sent")
        self.dropped = context.counter("dropped")

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> Config:
        """``collector`` is ``host:port``."""
        host, _, port = str(values.get("collector", "")).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("collector: must be host:port")
        size = values.get("queue_size", 10_000)
        if not isinstance(size, int) or size < 1:
            raise ValueError("queue_size: must be a whole number of at least 1")
        return Config(host, int(port), size, tuple(str(name).lower() for name in values.get("headers", ["user-agent"])))

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        """Keep what may be changed on the way."""
        exchange.state = {
            "time": time.time(),
            "id": exchange.request_id,
            "client": exchange.remote_address,
            "method": headers.method,
            "authority": headers.authority,
            "path": headers.path,
            "headers": {name: headers.get_all(name) for name in self.config.headers if name in headers},
        }

    def on_end(self, exchange: Exchange, status: int, details: str) -> None:
        """Queue the record."""
        if len(self.queue) >= self.config.queue_size:
            self.dropped.value += 1
            return
        route, cluster = exchange.route_name, exchange.cluster_name
        self.queue.append({**exchange.state, "status": status, "details": details, "route": route, "cluster": cluster})
        self.filled.set()

    async def serve(self) -> None:
        """Send what is queued, as long as the connection holds."""
        async with await trio.open_tcp_stream(self.config.host, self.config.port) as stream:
            while True:
                await self.filled.wait()
                records = [self.queue[index] for index in range(min(BATCH, len(self.queue)))]
                lines = [json.dumps(record, separators=(",", ":")) for record in records]
                await stream.send_all("\n".join([*lines, ""]).encode())
                for _ in records:
                    self.queue.popleft()
                self.sent.value += len(records)
                if not self.queue:
                    self.filled = trio.Event()
