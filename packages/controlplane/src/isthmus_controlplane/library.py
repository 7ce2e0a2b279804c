"""For people who write their own control plane: put resources into a cache, and serve it.

    cache = SnapshotCache(group=lambda node: node.cluster)
    async with Server("127.0.0.1:18000", cache):
        cache.set_snapshot("edge", [cluster, load_assignment, listener, route_configuration])

A `SnapshotCache` holds a set of resources per group of clients, a `LinearCache` one set for everybody, changed piece by piece. A
server sends what clients subscribe to and how it changes, in any variant of the protocol, with all of its rules (order,
make-before-break, versions by content, rejections). All of it belongs to one event loop; no call blocks.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol, Self

from envoy.config.core.v3.base_pb2 import Node

from isthmus_controlplane.config import HostPort, parse_host_port
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.snapshot.names import name_of
from isthmus_controlplane.snapshot.resource import Aliased, Content, ResourcePool, message_of, type_url_of
from isthmus_controlplane.snapshot.snapshot import Messages, Snapshot, build
from isthmus_controlplane.xds.fleet import ClientStatus
from isthmus_controlplane.xds.observer import Observer
from isthmus_controlplane.xds.push import PushStatus
from isthmus_controlplane.xds.rest import RestServer
from isthmus_controlplane.xds.server import IDENTIFIER, ServerSettings, XdsServer

Group = Hashable
Names = tuple[str, str]  # type URL and resource name


class Cache(Protocol):
    """What a `Server` serves."""

    def group_of(self, node: Node) -> Group:
        """Say which clients share their resources."""
        ...

    def attach(self, publish: Callable[[Mapping[Group, Snapshot], str], object]) -> None:
        """Take what tells the clients of groups about new snapshots, with the reason in words."""
        ...

    def snapshot_of(self, group: Group) -> Snapshot | None:
        """Return what a group gets; None while it is not known, so that its clients are not answered yet."""
        ...


class SnapshotCache:
    """A set of resources per group of clients, each replaced as a whole."""

    def __init__(self, group: Callable[[Node], Group] | None = None) -> None:
        """Start empty.

        Args:
            group: says to which group a client belongs, by default its node id.
        """
        self._group = group or (lambda node: node.id)
        self._pool = ResourcePool()
        self._snapshots: dict[Group, Snapshot] = {}
        self._publish: Callable[[Mapping[Group, Snapshot], str], object] | None = None

    def set_snapshot(self, group: Group, resources: Iterable[Content], cause: str = "set_snapshot") -> Snapshot:
        """Give a group these resources and nothing else; clients hear of what differs.

        Messages must not be changed afterwards. One that is the very object of the snapshot before is not serialised again.

        Args:
            group: of clients; they need not be connected.
            resources: messages, or `Timed` ones, which clients drop unless the server repeats that they are there, or
                `Aliased` ones, which clients may ask for under several names.
            cause: what was changed, in words, for `Server.pushes`.

        Raises:
            ValueError: a resource has no name, or two have the same.
        """
        return self.set_snapshots({group: resources}, cause)[group]

    def set_snapshots(
        self, groups: Mapping[Group, Iterable[Content]], cause: str = "set_snapshots"
    ) -> Mapping[Group, Snapshot]:
        """Do so for several groups as one push: what they share is serialised once; see `set_snapshot`."""
        tables = {group: _by_type(resources) for group, resources in groups.items()}
        made = {group: build(table, self._snapshots.get(group), self._pool) for group, table in tables.items()}
        self._pool.forget_messages()
        self._snapshots |= made
        if self._publish is not None:
            self._publish(made, cause)
        return made

    def clear_snapshot(self, group: Group) -> None:
        """Forget a group. Its clients keep what they have; new ones are not answered."""
        self._snapshots.pop(group, None)

    def snapshot(self, group: Group) -> Snapshot:
        """Return what a group gets.

        Raises:
            KeyError: the group was never set, or cleared.
        """
        return self._snapshots[group]

    def group_of(self, node: Node) -> Group:
        """See `Cache`."""
        return self._group(node)

    def attach(self, publish: Callable[[Mapping[Group, Snapshot], str], object]) -> None:
        """See `Cache`."""
        self._publish = publish

    def snapshot_of(self, group: Group) -> Snapshot | None:
        """See `Cache`."""
        return self._snapshots.get(group)


class LinearCache:
    """One set of resources for all clients, changed piece by piece: a change costs what it changes."""

    def __init__(self, resources: Iterable[Content] = ()) -> None:
        """Start with these resources; see `SnapshotCache.set_snapshot` about them."""
        self._pool = ResourcePool()
        self._messages: dict[str, dict[str, Content]] = {
            type_url: dict(table) for type_url, table in _by_type(resources).items()
        }
        self._snapshot = build(self._frozen(), None, self._pool)
        self._publish: Callable[[Mapping[Group, Snapshot], str], object] | None = None

    def update(self, *resources: Content, removed: Iterable[Names] = (), cause: str = "update") -> Snapshot:
        """Add or replace some resources and remove others, as one push.

        Args:
            resources: to add, or to put in the place of those with the same type and name.
            removed: (type URL, name) of what goes; names that are not there are ignored.
            cause: what was changed, in words, for `Server.pushes`.

        Raises:
            ValueError: a resource has no name, or two have the same.
        """
        changed: dict[str, set[str]] = {}
        for type_url, table in _by_type(resources).items():
            changed.setdefault(type_url, set()).update(table)
            self._messages[type_url] = {**self._messages.get(type_url, {}), **table}
        for type_url, name in removed:
            changed.setdefault(type_url, set()).add(name)
            self._messages[type_url] = {n: m for n, m in self._messages.get(type_url, {}).items() if n != name}
        self._snapshot = build(self._frozen(), self._snapshot, self._pool, changed)
        self._pool.forget_messages()
        if self._publish is not None:
            self._publish({None: self._snapshot}, cause)
        return self._snapshot

    @property
    def snapshot(self) -> Snapshot:
        """What every client gets."""
        return self._snapshot

    def group_of(self, node: Node) -> Group:
        """See `Cache`."""
        del node
        return None

    def attach(self, publish: Callable[[Mapping[Group, Snapshot], str], object]) -> None:
        """See `Cache`."""
        self._publish = publish

    def snapshot_of(self, group: Group) -> Snapshot | None:
        """See `Cache`."""
        del group
        return self._snapshot

    def _frozen(self) -> Messages:
        return dict(self._messages)


class Server:
    """Serves a cache over gRPC: ADS and a service per type, state of the world and delta.

    Attributes:
        address: ``HOST:PORT``; the bound one once it listens.
        rest_address: likewise for clients that poll; empty for none.
    """

    def __init__(
        self,
        address: str,
        cache: Cache,
        *,
        callbacks: Observer | None = None,
        on_converged: Callable[[PushStatus], None] | None = None,
        settings: ServerSettings | None = None,
        rest: str = "",
    ) -> None:
        """Prepare a server.

        Args:
            address: ``HOST:PORT`` to listen on; port 0 takes any free one.
            cache: what is served.
            callbacks: told what happens on streams; derive from `Callbacks` to hear of some things only.
            on_converged: told when the last client answered a push.
            settings: bounds.
            rest: ``HOST:PORT`` for clients that poll by REST-JSON; empty for none.

        Raises:
            ConfigError: ``rest`` is no address.
        """
        self.address = address
        self.rest_address = rest
        self._rest_wanted = parse_host_port(rest, "rest") if rest else None
        self._cache = cache
        self._xds = XdsServer(
            address,
            on_scope_needed=self._need,
            on_push_converged=on_converged or (lambda _: None),
            settings=settings,
            scope_of=cache.group_of,
            observer=callbacks,
        )
        self._rest = RestServer(self._xds.fetch, IDENTIFIER, self._xds.settings.max_request_bytes)
        cache.attach(self._xds.publish_all)

    async def start(self) -> str:
        """Listen; returns the bound ``HOST:PORT``.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        self.address = await self._xds.start()
        if self._rest_wanted is not None:
            try:
                port = await self._rest.start(self._rest_wanted.host, self._rest_wanted.port)
            except ConfigError:
                await self._xds.stop(0)
                raise
            self.rest_address = str(HostPort(self._rest_wanted.host, port))
        return self.address

    async def stop(self, grace: float = 5.0) -> None:
        """End the streams, and close after at most ``grace`` seconds."""
        await self._rest.stop()
        await self._xds.stop(grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.stop()

    def clients(self) -> tuple[ClientStatus, ...]:
        """Describe every connected client: what it subscribes to, was sent, acknowledged and rejected."""
        return self._xds.clients()

    def pushes(self) -> tuple[PushStatus, ...]:
        """Return the latest pushes, oldest first, with the seconds until the last client acknowledged each."""
        return self._xds.pushes()

    def metrics_text(self) -> str:
        """Return the counters in the Prometheus text format."""
        return self._xds.metrics_text()

    def _need(self, group: Any) -> None:
        snapshot = self._cache.snapshot_of(group)
        if snapshot is not None:
            self._xds.publish(group, snapshot, "new group of clients")


def _by_type(resources: Iterable[Content]) -> dict[str, dict[str, Content]]:
    tables: dict[str, dict[str, Content]] = {}
    for content in resources:
        message = message_of(content)
        type_url, name = type_url_of(message), name_of(message)
        if not name:
            raise ValueError(f"a {message.DESCRIPTOR.full_name} has no name: set it, clients subscribe by it")
        table = tables.setdefault(type_url, {})
        for each in (name, *(content.aliases if isinstance(content, Aliased) else ())):
            if each in table:
                raise ValueError(f"{message.DESCRIPTOR.full_name} {each!r} is given twice: leave one out")
            table[each] = content
    return tables
