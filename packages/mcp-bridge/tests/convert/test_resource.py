from __future__ import annotations

from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServicePort as EntryPort
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_mcp_bridge.catalog.catalog import ServiceChange
from isthmus_mcp_bridge.convert.preflight import head_violations, workload_violations
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.convert.resource import RAW_NAMES, to_resource
from isthmus_mcp_bridge.convert.service_entry import to_service_entry
from isthmus_mcp_bridge.mcp.snapshot import SnapshotResource
from isthmus_mcp_bridge.model import MergedService, ServiceKey, ServicePort, Workload, workload_order
from isthmus_mcp_bridge.testing import messages

KEY = ServiceKey("shop", "reviews.shop")


def merged(*ports: int, address: str = "10.0.0.1", created_ms: int = 0) -> MergedService:
    labels = (("app", "shop"), ("version", "v1"))
    workloads = tuple(Workload(address, (("http", port),), "blue", labels, "eu/a", 2, "sa") for port in ports)
    service_ports = (ServicePort("http", 80, "HTTP"),)
    return MergedService(KEY, service_ports, workloads, ("240.0.0.1",), ("com.shop.Reviews",), created_ms)


def resource(service: MergedService) -> SnapshotResource:
    return to_resource(service, to_service_entry(service))


def test_a_service_entry() -> None:
    entry = to_service_entry(merged(9101))
    assert ServiceEntry.FromString(entry.head + entry.endpoints) == ServiceEntry(
        hosts=["reviews.shop"],
        addresses=["240.0.0.1"],
        ports=[EntryPort(number=80, protocol="HTTP", name="http")],
        location=ServiceEntry.MESH_INTERNAL,
        resolution=ServiceEntry.STATIC,
        endpoints=[
            WorkloadEntry(
                address="10.0.0.1",
                ports={"http": 9101},
                labels={"app": "shop", "version": "v1"},
                network="blue",
                locality="eu/a",
                weight=2,
                service_account="sa",
            )
        ],
    )


def unpacked(packed: bytes) -> tuple[Resource, ServiceEntry]:
    outer, resource, entry = Any.FromString(packed), Resource(), ServiceEntry()
    assert outer.type_url == "type.googleapis.com/istio.mcp.v1alpha1.Resource"
    assert outer.Unpack(resource)
    assert resource.body.type_url == "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry"
    assert resource.body.Unpack(entry)
    return resource, entry


def test_a_resource() -> None:
    service = merged(9101, created_ms=1_234_567)
    made = resource(service)
    wrapped, entry = unpacked(made.packed)
    assert entry == messages.service_entry(service)
    assert made.name == wrapped.metadata.name == "shop/reviews.shop"
    assert made.version == wrapped.metadata.version != ""
    assert wrapped.metadata.create_time.ToMilliseconds() == 1_234_567
    assert dict(wrapped.metadata.annotations) == {RAW_NAMES: "com.shop.Reviews"}


def test_the_version_changes_with_the_content_only() -> None:
    def version(service: MergedService) -> str:
        return resource(service).version

    assert version(merged(1)) == version(merged(1))
    assert version(merged(1)) != version(merged(2))
    assert version(merged(1)) != version(merged(1, created_ms=5))


def test_the_version_does_not_depend_on_the_process() -> None:
    """The bytes are what a replica of another release of Python makes, too: nothing in them depends on hash seeds."""
    service = merged(9101)
    assert resource(service).version == "634e977e5fc831d9"


def test_publication_converts_changes_and_forgets_what_is_gone() -> None:
    publication = Publication()
    empty = publication.collection()
    assert publication.take([ServiceChange(KEY, merged(1))]) == []
    first = publication.collection()
    assert list(first.resources) == ["shop/reviews.shop"]
    assert publication.collection() is first
    publication.take([ServiceChange(KEY, None)])
    assert publication.collection().version == empty.version


def test_the_last_good_state_stays_published_when_the_next_breaks_a_rule() -> None:
    publication = Publication()
    publication.take([ServiceChange(KEY, merged(1))])
    good = publication.collection()
    assert publication.take([ServiceChange(KEY, merged(1, address="host"))]) == [KEY.name]
    assert publication.collection() is good
    assert [one.path for one in publication.quarantined[KEY.name]] == ["endpoints[0].address"]
    publication.take([ServiceChange(KEY, merged(2))])
    assert publication.collection().version != good.version
    assert not publication.quarantined


