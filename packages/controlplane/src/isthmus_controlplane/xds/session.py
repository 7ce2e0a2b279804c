"""One xDS stream without its transport: requests in, responses out, in the order that keeps traffic flowing.

"Eventual consistency considerations" of the xDS protocol: clusters, endpoints, listeners, routes, and last the removal
of what is no longer used. On top of that order:

- A push of listeners or routes waits until the client acknowledged its clusters. Envoy acknowledges clusters only when
  they are warm, so a route never points at a cluster that cannot serve yet. The wait is bounded (`Limits.order_wait`),
  and answers to subscriptions never wait.
- A cluster's removal waits until the client acknowledged newer versions of the listeners and routes that name it. On
  delta that is a later response; on SotW the cluster stays in the full state and a second response leaves it out.
- A changed cluster makes its endpoints go out again: Envoy finishes warming only with a new answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator

from isthmus_controlplane.snapshot.resource import Resource
from isthmus_controlplane.snapshot.resource_type import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    VIRTUAL_HOST,
    resource_type,
    send_order,
)
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import DeltaRequest, Nack, Request, Response, Variant
from isthmus_controlplane.xds.subscription import NO_CHANGE, Change, Subscription
from isthmus_controlplane.xds.update import Update, Waits
from isthmus_controlplane.xds.watch import Progress, Watch


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one stream.

    Attributes:
        types: resource types that one stream may ask for.
        names: names that one stream may subscribe to per type.
        response_bytes: aim for the size of one delta response; the rest follows after the acknowledgement. Below the
            4 MiB that gRPC clients accept by default.
        order_wait: seconds that a push of listeners or routes waits for the acknowledgement of clusters. As long as
            Envoy's default ``initial_fetch_timeout``, after which a warming cluster counts as ready.
    """

    types: int = 32
    names: int = 200_000
    response_bytes: int = 3 * 1024 * 1024
    order_wait: float = 15.0


