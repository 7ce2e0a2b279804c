"""Keeps one stream to management servers: connects, reconnects with back-off, pumps messages through ``Discovery``."""

from __future__ import annotations

import contextlib
import logging
from typing import Protocol

import trio
from google.protobuf.message import DecodeError

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.grpc.call import CallOptions, Liveness
from isthmus_proxy.grpc.client import GrpcClient
from isthmus_proxy.grpc.status import INTERNAL, UNAVAILABLE, GrpcError
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.observe.stats import Scope
from isthmus_proxy.xds.apply import Discovery
from isthmus_proxy.xds.methods import method_of, response_type
from isthmus_proxy.xds.resources import SHORT_NAMES
from isthmus_proxy.xds.servers import Server, Servers
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.subscription import Response

_log = logging.getLogger(__name__)

_MB = 1024 * 1024
_OPTIONS = CallOptions(
    max_message_bytes=64 * _MB,  # 9,000 clusters are some 12 MB in one response
    max_queued_bytes=16 * _MB,  # initial_resource_versions of 100,000 resources fit
    liveness=Liveness(),
)


class Observer(Protocol):
    """What is told of a stream."""

    def heard(self) -> None:
        """A readable response is here, and is going to be applied."""
        ...

    def updated(self) -> None:
        """A response was applied, or refused."""
        ...

    def lost(self, *, tried_all: bool) -> None:
        """The stream ended, or could not be had; ``tried_all``: at any address of any server, or it said nothing in time."""
        ...


class XdsStream:
    """See the module. ``servers`` are tried in order; ``type_url`` is that of a stream of one type, empty for the aggregated one."""

    def __init__(
        self,
        discovery: Discovery,
        session: Session,
        grpc: GrpcClient,
        servers: tuple[Server, ...],
        scope: Scope,
        observer: Observer,
        type_url: str = "",
    ) -> None:
        self.session = session
        self._discovery = discovery
        self._grpc = grpc
        self._servers = Servers(servers, lambda cluster: len(grpc.addresses(cluster)))
        self._observer = observer
        self._method = method_of(type_url, session.variant)
        self._response_type = response_type(session.variant)
        self._connected = scope.gauge("connected_state")
        self._identifier = scope.text("identifier")
        self._server = scope.text("server")
        self._changes = scope.counter("server_changes")
        self._attempts = 0
        self._outage = ""
        self._stream: TaskCall | None = None
        self._call: trio.CancelScope | None = None
        self._sending = trio.Lock()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            silent = False
            try:
                with trio.CancelScope() as self._call:
                    await self._serve()
                silent = True
                raise GrpcError(UNAVAILABLE, "it said nothing within initial_fetch_timeout")  # noqa: TRY301
            except GrpcError as error:
                self._discovery.disconnected(self.session)
                self._lost(error)
                self._observer.lost(tried_all=silent or self._attempts >= self._servers.attempts_at_all)
            await trio.sleep(self._servers.failed())

    @property
    def up(self) -> bool:
        """Whether a stream has begun."""
        return self._stream is not None

    def give_up_attempt(self) -> None:
        """The server says nothing: end its stream."""
        if self._call is not None:
            self._call.cancel()

    async def flush(self) -> None:
        """Send what is to be sent. A broken stream is noticed by its reader too, who reports it."""
        if self._stream is not None:
            with contextlib.suppress(GrpcError):
                await self._send(self._stream)

    async def _serve(self) -> None:
        self._attempts += 1
        with TaskCall(self._grpc, self._servers.current.cluster, self._method, _OPTIONS) as stream:
            try:
                await stream.wait_started()
                if self._servers.strange:
                    self.session.distrust()
                self._discovery.connected(self.session)
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
        self._observer.heard()
        taken = self._apply(response)
        self._identifier.value = self.session.control_plane
        kind = SHORT_NAMES.get(response.type_url, response.type_url)
        if taken is None:
            _log.warning("a response of type %s, which was never asked for, is ignored", kind)
        elif not taken:
            errors = self.session.rejected(response.type_url)
            reasons = "; ".join(f"{name}: {rejected.reason}" for name, rejected in sorted(errors.items()))
            _log.warning("%s update rejected: %s", kind, reasons or "unreadable resources")
        self._observer.updated()

    def _first_received(self) -> None:
        """The stream is one indeed."""
        self._connected.value = 1 if self._servers.is_first else 2  # as Envoy tells a failover server
        self._changes.value += self._servers.answered()
        self._server.value = self._servers.current.cluster
        if self._outage:
            _log.info("connected to the control plane again (%s)", self._servers.current.cluster)
            self._outage = ""

    def _apply(self, response: Response) -> bool | None:
        try:
            return self._discovery.receive(response, self.session)
        except ConfigError:
            raise  # the bootstrap's own listeners cannot open: there is nothing to go on with
        except Exception as error:
            # A fault of ours in one update must not take down what is served: go back to before, by a new stream.
            _log.exception("an update could not be applied")
            raise GrpcError(INTERNAL, f"an update could not be applied: {error!r}") from error

    async def _send(self, stream: TaskCall) -> None:
        """One batch of requests after the other: answers keep the order of what they answer."""
        async with self._sending:
            for request in self._discovery.take_requests(self.session):
                await stream.send(request.SerializeToString())

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