def test_every_rule_of_an_entry() -> None:
    entry = ServiceEntry(
        hosts=["A"],
        addresses=["x"],
        ports=[
            EntryPort(number=0, protocol="X", name="A"),
            EntryPort(number=1, protocol="TCP", name="b"),
            EntryPort(number=1, protocol="TCP", name="b"),
        ],
    )
    entry.workload_selector.labels["a"] = "b"
    workload = Workload("h", (("b", 0),), labels=(("a b", "c"),))
    found = head_violations(entry) + workload_violations([workload], {"A", "b"})
    assert [one.path for one in found] == [
        "hosts[0]",
        "addresses[0]",
        "resolution",
        "workload_selector",
        "ports[0].name",
        "ports[0].number",
        "ports[0].protocol",
        "ports[2].name",
        "ports[2].number",
        "endpoints[0].address",
        "endpoints[0].ports",
        "endpoints[0].ports.b",
        "endpoints[0].labels.a b",
    ]
    assert [one.path for one in head_violations(ServiceEntry(resolution=ServiceEntry.STATIC))] == ["hosts", "ports"]


words = st.text("ab.é", max_size=3)
workload_values = st.builds(
    Workload,
    st.sampled_from(["", "10.0.0.1", "10.0.0.2", "::1"]),
    st.just((("http", 8080),)) | st.lists(st.tuples(words, st.integers(0, 65535)), max_size=3).map(tuple),
    words,
    st.lists(st.tuples(words, words), max_size=4).map(tuple),
    words,
    st.integers(0, 2**32 - 1),
    words,
)
service_values = st.builds(
    MergedService,
    st.just(KEY),
    st.just((ServicePort("http", 80, "HTTP"),)),
    st.lists(workload_values, max_size=6).map(lambda found: tuple(sorted(found, key=workload_order))),
    st.lists(words, max_size=2).map(tuple),
    st.lists(words, max_size=2).map(tuple),
    st.integers(0, 2**40),
    raw_labels=st.lists(st.tuples(words, words), max_size=3).map(tuple),
)


@given(service_values)
def test_the_bytes_are_those_of_protobuf(service: MergedService) -> None:
    assert resource(service) == messages.resource(service)


sockets = st.tuples(st.integers(0, 40), st.integers(1, 3))


@given(st.lists(st.lists(sockets, unique=True, max_size=12), min_size=2, max_size=5))
def test_an_entry_made_from_the_one_before_is_the_one_made_anew(steps: list[list[tuple[int, int]]]) -> None:
    known: dict[tuple[int, int], Workload] = {}
    entry = None
    for step in steps:
        workloads = [known.setdefault(one, Workload(f"10.0.0.{one[0]}", (("http", one[1]),))) for one in step]
        service = MergedService(KEY, (ServicePort("http", 80, "HTTP"),), tuple(sorted(workloads, key=workload_order)))
        entry = to_service_entry(service, entry)
        assert to_resource(service, entry) == messages.resource(service)


def test_what_a_big_service_breaks_is_found_and_its_last_good_state_goes_on() -> None:
    publication = Publication()
    ports = (ServicePort("http", 80, "HTTP"),)
    good = tuple(Workload(f"10.0.{n // 100}.{n % 100 + 100}", (("http", 80),)) for n in range(300))
    for workloads in (good, (*good[:150], Workload("host", (("http", 80),)), *good[150:]), good[1:]):
        service = MergedService(KEY, ports, tuple(workloads))
        publication.take([ServiceChange(KEY, service)])
        broken = publication.quarantined.get(KEY.name, ())
        assert [one.path for one in broken] == (["endpoints[150].address"] if len(workloads) > 300 else [])
        if not broken:
            assert publication.collection().resources[KEY.name] == messages.resource(service)
    publication.take([ServiceChange(KEY, MergedService(KEY, (ServicePort("other", 80, "HTTP"),), good))])
    assert len(publication.quarantined[KEY.name]) == 300
