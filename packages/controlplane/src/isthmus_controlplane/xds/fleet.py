"""Who is connected, in which scope, and what each scope gets. No I/O: streams are woken by a callback."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import Node

from isthmus_controlplane.model.scope import scope_of
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.audience import Audience
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import Request
from isthmus_controlplane.xds.push import PushLog
from isthmus_controlplane.xds.session import Received, Session, TypeStatus
from isthmus_controlplane.xds.subscription import NO_CHANGE

MAX_HELD = 1_000  # scopes whose clients poll


@dataclasses.dataclass(slots=True, eq=False)
class Client:
    """One stream. Several streams may carry the same node id; each has a state of its own.

    Attributes:
        id: number of the stream, unique in this process.
        peer: address of the client, as gRPC writes it.
        method: RPC method, such as ``DeltaAggregatedResources``.
        connected_since: seconds since the epoch.
        session: protocol state.
        wake: makes the stream look for something to send.
        queued_at: when a publication that concerns it was made and not looked at yet, on a monotonic clock.
        node: from the first request; None before.
        scope: derived from the node; None before.
    """

    id: int
    peer: str
    method: str
    connected_since: float
    session: Session
    wake: Callable[[], None]
    queued_at: float | None = None
    node: Node | None = None
    scope: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class ClientStatus:
    """One client, for status pages; see `Client` for the fields of the same name."""

    id: int
    node_id: str
    peer: str
    user_agent: str
    method: str
    variant: str
    connected_since: float
    scope: Any
    types: tuple[TypeStatus, ...]


class Fleet:
    """All streams and the newest snapshot of each scope in use."""

    def __init__(
        self,
        pushes: PushLog,
        on_scope_needed: Callable[[Any], None],
        *,
        scope_of: Callable[[Node], Any] = scope_of,
        affected_only: bool = True,
        streams_per_node: Callable[[], int] = lambda: 0,
    ) -> None:
        """Start empty.

        Args:
            pushes: told about every publication and every answer.
            scope_of: says which clients share a snapshot; any hashable value.
            streams_per_node: says how many streams may carry one node id; 0 for any number.
            affected_only: leave alone whom a publication does not concern; off, to measure what that brings.
            on_scope_needed: called when a client arrives whose scope has no snapshot; `publish` answers, at once from
                inside the call or later.
        """
        self._pushes = pushes
        self._on_scope_needed = on_scope_needed
        self._scope_of = scope_of
        self._affected_only = affected_only
        self._streams_per_node = streams_per_node
        self._nodes: collections.Counter[str] = collections.Counter()
        self._clients: dict[int, Client] = {}
        self._audiences: dict[Any, Audience[Client]] = {}
        self._snapshots: dict[Any, tuple[Snapshot, int]] = {}
        self._held: dict[Any, float] = {}  # scopes of clients that poll, and until when they count as in use
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._clients)

    def join(
        self, *, peer: str, method: str, connected_since: float, session: Session, wake: Callable[[], None]
    ) -> Client:
        """Add a stream, which has no scope until its node is known."""
        client = Client(next(self._ids), peer, method, connected_since, session, wake)
        self._clients[client.id] = client
        return client

    def identify(self, client: Client, node: Node) -> None:
        """Take a stream's node and give it its scope's snapshot as soon as there is one.

        Raises:
            StreamError: too many streams carry that node id.
        """
        limit = self._streams_per_node()
        if limit and self._nodes[node.id] >= limit:
            text = f"node {node.id!r} has {limit} streams, the limit; close one, or give each process an id of its own"
            raise StreamError("RESOURCE_EXHAUSTED", text)
        self._nodes[node.id] += 1
        client.node, client.scope = node, self._scope_of(node)
        client.session.identify(node.user_agent_name, node.client_features)
        self._audiences.setdefault(client.scope, Audience()).members[client.id] = client
        known = self._snapshots.get(client.scope)
        if known is None:
            self._on_scope_needed(client.scope)
        else:
            client.session.publish(*known)

    def receive(self, client: Client, request: Request) -> Received:
        """Take a request of a stream whose node is known; see `Session.receive` for what is raised."""
        self._catch_up(client, self.snapshot(client.scope))
        received = client.session.receive(request)
        if received.change is not NO_CHANGE and client.node is not None:
            subscription = client.session.watches[received.type_url].subscription
            self._audiences[client.scope].note(client.id, received.type_url, received.change, subscription)
        return received

    def _catch_up(self, client: Client, unconcerned: Snapshot | None) -> None:
        """Give a stream the newest snapshot: those that a publication does not concern sleep on with an older one.

        Args:
            client: the stream.
            unconcerned: the newest snapshot of its scope up to which it slept, since none concerned it.
        """
        known = self._snapshots.get(client.scope) if client.node is not None else None
        if known is not None and client.session.snapshot is not known[0]:
            if unconcerned is not None:
                client.session.skip(unconcerned)
            client.session.publish(*known)

    def leave(self, client: Client) -> None:
        """Remove a stream; a scope without streams forgets its snapshot, since nobody keeps it up to date."""
        self._clients.pop(client.id, None)
        self._pushes.note_gone(client.id)
        if client.node is None:
            return
        self._nodes[client.node.id] -= 1
        if not self._nodes[client.node.id]:
            del self._nodes[client.node.id]
        audience = self._audiences[client.scope]
        audience.leave(client.id, client.session.subscriptions())
        if not audience.members:
            del self._audiences[client.scope]
            if client.scope not in self._held:
                self._snapshots.pop(client.scope, None)

    def hold(self, scope: Any, now: float, seconds: float) -> None:
        """Count a scope as in use for some time, although it may have no stream: its clients poll.

        Raises:
            StreamError: too many scopes are held.
        """
        self._release(now)
        if scope not in self._held and len(self._held) >= MAX_HELD:
            text = f"clients of {MAX_HELD} different kinds poll, the limit; use streams"
            raise StreamError("RESOURCE_EXHAUSTED", text)
        self._held[scope] = now + seconds
        if scope not in self._snapshots:
            self._on_scope_needed(scope)

    def _release(self, now: float) -> None:
        for scope in [scope for scope, until in self._held.items() if until < now]:
            del self._held[scope]
            if scope not in self._audiences:
                self._snapshots.pop(scope, None)

    def publish(self, snapshots: Mapping[Any, Snapshot], cause: str) -> int | None:
        """Give scopes new snapshots, as one push; returns its id, or None when no scope in use got anything new.

        Only streams that may have to be told something are given it and woken. All others, and the work that they would
        be, are left alone until they ask for something.
        """
        changed = {
            scope: snapshot
            for scope, snapshot in snapshots.items()
            if (scope in self._audiences or scope in self._held) and not self._has(scope, snapshot)
        }
        if not changed:
            return None
        touched = [client for scope, snapshot in changed.items() for client in self._concerned(scope, snapshot)]
        clients = sum(len(self._audiences[scope].members) for scope in changed if scope in self._audiences)
        before = {scope: self.snapshot(scope) for scope in changed} if self._affected_only else {}
        push = self._pushes.start(cause, (client.id for client in touched), clients)
        self._snapshots.update({scope: (snapshot, push) for scope, snapshot in changed.items()})
        now = time.monotonic()
        for client in touched:
            self._catch_up(client, before.get(client.scope))
            if not self._affected_only:
                client.session.repeat_all()
            client.queued_at = now if client.queued_at is None else client.queued_at
            client.wake()
        return push

    def _concerned(self, scope: Any, snapshot: Snapshot) -> list[Client]:
        audience = self._audiences.get(scope)
        if audience is None:  # its clients poll
            return []
        return audience.concerned(self.snapshot(scope) if self._affected_only else None, snapshot)

    def scopes_in_use(self) -> frozenset[Any]:
        """Return the scopes of the connected clients, and of those that polled lately."""
        return frozenset(self._audiences) | frozenset(self._held)

    def snapshot(self, scope: Any) -> Snapshot | None:
        """Return what the clients of a scope get, None while it has no snapshot."""
        known = self._snapshots.get(scope)
        return known[0] if known else None

    def clients(self) -> tuple[Client, ...]:
        """Return every stream, in order of arrival."""
        return tuple(self._clients.values())

    def statuses(self) -> tuple[ClientStatus, ...]:
        """Describe every client, in order of arrival."""
        return tuple(_status(client) for client in self._clients.values())

    def _has(self, scope: Any, snapshot: Snapshot) -> bool:
        known = self._snapshots.get(scope)
        return known is not None and known[0].version == snapshot.version


def _status(client: Client) -> ClientStatus:
    node = client.node
    return ClientStatus(
        id=client.id,
        node_id=node.id if node else "",
        peer=client.peer,
        user_agent=_user_agent(node) if node else "",
        method=client.method,
        variant=client.session.variant.value,
        connected_since=client.connected_since,
        scope=client.scope,
        types=tuple(client.session.type_statuses()),
    )


def _user_agent(node: Node) -> str:
    build = node.user_agent_build_version.version
    version = node.user_agent_version or f"{build.major_number}.{build.minor_number}.{build.patch}"
    return f"{node.user_agent_name}/{version}" if node.user_agent_name else ""
