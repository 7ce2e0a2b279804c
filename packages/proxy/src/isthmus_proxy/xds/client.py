"""Keeps one ADS stream to the control plane: connects, reconnects with back-off, pumps messages through ``Discovery``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import trio
import trio.lowlevel
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.message import DecodeError

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.grpc.call import CallOptions, Liveness
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.status import INTERNAL, UNAVAILABLE, GrpcError
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.xds.apply import Discovery
from isthmus_proxy.xds.last_good_file import LastGoodFile
from isthmus_proxy.xds.resources import SHORT_NAMES
from isthmus_proxy.xds.servers import Server, Servers
from isthmus_proxy.xds.subscription import Response

_log = logging.getLogger(__name__)

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_METHODS = {
    "sotw": (_SERVICE + "StreamAggregatedResources", DiscoveryResponse),
    "delta": (_SERVICE + "DeltaAggregatedResources", DeltaDiscoveryResponse),
}
_MB = 1024 * 1024
_OPTIONS = CallOptions(
    max_message_bytes=64 * _MB,  # 9,000 clusters are some 12 MB in one response
    max_queued_bytes=16 * _MB,  # initial_resource_versions of 100,000 resources fit
    liveness=Liveness(),
)


class XdsClient:
    """See the module. ``servers`` are tried in order; ``after_update`` follows every response that was taken into service."""

    def __init__(
        self,
        discovery: Discovery,
        grpc: GrpcClient,
        servers: tuple[Server, ...],
        stats: StatsStore,
        after_update: Callable[[], None],
        last_good: LastGoodFile | None = None,
    ) -> None:
        self._discovery = discovery
        self._grpc = grpc
        self._servers = Servers(servers, lambda cluster: len(grpc.addresses(cluster)))
        self._after_update = after_update
        self._last_good = last_good
        self._heard = False
        self._settled = trio.Event()
        scope = stats.scope("control_plane")
        self._connected = scope.gauge("connected_state")
        self._identifier = scope.text("identifier")
        self._server = scope.text("server")
        self._changes = scope.counter("server_changes")
        self._attempts = 0
        self._waited = False  # for initial_fetch_timeout, in vain
        self._outage = ""
        self._stream: TaskCall | None = None
        self._deadline: trio.CancelScope | None = None
        self._call: trio.CancelScope | None = None
        self._method, self._response_type = _METHODS[discovery.session.variant]

    async def run(self) -> None:
        """Stay connected, and keep the deadlines of what waits, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_deadlines)
            while True:
                try:
                    with trio.CancelScope() as self._call:
                        await self._serve()
                    self._waited = True
                    raise GrpcError(UNAVAILABLE, "it said nothing within initial_fetch_timeout")  # noqa: TRY301
                except GrpcError as error:
                    self._discovery.disconnected()
                    self._lost(error)
                    self._start_from_last_good()
                await trio.sleep(self._servers.failed())

    async def _serve(self) -> None:
        self._attempts += 1
        with TaskCall(self._grpc, self._servers.current.cluster, self._method, _OPTIONS) as stream:
            try:
                await stream.wait_started()
                if self._servers.strange:
                    self._discovery.session.distrust()
                self._discovery.connected()
                self._stream = stream
                await self._send(stream)
                while True:
                    for message in await stream.receive():
                        self._received(message)
                        await self._send(stream)
            finally:
                self._stream = None
                self._connected.value = 0

    def _received(self, message: bytes) -> None:
        try:
            response = self._response_type.FromString(message)
        except DecodeError as error:
            raise GrpcError(INTERNAL, f"an unreadable response: {error}") from None
        if not self._connected.value:
            self._first_received()
        self._heard = True
        self._settled.set()
        if self._last_good is not None:
            self._last_good.heard()
        taken = self._apply(response)
        self._identifier.value = self._discovery.session.control_plane
        kind = SHORT_NAMES.get(response.type_url, response.type_url)
        if taken is None:
            _log.warning("a response of type %s, which was never asked for, is ignored", kind)
        elif not taken:
            errors = self._discovery.session.rejected(response.type_url)
            reasons = "; ".join(f"{name}: {rejected.reason}" for name, rejected in sorted(errors.items()))
            _log.warning("%s update rejected: %s", kind, reasons or "unreadable resources")
        self._moved()
        self._after_update()

    def _first_received(self) -> None:
        """The stream is one indeed."""
        self._connected.value = 1
        self._changes.value += self._servers.answered()
        self._server.value = self._servers.current.cluster
        if self._outage:
            _log.info("connected to the control plane again (%s)", self._servers.current.cluster)
            self._outage = ""

    def _apply(self, response: Response) -> bool | None:
        try:
            return self._discovery.receive(response)
        except ConfigError:
            raise  # the bootstrap's own listeners cannot open: there is nothing to go on with
        except Exception as error:
            # A fault of ours in one update must not take down what is served: go back to before, by a new stream.
            _log.exception("an update could not be applied")
            raise GrpcError(INTERNAL, f"an update could not be applied: {error!r}") from error

    async def _send(self, stream: TaskCall) -> None:
        for request in self._discovery.take_requests():
            await stream.send(request.SerializeToString())

    async def _keep_deadlines(self) -> None:
        """Expire what waits; sleeps until the earliest deadline, which every update may move (``_moved``)."""
        while True:
            with trio.CancelScope(deadline=self._discovery.next_deadline()) as self._deadline:
                await trio.sleep_forever()
            if self._may_restore and self._stream is not None and self._call is not None:
                self._call.cancel()
                await self._settled.wait()
                continue
            self._discovery.expire()
            self._after_update()
            if self._stream is not None:
                # A broken stream is noticed by its reader too, who reports it.
                with contextlib.suppress(GrpcError):
                    await self._send(self._stream)

    @property
    def _may_restore(self) -> bool:
        return not self._heard and self._last_good is not None

    def _start_from_last_good(self) -> None:
        """When no address of the control plane has ever answered: serve what a former process had."""
        tried = self._waited or self._attempts >= self._servers.attempts_at_all
        if not self._may_restore or not tried or self._last_good is None:
            return
        if self._last_good.restore():
            _log.warning("the last good configuration is in service until the control plane answers")
            self._after_update()
            self._moved()
        self._heard = True
        self._settled.set()

    def _moved(self) -> None:
        if self._deadline is not None:
            self._deadline.deadline = self._discovery.next_deadline()

    def _lost(self, error: GrpcError) -> None:
        """Say so once per outage, then stay silent."""
        if not self._outage:
            cluster = self._servers.current.cluster
            addresses = ", ".join(f"{host}:{port}" for host, port in self._grpc.addresses(cluster))
            _log.warning(
                "control plane %s (%s): %s; what was received stays in service, trying again",
                cluster,
                addresses or "no address yet",
                error,
            )
        self._outage = str(error)
