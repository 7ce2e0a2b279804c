from __future__ import annotations

from google.protobuf.any_pb2 import Any

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServicePort as EntryPort
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_mcp_bridge.catalog.catalog import ServiceChange
from isthmus_mcp_bridge.convert.preflight import entry_violations
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.convert.resource import RAW_NAMES, to_resource
from isthmus_mcp_bridge.convert.service_entry import to_service_entry
from isthmus_mcp_bridge.model import MergedService, ServiceKey, ServicePort, Workload

KEY = ServiceKey("shop", "reviews.shop")


def merged(*ports: int, address: str = "10.0.0.1", created_ms: int = 0) -> MergedService:
    labels = (("app", "shop"), ("version", "v1"))
    workloads = tuple(Workload(address, (("http", port),), "blue", labels, "eu/a", 2, "sa") for port in ports)
    service_ports = (ServicePort("http", 80, "HTTP"),)
    return MergedService(KEY, service_ports, workloads, ("240.0.0.1",), ("com.shop.Reviews",), created_ms)


def test_a_service_entry() -> None:
    assert to_service_entry(merged(9101)) == ServiceEntry(
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
    made = to_resource(service, to_service_entry(service))
    resource, entry = unpacked(made.packed)
    assert entry == to_service_entry(service)
    assert made.name == resource.metadata.name == "shop/reviews.shop"
    assert made.version == resource.metadata.version != ""
    assert resource.metadata.create_time.ToMilliseconds() == 1_234_567
    assert dict(resource.metadata.annotations) == {RAW_NAMES: "com.shop.Reviews"}


def test_the_version_changes_with_the_content_only() -> None:
    def version(service: MergedService) -> str:
        return to_resource(service, to_service_entry(service)).version

    assert version(merged(1, 2)) == version(merged(2, 1))
    assert version(merged(1)) != version(merged(2))
    assert version(merged(1)) != version(merged(1, created_ms=5))


def test_the_version_does_not_depend_on_the_process() -> None:
    """The bytes are what a replica of another release of Python makes, too: nothing in them depends on hash seeds."""
    service = merged(9101)
    assert to_resource(service, to_service_entry(service)).version == "634e977e5fc831d9"


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
        endpoints=[WorkloadEntry(address="h", ports={"b": 0}, labels={"a b": "c"})],
    )
    entry.workload_selector.labels["a"] = "b"
    assert [one.path for one in entry_violations(entry)] == [
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
    assert [one.path for one in entry_violations(ServiceEntry(resolution=ServiceEntry.STATIC))] == ["hosts", "ports"]
