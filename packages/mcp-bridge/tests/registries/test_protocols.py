"""The pure parts of the registries' protocols: byte by byte, cut short, and by the rules of each registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.model import Presence, WarmUp
from isthmus_mcp_bridge.registries import protobuf_wire as wire
from isthmus_mcp_bridge.registries.consul.health import read_health
from isthmus_mcp_bridge.registries.consul.index import next_index
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import parse_node_name
from isthmus_mcp_bridge.registries.eureka.applications import Applications
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.labels import mended_labels
from isthmus_mcp_bridge.registries.nacos.http_registry import page_of
from isthmus_mcp_bridge.registries.nacos.payload import Payload
from isthmus_mcp_bridge.registries.nacos.services import NacosName, Parts, parse_name, parts_of, read_service
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sofaregistry.bolt import Frame, FrameError, FrameReader
from isthmus_mcp_bridge.registries.sofaregistry.messages import DataKey, read_received
from isthmus_mcp_bridge.registries.sofaregistry.services import read_items
from isthmus_mcp_bridge.registries.zookeeper.applications import read_application
from isthmus_mcp_bridge.registries.zookeeper.client import Children
from isthmus_mcp_bridge.registries.zookeeper.directory import InterfaceNodes
from isthmus_mcp_bridge.registries.zookeeper.sofarpc import sofa_provider
from isthmus_mcp_bridge.testing.fake_consul import FakeConsul
from isthmus_mcp_bridge.testing.fake_sofaregistry import received

HOW = Plain("it", NamingRule(), {})


@pytest.mark.parametrize(
    ("previous", "header", "following"),
    [(0, "7", 7), (7, "7", 7), (7, "9", 9), (7, "6", 0), (7, "0", 1), (7, "x", 1), (7, None, 1), (0, "9" * 30, 1)],
)
def test_consuls_index_rules(previous: int, header: str | None, following: int) -> None:
    headers: Mapping[str, str] = {} if header is None else {"X-Consul-Index": header}
    assert next_index(previous, headers) == following


def consul_entry(**changes: object) -> dict[str, object]:
    entry = FakeConsul().entry("reviews", "10.0.0.1", 1)
    entry["Service"] |= changes
    return entry


def test_consuls_presences_weights_and_labels() -> None:
    found = [
        consul_entry(Tags=["v1", "zone=a"], Meta={"team": "x y"}, Weights={"Passing": 3, "Warning": 1}),
        consul_entry(Address="", ID="two") | {"Checks": [{"CheckID": "c", "Status": "warning"}]},
        consul_entry(ID="three", Address="10.0.0.3") | {"Checks": [{"CheckID": "c", "Status": "critical"}]},
        consul_entry(ID="four", Address="10.0.0.4", Weights={"Passing": 0}),
        {"nonsense": 1},
    ]
    entry = read_health(HOW, "reviews", found)
    said = {one.endpoint.address: one.endpoint for one in entry.providers}
    assert said["10.0.0.1"].weight == 300
    assert dict(said["10.0.0.1"].labels) == {"tag-v1": "true", "zone": "a", "team": "x-y"}
    assert said["10.0.0.1"].locality == "dc1"
    assert (said["10.9.9.9"].presence, said["10.9.9.9"].weight) == (Presence.UP, 100)
    assert said["10.0.0.3"].presence is Presence.UNHEALTHY
    assert said["10.0.0.4"].presence is Presence.OFFLINE
    assert len(entry.problems) == 1
    assert entry.age == 5
    with pytest.raises(RegistryFault):
        read_health(HOW, "reviews", {})


def test_dubbo_on_consul_is_read_from_its_url() -> None:
    meta = {"url": "dubbo://10.0.0.7:20880/com.shop.Reviews?interface=com.shop.Reviews&version=2.0&weight=50"}
    (provider,) = read_health(HOW, "com.shop.Reviews", [consul_entry(Tags=["dubbo"], Meta=meta)]).providers
    assert provider.naming.key.host == "com.shop.reviews-2-0"
    assert (provider.endpoint.port, provider.endpoint.weight, provider.port.name) == (20880, 50, "dubbo-tcp")


def eureka(hashcode: str, *instances: dict[str, object]) -> dict[str, object]:
    application = {"name": "REVIEWS", "instance": list(instances)}
    return {"applications": {"apps__hashcode": hashcode, "application": application if instances else []}}


def eureka_instance(number: int, status: str = "UP", action: str = "ADDED", **more: Any) -> dict[str, object]:
    return {
        "instanceId": str(number), "ipAddr": f"10.0.0.{number}", "status": status, "actionType": action,
        "port": {"$": 80, "@enabled": "true"}, **more,
    }  # fmt: skip


def test_eurekas_delta_is_checked_by_its_hash_and_may_repeat() -> None:
    known = Applications()
    known.replace(eureka("UP_2_", eureka_instance(1), eureka_instance(2)))
    delta = eureka("DOWN_1_UP_1_", eureka_instance(1, "DOWN", "MODIFIED"), eureka_instance(3, action="DELETED"))
    assert known.apply(delta)
    assert known.apply(delta)
    assert known.own_hash() == "DOWN_1_UP_1_"
    said = {one.endpoint.address: one.endpoint.presence for one in known.entries(HOW)["REVIEWS"].providers}
    assert said == {"10.0.0.1": Presence.OFFLINE, "10.0.0.2": Presence.UP}
    assert not known.apply(eureka("UP_9_"))


def test_eurekas_secure_port_and_overridden_status() -> None:
    known = Applications()
    secure: dict[str, Any] = {"port": {"$": 80, "@enabled": "false"}, "securePort": {"$": 8443, "@enabled": "true"}}
    known.replace(eureka("", eureka_instance(1, **secure), eureka_instance(2, overriddenStatus="OUT_OF_SERVICE")))
    first, second = known.entries(HOW)["REVIEWS"].providers
    assert (first.endpoint.port, first.port.name, first.naming.key.host) == (8443, "https", "reviews")
    assert second.endpoint.presence is Presence.OFFLINE
    wrongs: list[Any] = [{}, [], {"applications": {"application": [7]}}]
    for wrong in wrongs:
        with pytest.raises(RegistryFault):
            known.replace(wrong)


def test_nacos_names() -> None:
    assert parse_name("g@@n", "d") == NacosName("g", "n")
    assert parse_name("n", "d") == NacosName("d", "n")

    def parts(name: str, group: str = "DEFAULT_GROUP") -> Parts | None:
        return parts_of(NacosName(group, name), "http")

    assert parts("providers:com.x.Y:1.0:blue") == Parts("com.x.Y", "blue", "1.0", "dubbo")
    assert parts("providers:com.x.Y") == Parts("com.x.Y", "", "", "dubbo")
    assert parts("consumers:com.x.Y::") is None
    assert parts("com.x.Y:u1:DEFAULT") == Parts("com.x.Y", "u1", "", "bolt")
    assert parts("plain", "g1") == Parts("plain", "g1", "", "http")


def test_nacos_instances() -> None:
    hosts = [
        {"ip": "10.0.0.1", "port": 1, "weight": 0.5, "healthy": True, "metadata": {"protocol": "tri"}},
        {"ip": "10.0.0.2", "port": 1, "healthy": False},
        {"ip": "10.0.0.3", "port": 1, "enabled": False},
        {"ip": "10.0.0.4", "port": 1, "weight": 0},
        {"ip": "10.0.0.5"},
    ]
    entry = read_service(HOW, NacosName("DEFAULT_GROUP", "s"), {"hosts": hosts, "checksum": "c"})
    assert entry is not None
    said = {one.endpoint.address[-1]: one.endpoint for one in entry.providers}
    assert (said["1"].weight, entry.providers[0].port.name) == (50, "grpc")
    presences = [said[number].presence for number in "1234"]
    assert presences == [Presence.UP, Presence.UNHEALTHY, Presence.OFFLINE, Presence.OFFLINE]
    assert len(entry.problems) == 1
    protected = read_service(HOW, NacosName("g", "s"), {"hosts": hosts[:1], "reachProtectionThreshold": True})
    assert protected is not None
    assert protected.providers[0].endpoint.presence is Presence.DOUBTED
    with pytest.raises(RegistryFault):
        read_service(HOW, NacosName("g", "s"), {})


@pytest.mark.parametrize(
    "answer", [None, {}, {"count": 1, "doms": None}, {"count": "x", "doms": []}, {"count": 1, "doms": [7]}]
)
def test_a_page_that_is_none(answer: object) -> None:
    with pytest.raises(RegistryFault):
        page_of(answer)


@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=5), st.integers()))
def test_nacos_payloads(kind: str, body: dict[str, int]) -> None:
    data = Payload(kind, body).encode()
    assert Payload.decode(data) == Payload(kind, body)
    for cut in range(len(data)):
        try:
            found = Payload.decode(data[:cut])
        except ValueError:
            continue
        assert found == Payload(kind, {})  # cut where the body would begin


frames = st.builds(
    Frame,
    kind=st.sampled_from([0, 1, 2]),
    command=st.sampled_from([0, 1, 2]),
    request_id=st.integers(0, 2**31 - 1),
    class_name=st.text(max_size=10),
    content=st.binary(max_size=40),
)


@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_bolt_frames_whole_and_in_pieces(sent: list[Frame], data: st.DataObject) -> None:
    wired = b"".join(frame.encode() for frame in sent)
    assert FrameReader().receive(wired) == sent
    reader, found = FrameReader(), []
    for place in range(len(wired)):
        found += reader.receive(wired[place : place + 1])
    assert found == sent
    cut = data.draw(st.integers(0, len(sent[-1].encode()) - 1))
    assert FrameReader().receive(wired[: len(wired) - len(sent[-1].encode()) + cut]) == sent[:-1]


def test_bolt_refuses_what_is_none() -> None:
    for wrong in (b"GET / HTTP/1.1", b"\x01\x07" + bytes(30)):
        with pytest.raises(FrameError):
            FrameReader().receive(wrong)
    huge = bytearray(Frame(1, 1, 1).encode())
    huge[-4:] = b"\x7f\xff\xff\xff"
    with pytest.raises(FrameError):
        FrameReader().receive(bytes(huge))


@given(st.text(min_size=1), st.lists(st.text(min_size=1), max_size=3))
def test_received_data(data_id: str, items: list[str]) -> None:
    key = DataKey(data_id)
    found = read_received(received(key, 7, items))
    assert (found.key, found.version) == (key, 7)
    assert found.items == tuple(sorted(items))


def test_received_data_that_is_compressed_is_refused() -> None:
    with pytest.raises(wire.WireError, match="compressed"):
        read_received(wire.field(10, "zstd"))


@given(st.binary(max_size=40))
def test_wire_reads_anything_or_says_that_it_cannot(data: bytes) -> None:
    try:
        fields = list(wire.fields(data))
    except wire.WireError:
        return
    assert all(number > 0 for number, _ in fields)


def test_sofa_items() -> None:
    key = DataKey("com.shop.Reviews:1.0:blue@DEFAULT")
    items = ["10.0.0.1:12200?weight=50&appName=shop&startTime=1000&warmupTime=60000&warmupWeight=5", "nobody:1?"]
    entry = read_items(key, items, NamingRule(), {}, "it")
    (provider,) = entry.providers
    assert provider.naming.key.host == "com.shop.reviews-blue"
    assert provider.endpoint.warm_up == WarmUp(1000, 60000, 10)
    assert (provider.endpoint.weight, provider.port.name) == (50, "bolt-tcp")
    assert dict(provider.endpoint.labels)["app"] == "shop"
    assert len(entry.problems) == 1


def test_sofa_urls_of_zookeeper() -> None:
    url = parse_node_name("bolt://10.0.0.1:12200/?version=1.0&uniqueId=&weight=0&appName=shop")
    provider = sofa_provider(url, "com.shop.Reviews", "id", NamingRule(), {"bolt": 9999})
    assert provider.endpoint.presence is Presence.OFFLINE
    assert (provider.port.number, provider.naming.key.host) == (9999, "com.shop.reviews")


def application(metadata: dict[str, str], **data: bytes) -> InterfaceNodes:
    document = {"address": "10.0.0.1", "port": 20880, "payload": {"metadata": metadata}}
    nodes = {
        "10.0.0.1:20880": json.dumps(document).encode(),
        **{name.replace("__", "/"): one for name, one in data.items()},
    }
    return InterfaceNodes("shop", "/services/shop", Children(("10.0.0.1:20880",), 7, 8), data=nodes)


def test_an_application_with_remote_metadata() -> None:
    services = {
        "a": {"name": "com.shop.Reviews", "group": "blue", "version": "1.0", "protocol": "dubbo", "port": 20880},
        "b": {"name": "org.apache.dubbo.metadata.MetadataService", "version": "1.0"},
    }
    endpoints = json.dumps([{"port": 20880, "protocol": "dubbo"}, {"port": 50051, "protocol": "tri"}])
    metadata = {"dubbo.metadata.revision": "r", "dubbo.endpoints": endpoints, "zone": "a"}
    nodes = application(metadata, metadata__r=json.dumps({"services": services}).encode())
    entry = read_application(nodes, NamingRule(), {}, "it")
    (provider,) = entry.providers
    assert provider.naming.key.host == "com.shop.reviews-blue-1-0"
    assert dict(provider.endpoint.labels) == {"app": "shop", "zone": "a"}
    assert (entry.age, entry.created_ms, entry.problems) == (7, 8, ())


def test_an_application_whose_metadata_is_in_itself_is_known_by_the_mapping() -> None:
    entry = read_application(application({}, **{"mapping__com.shop.Reviews": b"shop"}), NamingRule(), {}, "it")
    assert [one.naming.key.host for one in entry.providers] == ["com.shop.reviews"]


def test_mended_labels_keep_what_they_were() -> None:
    labels, raw = mended_labels([("methods", "a,b"), ("ok", "v1"), ("x/y", "z")])
    assert labels == (("methods", "a-b"), ("ok", "v1"), ("x-y", "z"))
    assert raw == (("methods=a-b", "methods=a,b"), ("x-y=z", "x/y=z"))
