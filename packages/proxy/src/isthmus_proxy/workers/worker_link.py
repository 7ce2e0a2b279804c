"""The worker's end of the connection to its parent: answers what the parent asks, and ends with it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import trio

from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.workers.frames import STARTED, FrameReader, frame
from isthmus_proxy.workers.stats_merge import dump

_log = logging.getLogger(__name__)


class WorkerLink:
    """``gone`` is called when the parent is no more: nobody would supervise this worker."""

    def __init__(
        self,
        sock: socket.socket,
        dispatcher: Dispatcher,
        stats: StatsStore,
        refresh: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._dispatcher = dispatcher
        self._stats = stats
        self._refresh = refresh
        self._gone = gone

    async def started(self) -> None:
        """Tell the parent that this worker serves. Before ``run``."""
        await self._stream.send_all(frame({"id": STARTED}))

    async def run(self) -> None:
        """Answer until cancelled or until the parent is gone."""
        reader = FrameReader()
        try:
            while data := await self._stream.receive_some(65536):
                for message in reader.receive(bytes(data)):
                    await self._stream.send_all(frame(self._answer(message)))
        except trio.BrokenResourceError:
            pass
        _log.error("the parent process is gone; this worker drains and ends")
        self._gone()

    def _answer(self, message: dict[str, object]) -> dict[str, object]:
        if message.get("op") == "stats":
            self._refresh()
            return {"id": message["id"], "stats": dump(self._stats)}
        query = message.get("query")
        request = AdminRequest(
            str(message.get("method", "GET")), str(message.get("path", "/")), query if isinstance(query, dict) else {}
        )
        response = self._dispatcher.respond(request)
        return {
            "id": message["id"],
            "status": response.status,
            "content_type": response.content_type,
            "body": "".join(response.body),
        }
