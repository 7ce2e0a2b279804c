"""The leases of sidecars: events in, registered instances out. Pure: times are monotonic seconds, streams are numbers.

A lease belongs to a node and lives as long as its stream. When the stream breaks, the lease keeps all it held for a grace, in which
the sidecar may go on at this replica or another one; only where nobody answers at the sidecar's address while the application does, that
one is shown at once. After the grace the mesh addresses count as down; an instance whose application
can still be reached at its own address stays, as long as probes of that address succeed. A sidecar that says that it publishes nothing
leaves nothing.

What a table keeps of its leases can be restored in another one, after a restart: nothing is claimed of them in their grace, in which the
sidecar may come back; after it only what answers at its own address.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.model import Health, InstanceKey, Offer, Registered, registered


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseLimits:
    """Times in seconds. ``probe_failures`` in a row end the instance of a lease that is over."""

    grace_s: float = 3.0
    max_leases: int = 10_000
    max_instances: int = 100_000
    probe_interval_s: float = 1.0
    probe_failures: int = 2


class LeaseRefused(Exception):  # noqa: N818 - told to the sidecar
    """A stream does not get a lease; the text says why. ``epoch`` is the one that it would have to exceed, if that is why."""

    def __init__(self, reason: str, epoch: int = 0) -> None:
        super().__init__(reason)
        self.epoch = epoch


@dataclasses.dataclass(slots=True)
class _Probe:
    """What is known of a native address: ``up`` None before the first answer."""

    due: float
    up: bool | None = None
    failures: int = 0
    mesh_up: bool = True
    """Whether the sidecar's address answers."""


@dataclasses.dataclass(slots=True)
class Lease:
    """Everything of one node.

    ``broken_at`` is when its stream ended; ``over``: its grace has passed; ``leaving``: its sidecar is about to stop.
    """

    node: str
    zone: str
    epoch: int
    stream: int | None
    since: float
    offers: dict[InstanceKey, Offer] = dataclasses.field(default_factory=dict)
    broken_at: float | None = None
    over: bool = False
    leaving: bool = False
    probes: dict[InstanceKey, _Probe] = dataclasses.field(default_factory=dict)
    outdone: dict[InstanceKey, int] = dataclasses.field(default_factory=dict)
    """Instances that a greater epoch holds, here or at another replica."""
    restored: bool = False
    """Known from before a restart only."""

    @property
    def state(self) -> str:
        """For people."""
        if self.stream is not None:
            return "leaving" if self.leaving else "open"
        return "over" if self.over else "grace"


@dataclasses.dataclass(frozen=True, slots=True)
class KeptLease:
    """What of a lease outlives a restart: the offers of which the application itself can be reached."""

    node: str
    zone: str
    epoch: int
    offers: tuple[Offer, ...]


