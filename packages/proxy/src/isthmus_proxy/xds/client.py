"""Talks to control planes: by the aggregated stream, and by streams of single types that come and go with what is needed.

Keeps the deadlines of what waits, whatever stream it waits for, and starts from the last good configuration if the aggregated
stream cannot be had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.observe.stats import Scope, StatsStore
from isthmus_proxy.xds.apply import Discovery
from isthmus_proxy.xds.file_stream import FileStream
from isthmus_proxy.xds.last_good_file import LastGoodFile
from isthmus_proxy.xds.resources import CLUSTER, LISTENER, SHORT_NAMES
from isthmus_proxy.xds.servers import Server
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.source import ApiSource
from isthmus_proxy.xds.stream import XdsStream

_log = logging.getLogger(__name__)

MakeServers = Callable[[ApiSource], tuple[Server, ...]]


class XdsClient:
    """See the module. ``servers`` are those of the aggregated stream, none if there is no such stream; ``make_servers`` makes
    those of others. ``after_update`` follows every response that was taken into service.
    """

    def __init__(
        self,
        discovery: Discovery,
        grpc: GrpcClient,
        servers: tuple[Server, ...],
        stats: StatsStore,
        after_update: Callable[[], None],
        last_good: LastGoodFile | None = None,
        make_servers: MakeServers = lambda _source: (),
    ) -> None:
        self._discovery = discovery
        self._grpc = grpc
        self._stats = stats
        self._after_update = after_update
        self._last_good = last_good
        self._make_servers = make_servers
        self._heard = False
        self._settled = trio.Event()
        self._deadline: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._own: dict[Session, trio.CancelScope] = {}
        self._streams: list[XdsStream | FileStream] = []
        self._main: XdsStream | None = None
        if servers:
            scope = stats.scope("control_plane")
            self._main = XdsStream(discovery, discovery.session, grpc, servers, scope, _MainObserver(self))
            self._streams.append(self._main)

    async def run(self) -> None:
        """Stay connected, and keep the deadlines of what waits, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._keep_deadlines)
            self._match_streams()
            if self._main is not None:
                await self._main.run()

    async def _keep_deadlines(self) -> None:
        """Expire what waits; sleeps until the earliest deadline, which every update may move (``_moved``)."""
        while True:
            with trio.CancelScope(deadline=self._discovery.next_deadline()) as self._deadline:
                await trio.sleep_forever()
            if self._may_restore and self._main is not None and self._main.up:
                self._main.give_up_attempt()
                await self._settled.wait()
                continue
            self._discovery.expire()
            self.updated()

    # ---- Observer of every stream ----

    def heard(self) -> None:
        """See Observer."""

    def updated(self) -> None:
        """Something is in service, or given up: other streams may have to ask for more, or for less."""
        self._moved()
        self._match_streams()
        for stream in self._streams:
            if self._nursery is not None and stream.session.has_requests and stream.up:
                self._nursery.start_soon(stream.flush)
        self._after_update()

    def lost(self, *, tried_all: bool) -> None:
        """See Observer."""

    # ---- of the aggregated stream ----

    def main_heard(self) -> None:
        """The control plane has answered: what a former process had is the past."""
        self._heard = True
        self._settled.set()
        if self._last_good is not None:
            self._last_good.heard()

    def main_lost(self, *, tried_all: bool) -> None:
        """When no address of the control plane has ever answered: serve what a former process had."""
        if not self._may_restore or not tried_all or self._last_good is None:
            return
        if self._last_good.restore():
            _log.warning("the last good configuration is in service until the control plane answers")
            self.updated()
        self._heard = True
        self._settled.set()

    @property
    def _may_restore(self) -> bool:
        return not self._heard and self._last_good is not None

    def _moved(self) -> None:
        if self._deadline is not None:
            self._deadline.deadline = self._discovery.next_deadline()

    # ---- streams of single types ----

    def _match_streams(self) -> None:
        """Begin the streams that are needed, and end those that no longer are."""
        wanted = {session: own for own, session in self._discovery.sessions.own.items()}
        for session in [session for session in self._own if session not in wanted]:
            self._own.pop(session).cancel()
            self._streams = [stream for stream in self._streams if stream.session is not session]
        for session, (type_url, source) in wanted.items():
            if session not in self._own and self._nursery is not None:
                scope = self._own[session] = trio.CancelScope()
                stream = self._stream(type_url, source, session)
                self._streams.append(stream)
                self._nursery.start_soon(_run_within, scope, stream)

    def _stream(self, type_url: str, source: ApiSource, session: Session) -> XdsStream | FileStream:
        if source.path:
            return FileStream(self._discovery, session, source.path, self, type_url)
        servers, scope = self._make_servers(source), self._scope(type_url, source)
        return XdsStream(self._discovery, session, self._grpc, servers, scope, self, type_url)

    def _scope(self, type_url: str, source: ApiSource) -> Scope:
        if type_url == CLUSTER:
            return self._stats.scope("cluster_manager.cds.control_plane")
        if type_url == LISTENER:
            return self._stats.scope("listener_manager.lds.control_plane")
        return self._stats.scope(f"control_plane.{SHORT_NAMES[type_url]}.{source.servers[0].cluster_name}")


class _MainObserver:
    """Tells the client of the aggregated stream."""

    def __init__(self, client: XdsClient) -> None:
        self.heard = client.main_heard
        self.updated = client.updated
        self._lost = client.main_lost

    def lost(self, *, tried_all: bool) -> None:
        """See Observer."""
        self._lost(tried_all=tried_all)


async def _run_within(scope: trio.CancelScope, stream: XdsStream | FileStream) -> None:
    with scope:
        await stream.run()
