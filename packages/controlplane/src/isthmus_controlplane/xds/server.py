"""The xDS server: gRPC on the outside, a fleet of sessions inside."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import Node

from isthmus_controlplane import __version__
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.scope import scope_of
from isthmus_controlplane.snapshot.resource_type import CLUSTER
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.techniques import ALL, Techniques
from isthmus_controlplane.telemetry.services import DEFAULT_INTERVAL_S, Telemetry
from isthmus_controlplane.xds import client_status, health, reflection
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fetch import fetch
from isthmus_controlplane.xds.fleet import Client, ClientStatus, Fleet
from isthmus_controlplane.xds.message import Response, SotwRequest
from isthmus_controlplane.xds.metrics import XdsMetrics, type_label
from isthmus_controlplane.xds.observer import Observer, Silent
from isthmus_controlplane.xds.push import PushLog, PushStatus
from isthmus_controlplane.xds.rest import unary
from isthmus_controlplane.xds.services import Method, fetch_methods, methods
from isthmus_controlplane.xds.session import DEFAULT_LIMITS, Limits, Session, is_grpc
from isthmus_controlplane.xds.stream import DEFAULT_DEADLINES, Deadlines, Pump, status_code
from isthmus_controlplane.xds.token_bucket import TokenBucket

log = logging.getLogger(__name__)

# How long clients that poll keep their scope up to date, and how long a poll waits for the first snapshot of it.
POLL_HOLD_S = 300.0
POLL_WAIT_S = 10.0
POLL_STEP_S = 0.02
IDENTIFIER = f"isthmus-controlplane/{__version__}"


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSettings:
    """Bounds of the server.

    Attributes:
        max_streams: streams open at once; more get RESOURCE_EXHAUSTED.
        streams_per_node: streams open at once with one node id; more get RESOURCE_EXHAUSTED. 0 for no limit.
        streams_per_second: streams accepted a second; more get RESOURCE_EXHAUSTED. 0 for no limit.
        stream_burst: streams accepted at once before that limit counts.
        max_stream_age: seconds after which a stream has to reconnect, spread by a fifth either way; 0 for never.
        max_request_bytes: largest request; reconnecting delta clients list all they have.
        max_response_bytes: largest response that is sent.
        keepalive_time: seconds of silence after which a connection is probed.
        keepalive_timeout: seconds that a probe may take.
        load_report_interval: seconds between the load reports that clients are asked for.
        limits: bounds of each stream.
        deadlines: deadlines of each stream.
    """

    max_streams: int = 20_000
    streams_per_node: int = 0
    streams_per_second: float = 0.0
    stream_burst: int = 100
    max_stream_age: float = 0.0
    max_request_bytes: int = 16 * 1024 * 1024
    max_response_bytes: int = 256 * 1024 * 1024
    keepalive_time: float = 30.0
    keepalive_timeout: float = 10.0
    load_report_interval: float = DEFAULT_INTERVAL_S
    limits: Limits = DEFAULT_LIMITS
    deadlines: Deadlines = DEFAULT_DEADLINES

    def options(self) -> list[tuple[str, int]]:
        """Return them as gRPC channel arguments."""
        return [
            ("grpc.keepalive_time_ms", int(self.keepalive_time * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Clients may probe as often as every 5 s.
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.max_receive_message_length", self.max_request_bytes),
            ("grpc.max_send_message_length", self.max_response_bytes),
            # Two processes on one port would each have half of the clients.
            ("grpc.so_reuseport", 0),
        ]


def _ignore(_: object) -> None:
    """Do nothing: the default of callbacks."""


class XdsServer:
    """Serves xDS to Envoy, gRPC clients and Isthmus proxies; must be used from one event loop.

    Before it is published, a scope is not answered: clients keep what they have until the control plane knows better.
    """

    def __init__(
        self,
        address: str,
        *,
        on_scope_needed: Callable[[Any], None],
        on_push_converged: Callable[[PushStatus], None] = _ignore,
        settings: ServerSettings | None = None,
        scope_of: Callable[[Node], Any] = scope_of,
        observer: Observer | None = None,
        randomness: random.Random | None = None,
        techniques: Techniques = ALL,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            address: ``HOST:PORT`` to listen on; port 0 takes any free one.
            on_scope_needed: called when a client arrives whose scope has no snapshot; answer with `publish`, from
                inside the call or whenever there is one.
            on_push_converged: called when the last client answered a push (or left).
            settings: bounds.
            scope_of: says which clients share a snapshot; any hashable value.
            observer: told what happens on streams.
            randomness: spreads what should not happen to all clients at once.
            techniques: what makes pushes cheap.
            credentials: for TLS; None for plain text.
        """
        self.metrics = XdsMetrics()
        self._scope_of = scope_of
        self._address = address
        self._credentials = credentials
        self.settings = settings or ServerSettings()
        self.telemetry = Telemetry(self.settings.load_report_interval)
        self._on_push_converged = on_push_converged
        self._pushes = PushLog(now=time.monotonic, wall_clock=time.time, on_converged=self._note_converged)
        self._fleet = Fleet(
            self._pushes,
            on_scope_needed,
            scope_of=scope_of,
            affected_only=techniques.affected_only,
            streams_per_node=lambda: self.settings.streams_per_node,
        )
        self._techniques = techniques
        self._observer: Observer = observer or Silent()
        self._random = randomness or random.Random()
        self._bucket = TokenBucket(time.monotonic)
        self._server: grpc.aio.Server | None = None
        self._stopping = False
        self._ended = asyncio.Event()
        self._pumps: dict[int, Pump] = {}

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._fleet)

    async def start(self) -> str:
        """Listen; returns the bound ``HOST:PORT``.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        server = grpc.aio.server(options=self.settings.options())
        for service, handlers in self._handlers().items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        try:
            port = self._add_port(server)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {self._address}: {error}; choose another address") from error
        await server.start()
        self._server = server
        return f"{self._address.rpartition(':')[0]}:{port}"

    def _add_port(self, server: grpc.aio.Server) -> int:
        if self._credentials is None:
            return server.add_insecure_port(self._address)
        return server.add_secure_port(self._address, self._credentials)

    async def stop(self, grace: float = 5.0) -> None:
        """Tell clients to go elsewhere, end the streams, and close after at most ``grace`` seconds."""
        if self._server is None:
            return
        self._stopping = True
        self._ended.set()
        for pump in self._pumps.values():
            pump.end(_stopping())
        server, self._server = self._server, None
        await server.stop(grace)

    async def fetch(self, request: SotwRequest, node: Node) -> Response:
        """Answer a request without a stream: everything that it names.

        Raises:
            StreamError: there is nothing for such a client yet, or too many kinds of clients poll.
        """
        if self._stopping:
            raise _stopping()
        scope = self._scope_of(node)
        self._fleet.hold(scope, time.monotonic(), POLL_HOLD_S)
        self.metrics.count("polls", "type", type_label(request.type_url))
        if request.error is not None:
            self.metrics.count("nacks", "type", type_label(request.type_url))
            log.warning("%s rejects %s: %s", node.id, request.type_url, request.error)
        snapshot = await self._first_snapshot(scope)
        return fetch(snapshot, request, legacy_wildcard=not is_grpc(node.user_agent_name))

    async def _first_snapshot(self, scope: Any) -> Snapshot:
        end = time.monotonic() + POLL_WAIT_S
        while (snapshot := self._fleet.snapshot(scope)) is None:
            if self._stopping or time.monotonic() > end:
                raise StreamError("UNAVAILABLE", "there is nothing for this client yet; ask again")
            await asyncio.sleep(POLL_STEP_S)
        return snapshot

    def publish(self, scope: Any, snapshot: Snapshot, cause: str) -> int | None:
        """Give one scope a snapshot; see `publish_all`."""
        return self.publish_all({scope: snapshot}, cause)

    def publish_all(self, snapshots: Mapping[Any, Snapshot], cause: str) -> int | None:
        """Give scopes new snapshots as one push.

        Scopes that no client is in are left out, as are snapshots equal to what the scope has.

        Args:
            snapshots: what the clients of each scope get from now on.
            cause: what was changed, in words, for status pages.

        Returns:
            The id of the push, None when nothing changed for anyone.
        """
        push = self._fleet.publish(snapshots, cause)
        if push is not None:
            self.metrics.count("pushes")
        return push

    def scopes_in_use(self) -> frozenset[Any]:
        """Return the scopes of the connected clients: what has to be kept published."""
        return self._fleet.scopes_in_use()

    def snapshot(self, scope: Any) -> Snapshot | None:
        """Return what the clients of a scope get; None while the scope is not in use or was not published."""
        return self._fleet.snapshot(scope)

    def clients(self) -> tuple[ClientStatus, ...]:
        """Describe every connected client, for status pages."""
        return self._fleet.statuses()

    def find_clients(self, name: str) -> tuple[Client, ...]:
        """Return the streams of the node with that id, or from that peer; else of all whose id contains ``name``."""
        known = [client for client in self._fleet.clients() if client.node is not None]
        exact = [each for each in known if name in {each.node.id if each.node else "", each.peer}]
        return tuple(exact or (each for each in known if each.node is not None and name in each.node.id))

    def pushes(self) -> tuple[PushStatus, ...]:
        """Return the latest pushes, oldest first."""
        return self._pushes.recent()

    @property
    def all_answered(self) -> bool:
        """Whether every client answered all that it was sent of the latest pushes."""
        return not self._pushes.waiting()

    def waited_for(self) -> tuple[str, ...]:
        """Name the clients that have yet to answer a push, by node id or peer, sorted."""
        waiting = self._pushes.waiting()
        return tuple(
            sorted(each.node.id if each.node else each.peer for each in self._fleet.clients() if each.id in waiting)
        )

    def metrics_text(self) -> str:
        """Return the counters in the Prometheus text format."""
        gauges = {
            "clients": ("Open streams.", len(self._fleet)),
            "scopes": ("Scopes that clients are in.", len(self._fleet.scopes_in_use())),
            "load_reporters": ("Streams of load reports.", self.telemetry.loads.reporters),
            "load_samples": ("Load reports by endpoint of the last minutes.", len(self.telemetry.loads.window)),
            "load_samples_dropped": ("Load reports dropped before their time.", self.telemetry.loads.window.dropped),
            "log_entries": ("Access log entries received.", self.telemetry.log_entries.total()),
        }
        return self.metrics.text(gauges)

    def _note_converged(self, push: PushStatus) -> None:
        self.metrics.observe_push(push)
        self._on_push_converged(push)

    def _handlers(self) -> dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]]:
        handlers: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
        for method in methods():
            # Without serializers gRPC passes bytes through.
            behaviour: Any = functools.partial(self._serve, method)
            handlers.setdefault(method.service, {})[method.name] = grpc.stream_stream_rpc_method_handler(behaviour)
        for service, name, type_url in fetch_methods():
            handlers.setdefault(service, {})[name] = unary(type_url, self.fetch, IDENTIFIER)
        handlers |= self.telemetry.handlers(self._clusters_of)
        handlers[client_status.SERVICE] = client_status.handlers(self._fleet.clients)
        handlers |= reflection.handlers(lambda: frozenset(handlers))
        handlers[health.SERVICE] = health.handlers(lambda: frozenset(handlers), self._ended.wait)
        return handlers

    def _clusters_of(self, node: Node) -> Iterable[str]:
        snapshot = self._fleet.snapshot(self._scope_of(node))
        return snapshot.collection(CLUSTER).resources if snapshot is not None else ()

    async def _serve(self, method: Method, _requests: object, context: Any) -> None:
        """Run one stream; every way it can go wrong becomes a gRPC status."""
        try:
            await self._run_stream(method, context)
        except StreamError as error:
            self.metrics.count("rejected_streams", "code", error.code)
            # Streams that are told to go elsewhere are part of the plan, and may be thousands.
            level = logging.INFO if error.code == "UNAVAILABLE" else logging.WARNING
            log.log(level, "stream of %s ended: %s: %s", context.peer(), error.code, error)
            await context.abort(status_code(error), str(error))

    async def _run_stream(self, method: Method, context: Any) -> None:
        self._check_open()
        woken = asyncio.Event()
        session = Session(method.variant, only_type=method.only_type, limits=self.settings.limits)
        client = self._fleet.join(
            peer=context.peer(), method=method.name, connected_since=time.time(), session=session, wake=woken.set
        )
        self.metrics.count("streams", "variant", method.variant.value)
        pump = Pump(
            context,
            client,
            woken,
            fleet=self._fleet,
            pushes=self._pushes,
            metrics=self.metrics,
            deadlines=self.settings.deadlines,
            identifier=IDENTIFIER,
            observer=self._observer,
            serialise_once=self._techniques.serialise_once,
        )
        self._pumps[client.id] = pump
        aged = self._end_some_day(pump)
        try:
            self._observer.stream_opened(client)
            await pump.run()
        finally:
            if aged is not None:
                aged.cancel()
            del self._pumps[client.id]
            self._fleet.leave(client)
            self._observer.stream_closed(client)

    def _end_some_day(self, pump: Pump) -> asyncio.TimerHandle | None:
        """Make a long stream reconnect, perhaps to another replica; each at a time of its own."""
        age = self.settings.max_stream_age
        if not age:
            return None
        error = StreamError("UNAVAILABLE", "the stream is old; reconnect, so that replicas share the load")
        return asyncio.get_running_loop().call_later(age * self._random.uniform(0.8, 1.2), pump.end, error)

    def _check_open(self) -> None:
        if self._stopping:
            raise _stopping()
        if len(self._fleet) >= self.settings.max_streams:
            text = f"{self.settings.max_streams} streams are open, the limit; try another replica"
            raise StreamError("RESOURCE_EXHAUSTED", text)
        if not self._bucket.take(self.settings.streams_per_second, self.settings.stream_burst):
            text = f"more than {self.settings.streams_per_second:g} new streams a second; try again, with a back-off"
            raise StreamError("RESOURCE_EXHAUSTED", text)


def _stopping() -> StreamError:
    return StreamError("UNAVAILABLE", "the control plane is stopping; reconnect")