class LeaseTable:
    """See the module. ``take_changed`` says which instances may differ from before."""

    def __init__(self, limits: LeaseLimits | None = None) -> None:
        self.limits = limits or LeaseLimits()
        self.leases: dict[str, Lease] = {}
        self.overflows = 0
        """Instances and streams that were refused because there were too many."""
        self._nodes: dict[int, str] = {}
        self._ending: set[str] = set()
        """The nodes whose streams have broken or are about to: the others need no clock."""
        self._holders: dict[InstanceKey, str] = {}
        self._changed: set[InstanceKey] = set()
        self._moved: set[InstanceKey] = set()

    def begin(self, stream: int, node: str, zone: str, epoch: int, now: float) -> int | None:
        """A stream speaks for a node. Returns the stream that it takes the lease from. Raises LeaseRefused."""
        known = self.leases.get(node)
        if known is not None and epoch < known.epoch:
            reason = f"epoch: {epoch}: the node {node} has a stream with the greater epoch {known.epoch}"
            raise LeaseRefused(reason, known.epoch)
        if known is None and len(self.leases) >= self.limits.max_leases:
            self.overflows += 1
            raise LeaseRefused(f"there are {self.limits.max_leases} leases already; raise registration.max_leases")
        before = None if known is None else known.stream
        if before is not None:
            del self._nodes[before]
        lease = Lease(node, zone, epoch, stream, now)
        if known is not None:
            lease.offers = known.offers
            self._changed.update(known.offers)
        self.leases[node] = lease
        self._ending.discard(node)
        self._nodes[stream] = node
        return before

    def say(self, stream: int, offers: Mapping[InstanceKey, Offer]) -> list[str]:
        """The stream publishes exactly this. Returns what is not taken, and why."""
        lease = self._lease(stream)
        if lease is None:
            return ["the lease of this stream has gone to another one"]
        for key in lease.offers.keys() - offers.keys():
            self._drop(lease, key)
        errors = []
        for key, offer in offers.items():
            refusal = self._refusal(lease, key)
            if refusal:
                errors.append(refusal)
                continue
            if lease.offers.get(key) != offer:
                lease.offers[key] = offer
                self._changed.add(key)
        return errors

    def end(self, stream: int, now: float) -> None:
        """The stream has broken."""
        node = self._nodes.pop(stream, None)
        if node is None:
            return
        lease = self.leases[node]
        lease.stream, lease.broken_at = None, now
        if not lease.leaving:
            self._begin_probes(lease, now)
        self._forget_if_empty(lease)
        if lease.leaving:
            self._finish(lease)

    def leave(self, stream: int, now: float) -> None:
        """The sidecar is about to stop: its applications are shown as soon as they have answered."""
        lease = self._lease(stream)
        if lease is not None and not lease.leaving:
            lease.leaving = True
            self._begin_probes(lease, now)
            self._changed.update(lease.offers)

    def outdo(self, key: InstanceKey, epoch: int) -> None:
        """Somebody else holds the instance with this epoch; a lease with a smaller one gives it up for good."""
        lease = self._holder(key)
        if lease is not None and lease.epoch < epoch:
            lease.outdone[key] = epoch
            self._drop(lease, key)
            self._forget_if_empty(lease)
            self._moved.add(key)

    def kept(self) -> list[KeptLease]:
        """What is worth to be kept over a restart, by node."""
        found = []
        for node, lease in sorted(self.leases.items()):
            offers = tuple(one for _, one in sorted(lease.offers.items()) if _is_reachable_itself(one))
            if offers:
                found.append(KeptLease(node, lease.zone, lease.epoch, offers))
        return found

    def restore(self, kept: Iterable[KeptLease], now: float) -> None:
        """Leases from before a restart; their grace begins. What does not fit, or is held already, is left out."""
        for one in kept:
            if one.node in self.leases or len(self.leases) >= self.limits.max_leases:
                continue
            lease = Lease(one.node, one.zone, one.epoch, None, now, broken_at=now, restored=True)
            for offer in one.offers:
                if self._holder(offer.key) is None and not self._refusal(lease, offer.key):
                    lease.offers[offer.key] = offer
            if lease.offers:
                self.leases[one.node] = lease
                self._begin_probes(lease, now)

    def outdo_restored(self, key: InstanceKey, epoch: int) -> None:
        """Another replica has written the instance with this epoch: if it is greater than that of a restored lease, this one is history."""
        lease = self._holder(key)
        if lease is not None and lease.restored and lease.epoch < epoch:
            self._drop(lease, key)
            self._forget_if_empty(lease)

    def probed(self, key: InstanceKey, up: bool, now: float, *, mesh_up: bool = True) -> None:
        """Whether the native address has answered, and the mesh address."""
        lease = self._holder(key)
        probe = None if lease is None else lease.probes.get(key)
        if lease is None or probe is None:
            return
        probe.mesh_up = mesh_up
        probe.failures = 0 if up else probe.failures + 1
        probe.due = now + self.limits.probe_interval_s
        probe.up = up or (bool(probe.up) and probe.failures < self.limits.probe_failures)
        self._changed.add(key)
        self._settle(lease, key)

    def tick(self, now: float) -> None:
        """Let time pass: graces end."""
        for lease in self._ending_leases():
            if lease.broken_at is not None and not lease.over and now >= lease.broken_at + self.limits.grace_s:
                self._finish(lease)

    def next_tick(self) -> float | None:
        """When ``tick`` or a probe is due; None while nothing is."""
        times = []
        for lease in self._ending_leases():
            if lease.broken_at is not None and not lease.over:
                times.append(lease.broken_at + self.limits.grace_s)
            times.extend(probe.due for probe in lease.probes.values())
        return min(times, default=None)

    def take_probes(self, now: float) -> list[tuple[InstanceKey, Address, Address]]:
        """The instances to ask now, with native and mesh address; each is not due again before its answer."""
        found = []
        for lease in self._ending_leases():
            for key, probe in lease.probes.items():
                offer = lease.offers[key]
                if probe.due <= now and offer.native is not None:
                    probe.due = float("inf")
                    found.append((key, offer.native, offer.mesh))
        return found

    def take_changed(self) -> dict[InstanceKey, bool]:
        """The instances that changed since the last call, and whether they have moved to another replica."""
        changed = {key: key in self._moved and key not in self._holders for key in self._changed}
        self._changed.clear()
        self._moved.clear()
        return changed

    def registered(self, key: InstanceKey, service: ServiceKey) -> Registered | None:
        """The instance as it is now; None if nobody holds it."""
        lease = self._holder(key)
        if lease is None or (lease.restored and not lease.over):
            return None
        offer = lease.offers[key]
        probe = lease.probes.get(key)
        answers = offer.health is not Health.SILENT
        asked = None if probe is None else probe.up
        native_up = answers and (not (lease.over or lease.leaving) if asked is None else asked)
        left = lease.over or (lease.leaving and (probe is None or asked is not None))
        dead = lease.stream is None and probe is not None and bool(asked) and not probe.mesh_up
        up = (native_up, answers and not left and not dead)
        return registered(offer, service, up=up, epoch=lease.epoch, zone=lease.zone, node=lease.node)

    @property
    def instances(self) -> list[InstanceKey]:
        """All instances held, sorted."""
        return sorted(self._holders)

    def _ending_leases(self) -> list[Lease]:
        return [self.leases[node] for node in sorted(self._ending)]

    def _begin_probes(self, lease: Lease, now: float) -> None:
        self._ending.add(lease.node)
        for key, offer in lease.offers.items():
            if _is_reachable_itself(offer):
                lease.probes[key] = _Probe(now)

    def _finish(self, lease: Lease) -> None:
        """The grace is over."""
        lease.over = True
        for key in list(lease.offers):
            self._changed.add(key)
            self._settle(lease, key)

    def _lease(self, stream: int) -> Lease | None:
        node = self._nodes.get(stream)
        return None if node is None else self.leases[node]

    def _holder(self, key: InstanceKey) -> Lease | None:
        node = self._holders.get(key)
        return None if node is None else self.leases[node]

    def _refusal(self, lease: Lease, key: InstanceKey) -> str:
        """Why the lease does not get the instance; empty if it does, and then it holds it."""
        if key in lease.outdone:
            return f"instance: {key.id}: of {key.service} is held with the greater epoch {lease.outdone[key]}"
        holder = self._holder(key)
        if holder is None:
            if len(self._holders) >= self.limits.max_instances:
                self.overflows += 1
                return (
                    f"instance: {key.id}: there are {self.limits.max_instances} instances; "
                    "raise registration.max_instances"
                )
        elif holder is not lease:
            if holder.epoch > lease.epoch:
                return f"instance: {key.id}: of {key.service} is held by the node {holder.node}"
            holder.outdone[key] = lease.epoch
            self._drop(holder, key)
            self._forget_if_empty(holder)
        self._holders[key] = lease.node
        return ""

    def _settle(self, lease: Lease, key: InstanceKey) -> None:
        """An instance whose lease is over goes when its native address does not answer, or when it has none."""
        if not lease.over:
            return
        probe = lease.probes.get(key)
        if probe is None or (probe.up is False and probe.failures >= self.limits.probe_failures):
            self._drop(lease, key)
            self._forget_if_empty(lease)

    def _drop(self, lease: Lease, key: InstanceKey) -> None:
        lease.offers.pop(key, None)
        lease.probes.pop(key, None)
        if self._holders.get(key) == lease.node:
            del self._holders[key]
        self._changed.add(key)

    def _forget_if_empty(self, lease: Lease) -> None:
        if not lease.offers and lease.stream is None:
            self.leases.pop(lease.node, None)
            self._ending.discard(lease.node)


def _is_reachable_itself(offer: Offer) -> bool:
    """Whether consumers may do without the sidecar."""
    return offer.native is not None and offer.health is not Health.SILENT
