"""What registries do to those who believe them, scripted: nothing that lives is wiped, nothing that is gone stays beyond the hold."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.damping import DampingLimits
from isthmus_mcp_bridge.catalog.freshness import FreshnessLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceState, SourceSuspected
from isthmus_mcp_bridge.mcp.snapshot import Collection
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort, WarmUp

HOLD_S = 90.0
LIMITS = SourceLimits(GuardLimits(hold_s=HOLD_S), FreshnessLimits(300, 3600), DampingLimits())
SERVICES = 100


def report(service: int, ports: Iterable[int], **more: object) -> OriginReport:
    claims = tuple(EndpointClaim("http", f"10.0.{service}.1", port, **more) for port in ports)  # type: ignore[arg-type]
    key = ServiceKey("d", f"s{service}")
    return OriginReport((ServiceClaim(key, (ServicePort("http", 80, "HTTP"),), claims),) if claims else ())


class World:
    """Two registries that say the same, and the clock."""

    def __init__(self) -> None:
        self.catalog = Catalog(["a", "b"], {"a": LIMITS, "b": LIMITS}, epoch_offset_s=1_700_000_000)
        self.publication = Publication()
        self.now = 0.0
        self.pushes = 0

    def full(self) -> dict[str, OriginReport]:
        return {str(n): report(n, range(1, 11)) for n in range(SERVICES)}

    def at(self, now: float) -> None:
        """Let time pass; every deadline on the way is kept."""
        while (due := self.catalog.next_tick()) is not None and due <= now:
            self.catalog.tick(due)
        self.now = now

    def say(self, *events: object) -> None:
        for event in events:
            self.catalog.apply(event, self.now)  # type: ignore[arg-type]

    def collection(self) -> Collection:
        before = self.publication.collection()
        while self.catalog.pending:
            self.publication.take(self.catalog.take_changes(1000, self.now))
        self.pushes += self.publication.collection() is not before
        return self.publication.collection()

    def endpoints(self) -> int:
        self.collection()
        return sum(len(merged.workloads) for merged in self.catalog.services.values())


@pytest.fixture
def world() -> World:
    made = World()
    made.say(SourceListed("a", made.full()))
    assert made.endpoints() == 1000
    return made


def test_an_empty_list_after_a_restart(world: World) -> None:
    world.at(10)
    world.say(SourceSuspected("a", "restart"), SourceListed("a", {}))
    assert world.endpoints() == 1000
    world.at(40)
    world.say(SourceListed("a", world.full()))
    assert world.endpoints() == 1000
    assert world.pushes == 1  # the first listing: the restart caused none


def test_an_empty_list_that_is_meant(world: World) -> None:
    world.at(10)
    world.say(SourceListed("a", {}))
    world.at(10 + HOLD_S - 0.001)
    assert world.endpoints() == 1000
    world.at(10 + HOLD_S)
    assert world.endpoints() == 0


def test_a_partial_page(world: World) -> None:
    """An adapter that does not notice lists 30 of 100 services, then all again."""
    world.at(10)
    world.say(SourceListed("a", dict(list(world.full().items())[:30])))
    assert world.endpoints() == 1000
    world.at(20)
    world.say(SourceListed("a", world.full()))
    assert (world.endpoints(), world.pushes) == (1000, 1)


def test_a_lost_session_while_instances_move(world: World) -> None:
    world.at(10)
    world.say(SourceSuspected("a", "session lost"))
    world.say(OriginChanged("a", "0", report(0, [11])))
    assert world.endpoints() == 1001
    world.at(20)
    world.say(SourceListed("a", world.full() | {"0": report(0, [11])}))
    assert world.endpoints() == 991


def test_a_flapping_instance(world: World) -> None:
    """Twenty losses in a minute: seen are the first three, then it stays as it was, and in the end it is as the registry says."""
    for turn in range(20):
        world.at(10 + 3 * turn)
        world.say(OriginChanged("a", "0", report(0, range(1, 10))))
        world.collection()
        world.at(11.5 + 3 * turn)
        world.say(OriginChanged("a", "0", report(0, range(1, 11))))
        world.collection()
    assert world.pushes <= 1 + 2 * 4
    world.say(OriginChanged("a", "0", report(0, range(1, 10))))
    world.at(70 + 301)
    assert world.endpoints() == 999


def test_one_of_two_registries_gone_for_good(world: World) -> None:
    world.say(SourceListed("b", world.full()))
    world.at(10)
    world.say(SourceSuspected("a", "gone"))
    world.at(20)
    world.say(OriginChanged("b", "0", report(0, range(1, 10))))
    assert world.endpoints() == 1000  # a, whose last word is young, still claims it
    world.at(10 + 3600)
    assert world.catalog.sources["a"].state is SourceState.EXPIRED
    assert world.endpoints() == 999


def test_both_registries_gone(world: World) -> None:
    world.say(SourceListed("b", world.full()))
    before = world.collection()
    world.at(10)
    world.say(SourceSuspected("a", "gone"), SourceSuspected("b", "gone"))
    world.at(3600)
    assert world.collection() is before
    world.at(3700)
    assert world.endpoints() == 0
    world.say(SourceListed("b", world.full()))
    assert world.endpoints() == 1000


def test_clocks_that_are_wrong(world: World) -> None:
    """An instance from the future counts as just started, one from the distant past as warm; nothing is lost or stuck."""
    future = report(0, [1], warm_up=WarmUp(1_800_000_000_000, 60_000, 10))
    past = report(1, [1], warm_up=WarmUp(0, 60_000, 10))
    world.say(OriginChanged("a", "0", future), OriginChanged("a", "1", past))
    assert world.endpoints() == 982
    merged = world.catalog.services[ServiceKey("d", "s0")]
    assert len(merged.workloads) == 1
    due = world.catalog.next_tick()
    assert due is None or due > world.now


def test_a_burst_of_events(world: World) -> None:
    """Twenty thousand events are folded once a service, not once an event, and end in what was said last."""
    reports = {(n, odd): report(n, range(1, 10 + odd)) for n in range(SERVICES) for odd in (0, 1)}
    for turn in range(200):
        for n in range(SERVICES):
            world.catalog.apply(OriginChanged("a", str(n), reports[n, turn % 2]), world.now)
    assert world.catalog.pending == SERVICES
    world.at(1000)
    assert world.endpoints() == 1000


def test_two_replicas_that_saw_other_stories_publish_equal_bytes_and_a_failover_pushes_nothing() -> None:
    one, two = World(), World()
    for name in ("a", "b"):
        one.say(SourceListed(name, one.full()))
    one.say(OriginChanged("a", "3", report(3, range(1, 6))), OriginChanged("b", "3", report(3, range(1, 6))))
    one.say(SourceSuspected("a", "flaps"), SourceListed("a", one.full() | {"3": report(3, range(1, 6))}))
    two.say(SourceListed("b", two.full() | {"3": report(3, range(1, 6))}))
    two.say(SourceListed("a", two.full() | {"3": report(3, range(1, 6))}))
    first, second = one.collection(), two.collection()
    assert first.version == second.version
    assert first.body == second.body
