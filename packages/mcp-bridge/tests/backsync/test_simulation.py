"""Two replicas of a bridge, sidecars and a registry, with kills, partitions and moves at random, looked at after every single write.

The leases, the ledger and the plan are the real ones; the registry is the one in memory, time is a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Layout, folder
from isthmus_mcp_bridge.backsync.ledger import Ledger
from isthmus_mcp_bridge.backsync.write_back import wanted_of
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.show import mesh_else_native
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.leases import KeptLease, LeaseLimits, LeaseTable
from isthmus_mcp_bridge.registration.model import InstanceKey, Offer, SdkService
from isthmus_mcp_bridge.testing.memory_store import MemoryServer

STEP_S, GRACE_S, SESSION_S, OVERLAP_S = 0.5, 3.0, 4.0, 2.0
CLUSTER = "a"
SERVICE = ServiceKey("default", "com.x.foo")


@dataclass
class Sidecar:
    number: int
    protocol: str
    alive: bool = False
    leaving: bool = False
    native_up: bool = True
    bridge: int | None = None
    stream: int = 0
    epoch: int = 0

    @property
    def serving(self) -> bool:
        return self.alive and not self.leaving

    @property
    def key(self) -> InstanceKey:
        return InstanceKey(SdkService(self.protocol, "com.x.Foo", version="1.0"), str(self.native))

    @property
    def mesh(self) -> Address:
        return Address(f"10.0.0.{self.number + 1}", 12200)

    @property
    def native(self) -> Address:
        return Address(f"10.0.0.{self.number + 1}", 20880)


@dataclass
class Replica:
    table: LeaseTable = field(default_factory=lambda: LeaseTable(LeaseLimits(grace_s=GRACE_S, probe_interval_s=STEP_S)))
    ledger: Ledger = field(default_factory=lambda: Ledger(CLUSTER, OVERLAP_S))
    alive: bool = True
    reachable: bool = True
    unreachable_since: float = 0.0
    session: int = 0
    kept: list[KeptLease] = field(default_factory=list)
    """On disk when it died."""


class World:
    """Everything; ``demanded`` are the instances that must have an entry at every instant from now on."""

    def __init__(self, layout: Layout, foreign: list[int]) -> None:
        self.layout = layout
        protocol = "bolt" if layout is SOFARPC else "dubbo"
        self.server = MemoryServer()
        self.now = 0.0
        self.epochs = 0
        self.streams = 0
        self.sidecars = [Sidecar(number, protocol) for number in range(3)]
        self.replicas = [Replica(), Replica()]
        self.place = folder("/x", "com.x.Foo")
        self.foreign: set[str] = set()
        self.demanded: set[int] = set()
        self.dead_sessions: list[tuple[float, int]] = []
        self.looked_at = 0
        for replica in self.replicas:
            replica.session = self.server.open_session()
        for number in foreign:
            self.register_natively(number)

    # ---- what happens ----

    def start_sidecar(self, number: int, bridge: int) -> None:
        sidecar = self.sidecars[number]
        sidecar.alive = True
        self.break_stream(sidecar)
        self.connect(sidecar, bridge)

    def kill_sidecar(self, number: int) -> None:
        sidecar = self.sidecars[number]
        sidecar.alive = False
        if not sidecar.native_up or sidecar.bridge is None:
            self.demanded.discard(number)
        self.break_stream(sidecar)

    def stop_sidecar(self, number: int) -> None:
        """It says goodbye first."""
        sidecar = self.sidecars[number]
        self.demanded.discard(number)
        sidecar.alive = False
        if sidecar.bridge is not None:
            self.replicas[sidecar.bridge].table.say(sidecar.stream, {})
        self.break_stream(sidecar)

    def leave_sidecar(self, number: int) -> None:
        """It says that it is about to stop, and goes on serving."""
        sidecar = self.sidecars[number]
        if sidecar.alive and sidecar.bridge is not None:
            sidecar.leaving = True
            self.replicas[sidecar.bridge].table.leave(sidecar.stream, self.now)
            if not sidecar.native_up:
                self.demanded.discard(number)

    def application(self, number: int, up: bool) -> None:
        self.sidecars[number].native_up = up
        if not up and not self.sidecars[number].serving:
            self.demanded.discard(number)

    def move(self, number: int) -> None:
        sidecar = self.sidecars[number]
        if sidecar.alive and sidecar.bridge is not None:
            bridge = 1 - sidecar.bridge
            self.break_stream(sidecar)
            self.connect(sidecar, bridge)

    def kill_bridge(self, bridge: int) -> None:
        replica = self.replicas[bridge]
        if not replica.alive:
            return
        self.dead_sessions.append((self.now + SESSION_S, replica.session))
        replica.alive, replica.kept = False, replica.table.kept()
        self.lose_bridge(bridge)

    def start_bridge(self, bridge: int) -> None:
        if not self.replicas[bridge].alive:
            kept = self.replicas[bridge].kept
            self.replicas[bridge] = Replica(session=self.server.open_session())
            self.replicas[bridge].table.restore(kept, self.now)
            self.reconnect()

    def partition(self, bridge: int) -> None:
        """The replica reaches neither the registry nor its sidecars, and does not notice that they have gone."""
        replica = self.replicas[bridge]
        if replica.alive and replica.reachable:
            replica.reachable, replica.unreachable_since = False, self.now
            self.lose_bridge(bridge)

    def heal(self, bridge: int) -> None:
        replica = self.replicas[bridge]
        if replica.alive and not replica.reachable:
            replica.reachable = True
            mine = {sidecar.stream for sidecar in self.sidecars if sidecar.bridge == bridge}
            for lease in list(replica.table.leases.values()):
                if lease.stream is not None and lease.stream not in mine:
                    replica.table.end(lease.stream, self.now)
            self.reconnect()

    def register_natively(self, number: int) -> None:
        self.look()
        sidecar = self.sidecars[number]
        host, port = sidecar.native.host, sidecar.native.port
        name = f"{sidecar.protocol}%3A%2F%2F{host}%3A{port}%2Fcom.x.Foo%3Finterface%3Dcom.x.Foo%26version%3D1.0"
        self.foreign.add(name)
        self.server.put(self.place, name)

    def deregister(self, number: int) -> None:
        self.look()
        self.demanded.discard(number)  # nobody can know before it is gone
        for name in [name for name in self.foreign if self.sidecars[number].native.host in name]:
            self.foreign.discard(name)
            self.server.remove(self.place, name)

    # ---- what follows ----

    def connect(self, sidecar: Sidecar, bridge: int) -> None:
        for candidate in (bridge, 1 - bridge):
            replica = self.replicas[candidate]
            if replica.alive and replica.reachable:
                self.streams += 1
                self.epochs += 1
                sidecar.bridge, sidecar.stream, sidecar.epoch = candidate, self.streams, self.epochs
                sidecar.leaving = False
                node = f"node{sidecar.number}"
                replica.table.begin(self.streams, node, "", self.epochs, self.now)
                replica.table.say(self.streams, {sidecar.key: Offer(sidecar.key, sidecar.mesh, sidecar.native)})
                return
        self.demanded.discard(sidecar.number)

    def reconnect(self) -> None:
        for sidecar in self.sidecars:
            if sidecar.alive and sidecar.bridge is None:
                self.connect(sidecar, 0)

    def break_stream(self, sidecar: Sidecar) -> None:
        if sidecar.bridge is not None and self.replicas[sidecar.bridge].reachable:
            self.replicas[sidecar.bridge].table.end(sidecar.stream, self.now)
        sidecar.bridge = None

    def lose_bridge(self, bridge: int) -> None:
        """Sidecars that live go to the other one; nobody knows any more of those that died here."""
        for sidecar in self.sidecars:
            if not sidecar.alive:
                self.demanded.discard(sidecar.number)
            elif sidecar.bridge == bridge:
                sidecar.bridge = None
                self.connect(sidecar, 1 - bridge)

    def pass_time(self) -> None:
        self.now += STEP_S
        for due, session in list(self.dead_sessions):
            if due <= self.now:
                self.dead_sessions.remove((due, session))
                self.server.end_session(session)
        for replica in self.replicas:
            expired = not replica.reachable and self.now - replica.unreachable_since >= SESSION_S
            if replica.alive and expired and replica.session:
                self.server.end_session(replica.session)
                replica.session = 0
        self.look()

    def settle(self) -> None:
        """Every replica that lives does all that there is to do, a write at a time."""
        for replica in self.replicas:
            if not replica.alive:
                continue
            replica.table.tick(self.now)
            self.probe(replica)
            self.tell(replica)
            if replica.reachable:
                self.write(replica)
        for sidecar in self.sidecars:
            if sidecar.serving and sidecar.bridge is not None:
                self.demanded.add(sidecar.number)
        self.look()

    def probe(self, replica: Replica) -> None:
        natives = {sidecar.native: sidecar.native_up for sidecar in self.sidecars}
        meshes = {sidecar.mesh: sidecar.alive for sidecar in self.sidecars}
        for key, native, mesh in replica.table.take_probes(self.now):
            replica.table.probed(key, natives[native], self.now, mesh_up=meshes[mesh])

    def tell(self, replica: Replica) -> None:
        for key in replica.table.take_changed():
            one = replica.table.registered(key, SERVICE)
            wanted = None if one is None else wanted_of(one, mesh_else_native, self.layout, CLUSTER)
            replica.ledger.want(self.place, key, wanted)

    def write(self, replica: Replica) -> int:
        if not replica.session:
            replica.session = self.server.open_session()
            replica.ledger.session_lost()
        writes = 0
        while True:
            names = self.server.names(self.place)
            seen = [one for name in sorted(names) if (one := self.layout.read(name, "com.x.Foo")) is not None]
            for one in seen:
                if one.key is not None and one.marks is not None:
                    replica.table.outdo_restored(one.key, one.marks.epoch)
            self.tell(replica)
            found = replica.ledger.plan(self.place, seen, self.now)
            for key, epoch in found.outdone.items():
                replica.ledger.want(self.place, key, None)
                replica.table.outdo(key, epoch)
            self.tell(replica)
            for transaction in found.transactions:
                self.server.commit(replica.session, self.place, transaction.create, transaction.delete)
                replica.ledger.committed(self.place, transaction)
                writes += 1
                self.look()
            assert writes < 50, "a fight"
            if not found.transactions:
                return writes

    # ---- what must hold ----

    def look(self) -> None:
        """At every state that the registry has had since the last look."""
        for _, names in self.server.history[self.looked_at :]:
            assert self.foreign_of(names) <= self.foreign
            hosts = {one.address.host for name in names if (one := self.layout.read(name, "com.x.Foo")) is not None}
            for number in self.demanded:
                assert self.sidecars[number].native.host in hosts, f"a hole at {self.now}"
        self.looked_at = len(self.server.history)
        assert self.foreign_of(self.server.names(self.place)) == self.foreign

    def foreign_of(self, names: frozenset[str]) -> set[str]:
        return {name for name in names if "isthmus" not in name}

    def rest(self) -> None:
        """Nothing more happens for as long as anything may take."""
        for _ in range(int((GRACE_S + SESSION_S + OVERLAP_S) / STEP_S) + 4):
            self.pass_time()
            self.settle()
        alive = {sidecar.mesh for sidecar in self.sidecars if sidecar.alive}
        alive |= {sidecar.native for sidecar in self.sidecars if sidecar.native_up}
        entries = [self.layout.read(name, "com.x.Foo") for name in self.server.names(self.place)]
        own = [one for one in entries if one is not None and one.marks is not None]
        for one in own:
            assert one.address in alive, "a ghost"
        assert len({one.key for one in own}) == len(own), "an instance stands twice"
        natives = {one.address for one in entries if one is not None and one.marks is None}
        assert not natives & {one.address for one in own}, "written although it is registered natively"
        for sidecar in self.sidecars:
            if sidecar.serving and sidecar.bridge is not None:
                assert sidecar.mesh in {one.address for one in own}
        assert sum(self.write(one) for one in self.replicas if one.alive and one.reachable) == 0, (
            "it does not come to rest"
        )


numbers = st.integers(0, 2)
bridges = st.integers(0, 1)
happenings = st.one_of(
    st.tuples(st.just("start_sidecar"), numbers, bridges),
    st.tuples(
        st.sampled_from(["kill_sidecar", "stop_sidecar", "leave_sidecar", "move", "register_natively", "deregister"]),
        numbers,
    ),
    st.tuples(st.just("application"), numbers, st.booleans()),
    st.tuples(st.sampled_from(["kill_bridge", "start_bridge", "partition", "heal"]), bridges),
    st.tuples(st.just("pass_time")),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([DUBBO, SOFARPC]), st.lists(numbers, max_size=2, unique=True), st.lists(happenings, max_size=25))
def test_no_hole_no_ghost_no_fight_and_nothing_foreign_is_touched(
    layout: Layout, foreign: list[int], script: list[tuple[object, ...]]
) -> None:
    world = World(layout, foreign)
    for name, *arguments in script:
        getattr(world, str(name))(*arguments)
        world.settle()
    world.rest()
