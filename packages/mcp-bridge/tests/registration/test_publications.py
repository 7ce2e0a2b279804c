"""What sidecars say: names of SDKs, addresses, and everything that is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.registration.v1alpha1 import registration_pb2
from isthmus_api.registration.v1alpha1.registration_pb2 import Publication
from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Description, entry_name
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.model import Health, InstanceKey, Offer, SdkService
from isthmus_mcp_bridge.registration.publications import MAX_PUBLICATIONS, read_publications
from isthmus_mcp_bridge.registries.naming import NamingRule

RULE = NamingRule()
GOOD: dict[str, Any] = {"service": "com.x.Foo", "protocol": "dubbo", "host": "10.0.0.1", "port": 20881}


def only(**fields: Any) -> Offer:
    found, errors = read_publications([Publication(**{**GOOD, **fields})], RULE)
    assert errors == []
    return next(iter(found.values()))


def test_dubbo() -> None:
    offer = only(group="g", version="2.0", native_host="10.0.0.1", native_port=20880, metadata={"weight": "50"})
    assert offer.key == InstanceKey(SdkService("dubbo", "com.x.Foo", "g", "2.0"), "10.0.0.1:20880")
    assert (offer.mesh, offer.native) == (Address("10.0.0.1", 20881), Address("10.0.0.1", 20880))
    assert (offer.metadata, offer.health) == ((("weight", "50"),), Health.UNKNOWN)


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ("com.x.Foo:1.0", SdkService("bolt", "com.x.Foo", "", "1.0")),
        ("com.x.Foo:1.0:blue@bolt", SdkService("bolt", "com.x.Foo", "blue", "1.0")),
        ("com.x.Foo", SdkService("bolt", "com.x.Foo", "", "1.0")),
    ],
)
def test_sofarpc(service: str, key: SdkService) -> None:
    offer = only(service=service, protocol="bolt", group="SOFA", metadata={"version": "4.0"})
    assert offer.key == InstanceKey(key, "10.0.0.1:20881")
    assert offer.native is None


def test_health_and_instance() -> None:
    assert only(application_health=registration_pb2.APPLICATION_HEALTH_SILENT).health is Health.SILENT
    assert only(application_health=registration_pb2.APPLICATION_HEALTH_ANSWERING).health is Health.ANSWERING
    assert only(instance="pod-7").key.id == "pod-7"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"service": ""}, "service"),
        ({"service": "a b"}, "service"),
        ({"service": "-"}, "service"),
        ({"service": "x" * 513}, "service"),
        ({"protocol": "smtp"}, "protocol"),
        ({"host": "example.com"}, "host"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"native_host": "10.0.0.1"}, "native_port"),
        ({"native_port": 1}, "native_host"),
        ({"group": "a&b"}, "group"),
        ({"application": "a=b"}, "application"),
        ({"instance": "a?"}, "instance"),
        ({"metadata": {"isthmus.epoch": "1"}}, "metadata"),
        ({"metadata": {"a": "b&c"}}, "metadata[a]"),
        ({"metadata": {str(number): "x" for number in range(65)}}, "metadata"),
        ({"metadata": {"a": "x" * 9000}}, "metadata"),
    ],
)
def test_a_bad_publication_costs_only_itself(fields: dict[str, Any], field: str) -> None:
    good = Publication(**GOOD)
    found, errors = read_publications([Publication(**{**GOOD, **fields}), good], RULE)
    assert len(found) == 1
    assert len(errors) == 1
    assert errors[0].startswith(f"publications[0].{field}: ")


def test_the_same_instance_twice_and_too_many() -> None:
    good = Publication(**GOOD)
    assert read_publications([good, good], RULE)[1] == [
        "publications[1].instance: '10.0.0.1:20881': this instance of the service stands twice"
    ]
    many = [Publication(**{**GOOD, "service": f"s{number}"}) for number in range(MAX_PUBLICATIONS + 1)]
    found, errors = read_publications(many, RULE)
    assert (len(found), len(errors)) == (MAX_PUBLICATIONS, 1)


texts = st.text(max_size=12)
words = st.text("abcXYZ019._-%+:é", min_size=1, max_size=8)


@given(st.builds(Publication, service=texts, protocol=st.sampled_from(["bolt", "dubbo", "x"]), group=texts,
                 version=texts, host=st.sampled_from(["10.0.0.1", "::1", "x"]), port=st.integers(0, 70000), instance=texts,
                 application=texts, metadata=st.dictionaries(texts, texts, max_size=3)))  # fmt: skip
def test_whatever_is_taken_can_be_written_and_read_again(publication: Publication) -> None:
    for offer in read_publications([publication], RULE)[0].values():
        layout = SOFARPC if offer.key.service.protocol == "bolt" else DUBBO
        about = Description(offer.application, offer.metadata)
        url = layout.url(offer.key.service, offer.mesh, about)
        seen = layout.read(entry_name(url), offer.key.service.interface)
        assert seen is not None
        assert (seen.service, seen.address, seen.marks) == (offer.key.service, offer.mesh, None)
        again = layout.url(seen.service, seen.address, layout.describe(url, seen.service.interface))
        assert entry_name(again) == entry_name(url)


@given(st.dictionaries(words, words, max_size=4), words)
def test_descriptions_survive_the_registry(metadata: dict[str, str], application: str) -> None:
    service = SdkService("dubbo", "com.x.Foo", "g", "1.0")
    url = DUBBO.url(service, Address("10.0.0.1", 1), Description(application, tuple(sorted(metadata.items())), "z"))
    about = DUBBO.describe(url, "com.x.Foo")
    assert about == Description(application, tuple(sorted(metadata.items())), "z")
