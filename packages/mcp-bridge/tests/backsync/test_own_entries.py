"""Entries of our own cluster: never foreign truth, but they tell what other replicas hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus_mcp_bridge.backsync.layouts import DUBBO, Description, entry_name
from isthmus_mcp_bridge.backsync.marks import Marks, read_marks
from isthmus_mcp_bridge.backsync.own_entries import OwnEntries
from isthmus_mcp_bridge.backsync.write_back import wanted_of
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.show import mesh_else_native
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.claims import entry_of
from isthmus_mcp_bridge.registration.model import InstanceKey, Offer, Registered, SdkService, naming_of, registered
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.client import Children
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory, InterfaceNodes

RULE = NamingRule()
SERVICE = SdkService("dubbo", "com.x.Foo", "g", "1.0")
MESH, NATIVE = Address("10.0.0.1", 20881), Address("10.0.0.1", 20880)
PLACE = "/dubbo/com.x.Foo"


def one(*, up: tuple[bool, bool] = (True, True), native: Address | None = NATIVE) -> Registered:
    offer = Offer(InstanceKey(SERVICE, "pod-7"), MESH, native, "shop", (("methods", "a,b"), ("weight", "50")))
    return registered(offer, naming_of(RULE, SERVICE).key, up=up, epoch=7, zone="z")


def written(found: Registered, cluster: str = "here") -> str:
    return wanted_of(found, mesh_else_native, DUBBO, cluster).entries[0].name


class Learned:
    def __init__(self) -> None:
        self.found: dict[str, Sequence[Registered]] = {}
        self.own = OwnEntries("here", "zoo", DUBBO, RULE, self.learn, self.forget)

    def learn(self, registry: str, origin: str, found: Sequence[Registered]) -> None:
        assert registry == "zoo"
        self.found[origin] = found

    def forget(self, _: str, kept: Iterable[str]) -> None:
        self.found = {origin: self.found[origin] for origin in self.found if origin in set(kept)}


def test_what_one_replica_writes_another_one_learns_as_it_was() -> None:
    for found in (one(), one(up=(True, False)), one(native=None)):
        learned = Learned()
        assert learned.own.sift(PLACE, "com.x.Foo", [written(found)]) == ()
        (again,) = learned.found[PLACE]
        assert (again.key, again.epoch, again.zone) == (found.key, 7, "z")
        assert again.instance == found.instance
        assert entry_of([again], RULE, {}) == entry_of([found], RULE, {})
        assert learned.own.ignored == 1
        learned.own.listed([])
        assert (learned.own.ignored, learned.found) == (0, {})


def test_other_clusters_entries_are_foreign_unless_they_went_through_ours() -> None:
    learned = Learned()
    theirs = written(one(), "there")
    back = entry_name(DUBBO.url(SERVICE, MESH, Description(), Marks(("here", "there"), "x", 1, mirrored=True)))
    assert learned.own.sift(PLACE, "com.x.Foo", [theirs, back, "isthmus.no-url"]) == (theirs, "isthmus.no-url")
    assert learned.found[PLACE] == []


def test_the_directory_claims_foreign_entries_only_and_remembers_their_path() -> None:
    learned = Learned()
    directory = Directory("zoo", RULE, {}, sieve=learned.own)
    sdk = "dubbo%3A%2F%2F10.0.0.9%3A1%2Fcom.x.Foo%3Fgroup%3Dg%26version%3D1.0"
    nodes = InterfaceNodes("com.x.Foo", PLACE, Children((written(one()), written(one(), "there"), sdk)))
    report = directory.replace([nodes])[PLACE]
    assert {(end.address, end.port, end.path) for end in report.claims[0].endpoints} == {
        ("10.0.0.1", 20881, ("there",)),
        ("10.0.0.9", 1, ()),
    }
    assert all("isthmus" not in key for end in report.claims[0].endpoints for key, _ in end.labels)
    assert [found.key.id for found in learned.found[PLACE]] == ["pod-7"]
    directory.remove(PLACE)
    assert learned.found[PLACE] == ()


def test_marks_that_make_no_sense_are_none() -> None:
    good = Marks(("a", "b"), "x", 3, native=Address("::1", 5), mesh=MESH, up=(True, False))
    assert read_marks(good.parameters()) == good
    assert (good.origin, good.writer) == ("a", "b")
    for name in ("path", "instance", "epoch"):
        assert read_marks({**good.parameters(), f"isthmus.{name}": ""}) is None
    assert read_marks({**good.parameters(), "isthmus.epoch": "-1"}) is None
    without = Marks(("a", "b"), "x", 3, None, MESH, (True, False))
    assert read_marks({**good.parameters(), "isthmus.native": "x"}) == without


def test_namespace_of_the_claims() -> None:
    assert one().instance.service == ServiceKey("default", "com.x.foo-g-1-0")