GRPC_USER_AGENT = "grpc"
# Clients send the first; the protocol's text has the second.
RESOURCE_IN_SOTW = frozenset({"xds.config.resource-in-sotw", "xds.config.supports-resource-in-sotw"})
DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What a request was.

    Attributes:
        type_url: resource type.
        acknowledged: it acknowledged a response.
        nack: it rejected one.
        stale: it answered a response that is not, or no longer, waited for. Its names counted all the same.
        change: what it did to the subscription.
    """

    type_url: str
    acknowledged: bool = False
    nack: Nack | None = None
    stale: bool = False
    change: Change = NO_CHANGE


@dataclasses.dataclass(frozen=True, slots=True)
class TypeStatus:
    """One resource type of one client, for status pages.

    Attributes:
        type_url: resource type.
        subscribed: number of names subscribed to.
        wildcard: whether everything is subscribed.
        resources: number of resources the client was sent and not told to drop.
        version_sent: of the newest response, empty before the first.
        version_acked: of the newest acknowledged response, empty before the first.
        synced: the client acknowledged everything that the newest snapshot holds for it.
        nack: the newest answer was a rejection.
    """

    type_url: str
    subscribed: int
    wildcard: bool
    resources: int
    version_sent: str
    version_acked: str
    synced: bool
    nack: Nack | None


class Session:
    """State machine of one stream, SotW or delta, aggregated or of one type.

    Feed requests with `receive` and snapshots with `publish`; then write what `next_response` returns until it is None.
    Call it again at `next_deadline` if nothing happens before.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        only_type: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Start a stream.

        Args:
            variant: which request and response pair is spoken.
            only_type: the type of a per-type service; None for ADS, where each request names its type.
            limits: bounds of the stream.
        """
        self.variant = variant
        self.watches: dict[str, Watch] = {}
        self.snapshot: Snapshot | None = None
        self.sequence = -1
        self._only_type = only_type
        self._legacy_wildcard = True
        self._times_out = variant is Variant.DELTA  # whether the client takes resources with a time to live
        self._limits = limits
        self._nonces = 0
        self._answered = False  # an answer came in since the last look for something to send

    def identify(self, user_agent: str, features: Iterable[str] = ()) -> None:
        """Take what the client says of itself before its first request.

        Args:
            user_agent: ``user_agent_name``; gRPC never means everything by no names.
            features: ``client_features``.
        """
        self._legacy_wildcard = not is_grpc(user_agent)
        self._times_out = self.variant is Variant.DELTA or not RESOURCE_IN_SOTW.isdisjoint(features)

    def publish(self, snapshot: Snapshot, sequence: int) -> None:
        """Replace the snapshot; versions in between that were not sent yet are skipped."""
        self.snapshot, self.sequence = snapshot, sequence

    def skip(self, snapshot: Snapshot) -> None:
        """Take it that nothing which is subscribed differs between the last snapshot and this one."""
        if self.snapshot is not None:
            for type_url, watch in self.watches.items():
                watch.skip(self.snapshot.collection(type_url), snapshot.collection(type_url))

    def receive(self, request: Request) -> Received:
        """Take a request.

        Raises:
            StreamError: the request makes no sense or goes beyond a limit; the stream has to end.
        """
        watch = self._watch(self._type_of(request))
        received = self._take_answer(watch, request)
        self._answered = True
        if isinstance(request, DeltaRequest):
            change = watch.subscription.modify(request.subscribe, request.unsubscribe)
            watch.note_change(change, request.initial_versions)
        else:
            change = watch.subscription.replace(request.names)
            watch.note_change(change, {})
        if len(watch.subscription.names) > self._limits.names:
            text = f"{watch.kind.type_url}: more than {self._limits.names} names; use the wildcard, or several streams"
            raise StreamError("RESOURCE_EXHAUSTED", text)
        return received if change is NO_CHANGE else dataclasses.replace(received, change=change)

    def next_response(self, now: float) -> Response | None:
        """Return the response to write next, already recorded as sent; None when there is nothing to send now.

        Args:
            now: seconds on a monotonic clock.
        """
        if self.snapshot is None:
            return None
        for watch in self._ordered():
            update = self._update(watch, self.snapshot, now)
            if update is not None:
                return self._commit(watch, update, self.snapshot, now)
        self._answered = False
        return self._heartbeat(now)

    def next_deadline(self) -> float | None:
        """Return when `next_response` has to be called even if nothing happens, on the clock of ``now``."""
        deadline: float | None = None
        for watch in self.watches.values():  # nearly always none has any, and this is asked for each response
            due = watch.heartbeat_at if watch.heartbeat_at is not None and not watch.unanswered else None
            if watch.waiting_since is not None:
                ordered = watch.waiting_since + self._limits.order_wait
                due = ordered if due is None else min(due, ordered)
            if due is not None and (deadline is None or due < deadline):
                deadline = due
        return deadline

    def progress(self, sequence: int) -> Progress:
        """Say how far the client is with snapshot ``sequence`` over all types that it subscribes to."""
        states = [watch.progress(sequence) for watch in self.watches.values()]
        if Progress.REJECTED in states:
            return Progress.REJECTED
        # A removal may have become due by the latest request. Once that was looked at, one that still waits does so
        # for a type that is not through either, or for one that was rejected.
        due = self._answered and any(watch.holds for watch in self.watches.values())
        return Progress.PENDING if due or Progress.PENDING in states else Progress.ACKNOWLEDGED

    def repeat_all(self) -> None:
        """Send everything that is subscribed again, changed or not, to measure what leaving it out brings."""
        assert self.snapshot is not None
        for type_url, watch in self.watches.items():
            names = self.snapshot.collection(type_url).resources if watch.subscription.wildcard else ()
            for name in (*names, *watch.subscription.names):
                watch.force(name)

    def subscriptions(self) -> Iterator[tuple[str, Subscription]]:
        """Yield what is subscribed, by type URL."""
        return ((type_url, watch.subscription) for type_url, watch in self.watches.items())

    def type_statuses(self) -> Iterator[TypeStatus]:
        """Describe each resource type, in send order."""
        for watch in self._ordered():
            delivered, subscription = watch.delivered, watch.subscription
            yield TypeStatus(
                type_url=watch.kind.type_url,
                subscribed=len(subscription.names),
                wildcard=subscription.wildcard,
                resources=len(delivered.sent),
                version_sent=delivered.sent_version,
                version_acked=delivered.acked_version,
                synced=watch.progress(self.sequence) is Progress.ACKNOWLEDGED,
                nack=delivered.nack,
            )

    def _type_of(self, request: Request) -> str:
        type_url = request.type_url or self._only_type
        if not type_url:
            text = "type_url is empty: a request on an aggregated stream has to name its resource type"
            raise StreamError("INVALID_ARGUMENT", text)
        if self._only_type not in {None, type_url}:
            text = f"type_url {type_url} on a stream of {self._only_type}: use the aggregated service for several types"
            raise StreamError("INVALID_ARGUMENT", text)
        return type_url

    def _watch(self, type_url: str) -> Watch:
        watch = self.watches.get(type_url)
        if watch is None:
            if len(self.watches) >= self._limits.types:
                text = f"{type_url}: more than {self._limits.types} resource types on one stream"
                raise StreamError("RESOURCE_EXHAUSTED", text)
            watch = self.watches[type_url] = Watch(
                resource_type(type_url),
                self.variant,
                legacy_wildcard=self._legacy_wildcard,
                max_bytes=self._limits.response_bytes,
            )
            self.watches = {url: self.watches[url] for url in sorted(self.watches, key=send_order)}
            if type_url == VIRTUAL_HOST and self.variant is Variant.DELTA:
                self._repeat_virtual_hosts(self._configurations())
        return watch

    def _configurations(self) -> Collection[str]:
        """Name the route configurations that the client has; where they go over another stream, all there are."""
        routes = self.watches.get(ROUTE)
        if routes is not None:
            return routes.delivered.sent
        return self.snapshot.collection(ROUTE).resources if self.snapshot is not None else ()

    def _take_answer(self, watch: Watch, request: Request) -> Received:
        """Read a request's role as an answer; a nonce from an earlier stream or an older response is no answer."""
        type_url = watch.kind.type_url
        if not request.nonce:
            return Received(type_url)
        if not watch.delivered.answer(request.nonce, request.error):
            return Received(type_url, stale=True)
        nack = watch.delivered.nack if request.error is not None else None
        return Received(type_url, acknowledged=nack is None, nack=nack)

    def _ordered(self) -> Collection[Watch]:
        return self.watches.values()

    def _update(self, watch: Watch, snapshot: Snapshot, now: float) -> Update | None:
        """Compute a type's next response unless it has to wait: for its own acknowledgement, or for another type's."""
        collection = snapshot.collection(watch.kind.type_url)
        if watch.rests(collection, self.sequence):
            return None
        if not watch.asked and watch.stale(collection):
            if watch.unanswered:
                watch.waiting_since = None
                return None
            if self._order_holds(watch, snapshot):
                watch.waiting_since = now if watch.waiting_since is None else watch.waiting_since
                if now - watch.waiting_since < self._limits.order_wait:
                    return None
        return watch.next_update(collection, self._waits(watch, snapshot), self.sequence)

    def _order_holds(self, watch: Watch, snapshot: Snapshot) -> bool:
        """Whether a push of listeners, routes or virtual hosts would overtake clusters or endpoints, or routes their listeners."""
        if watch.kind.type_url not in {LISTENER, ROUTE, VIRTUAL_HOST}:
            return False
        clusters = self.watches.get(CLUSTER)
        if clusters is not None and clusters.unanswered:
            return True
        earlier = (self.watches.get(url) for url in (ENDPOINT, LISTENER) if url != watch.kind.type_url)
        return any(
            other is not None and other.unanswered and other.stale(snapshot.collection(other.kind.type_url))
            for other in earlier
        )

    def _waits(self, watch: Watch, snapshot: Snapshot) -> Waits:
        """Return the rule by which removals of this type wait for what may still use them."""
        users = [self.watches[url] for url in watch.kind.removal_waits_for if url in self.watches]
        found: list[tuple[Resource, ...]] = []

        def waits(name: str) -> bool:
            if not found:
                found.extend(user.outdated(snapshot.collection(user.kind.type_url)) for user in users)
            return any(resource.mentions(name) for outdated in found for resource in outdated)

        return waits

    def _heartbeat(self, now: float) -> Response | None:
        """Tell of resources that would time out, unless an answer is waited for: the client may be gone."""
        for watch in self._ordered():
            if watch.heartbeat_at is not None and now >= watch.heartbeat_at and not watch.unanswered:
                self._nonces += 1
                nonce = str(self._nonces)
                resources = watch.beat(nonce, self.sequence)
                watch.schedule_heartbeat(now)
                version = watch.delivered.sent_version
                return Response(watch.kind.type_url, version, nonce, resources, heartbeat=True, wrapped=True)
        return None

    def _commit(self, watch: Watch, update: Update, snapshot: Snapshot, now: float) -> Response:
        if watch.kind.type_url == CLUSTER:
            self._warm(watch, update)
        if watch.kind.type_url == ROUTE and VIRTUAL_HOST in self.watches:
            self._repeat_virtual_hosts(resource.name for resource in update.resources)
        self._nonces += 1
        nonce = str(self._nonces)
        version = watch.commit(update, snapshot.collection(watch.kind.type_url), nonce, self.sequence)
        if self._times_out and (watch.heartbeat_at is not None or any(each.ttl_ms for each in update.resources)):
            watch.schedule_heartbeat(now)
        removed = update.removed if self.variant is Variant.DELTA else ()
        return Response(watch.kind.type_url, version, nonce, update.resources, removed, wrapped=self._times_out)

    def _warm(self, clusters: Watch, update: Update) -> None:
        endpoints = self.watches.get(ENDPOINT)
        if endpoints is None:
            return
        for resource in update.resources:
            if clusters.delivered.differs(resource):
                for name in resource.references:
                    endpoints.force(name)

    def _repeat_virtual_hosts(self, configurations: Iterable[str]) -> None:
        """A route configuration that is new waits for virtual hosts, and one that changed is without those it had."""
        for name in configurations:
            self.watches[VIRTUAL_HOST].force_all(f"{name}/")


def is_grpc(user_agent: str) -> bool:
    """Whether a client is gRPC's own, which never means everything by naming nothing."""
    return user_agent.lower().startswith(GRPC_USER_AGENT)
