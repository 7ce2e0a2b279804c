from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.errors import DocumentError
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Side
from isthmus_mcp_bridge.registries.file.services import parse_services

FULL = """
services:
- host: reviews.shop
  namespace: shop
  addresses: [240.240.0.1]
  ports:
  - {name: http, number: 8080, protocol: http}
  - {number: 9090, protocol: GRPC}
  instances:
  - address: 10.0.0.1
    ports: {http: 9101, grpc: 9102}
    weight: 3
    labels: {version: v1, istio.io/rev: "1"}
    locality: eu/a/b
    network: blue
    service_account: spiffe://x
  - {address: "::1"}
"""


def parse(text: str) -> tuple[ServiceClaim, ...]:
    return parse_services(text.encode(), "shop.yaml", "default")


def test_every_field() -> None:
    (claim,) = parse(FULL)
    http, grpc = ServicePort("http", 8080, "HTTP"), ServicePort("grpc", 9090, "GRPC")
    labels = (("istio.io/rev", "1"), ("version", "v1"))
    first = EndpointClaim(
        "http", "10.0.0.1", 9101, "services[0].instances[0]", "blue", Presence.UP, 300, labels, "eu/a/b", "spiffe://x"
    )
    assert claim.key == ServiceKey("shop", "reviews.shop")
    assert claim.ports == (http, grpc)
    assert claim.addresses == ("240.240.0.1",)
    assert claim.endpoints[0] == first
    assert [(one.service_port, one.address, one.port) for one in claim.endpoints] == [
        ("http", "10.0.0.1", 9101),
        ("grpc", "10.0.0.1", 9102),
        ("http", "::1", 8080),
        ("grpc", "::1", 9090),
    ]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "services: []"])
def test_nothing(text: str) -> None:
    assert parse(text) == ()


@pytest.mark.parametrize(
    ("fields", "presence"),
    [
        ("", Presence.UP),
        (", healthy: false", Presence.UNHEALTHY),
        (", enabled: false", Presence.OFFLINE),
        (", weight: 0", Presence.OFFLINE),
        (", enabled: false, healthy: false", Presence.OFFLINE),
        (", enabled: true, healthy: true, weight: 1", Presence.UP),
    ],
)
def test_presence(fields: str, presence: Presence) -> None:
    (claim,) = parse(
        f"services: [{{host: a, ports: [{{number: 80, protocol: HTTP}}], instances: [{{address: 10.0.0.1{fields}}}]}}]"
    )
    assert [one.presence for one in claim.endpoints] == [presence]


def test_addresses_of_both_sides_of_an_instance() -> None:
    (claim,) = parse(
        "services: [{host: a, ports: [{number: 80, protocol: HTTP}], instances: ["
        "{address: 10.0.0.1, port: 8080, instance: a-1}, {address: 10.0.0.1, port: 15006, side: mesh, instance: a-1}]}]"
    )
    assert [(one.port, one.side, one.instance) for one in claim.endpoints] == [
        (8080, Side.NATIVE, "a-1"),
        (15006, Side.MESH, "a-1"),
    ]


SERVICE = "services: [{{host: a, ports: [{{number: 80, protocol: HTTP}}], {}}}]"
INSTANCE = "services: [{{host: a, ports: [{{number: 80, protocol: HTTP}}], instances: [{{address: 10.0.0.1, {}}}]}}]"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("[", "line 1, column 2", ""),
        ("a: 1\na: 2", "line 2, column 1", ""),
        ("services: {}", "services", "{}"),
        ("other: 1", "other", "1"),
        ("{}", "(document)", "{}"),
        ("[]", "(document)", "[]"),
        ("services: [1]", "services[0]", "1"),
        ("services: [{ports: []}]", "services[0]", "{'ports': []}"),
        ("services: [{host: a}]", "services[0]", "{'host': 'a'}"),
        ("services: [{host: A, ports: []}]", "services[0].host", "'A'"),
        ("services: [{host: 1, ports: []}]", "services[0].host", "1"),
        ("services: [{host: a, ports: []}]", "services[0].ports", "[]"),
        ("services: [{host: a, ports: [{number: 1}]}]", "services[0].ports[0]", "{'number': 1}"),
        ("services: [{host: a, ports: [{number: 0, protocol: TCP}]}]", "services[0].ports[0].number", "0"),
        ("services: [{host: a, ports: [{number: true, protocol: TCP}]}]", "services[0].ports[0].number", "True"),
        ("services: [{host: a, ports: [{number: 1, protocol: SMTP}]}]", "services[0].ports[0].protocol", "'SMTP'"),
        ("services: [{host: a, ports: [{name: A_, number: 1, protocol: TCP}]}]", "services[0].ports[0].name", "'A_'"),
        (SERVICE.format("namespace: A"), "services[0].namespace", "'A'"),
        (SERVICE.format("addresses: [x]"), "services[0].addresses[0]", "'x'"),
        (SERVICE.format("colour: red"), "services[0].colour", "'red'"),
        (SERVICE.format("instances: [{}]"), "services[0].instances[0]", "{}"),
        (SERVICE.format("instances: [{address: host}]"), "services[0].instances[0].address", "'host'"),
        (INSTANCE.format("port: 70000"), "services[0].instances[0].port", "70000"),
        (INSTANCE.format("ports: {}"), "services[0].instances[0].ports", "{}"),
        (INSTANCE.format("ports: {x: 1}"), "services[0].instances[0].ports.x", "1"),
        (INSTANCE.format("weight: -1"), "services[0].instances[0].weight", "-1"),
        (INSTANCE.format("weight: 1.5"), "services[0].instances[0].weight", "1.5"),
        (INSTANCE.format("healthy: maybe"), "services[0].instances[0].healthy", "'maybe'"),
        (INSTANCE.format("side: left"), "services[0].instances[0].side", "'left'"),
        (INSTANCE.format("labels: {a b: c}"), "services[0].instances[0].labels.a b", "'c'"),
        (INSTANCE.format("labels: {a: 'b c'}"), "services[0].instances[0].labels.a", "'b c'"),
        (INSTANCE.format("labels: {version: 1}"), "services[0].instances[0].labels.version", "1"),
        (INSTANCE.format("labels: {1: a}"), "services[0].instances[0].labels", "{1: 'a'}"),
    ],
)
def test_bad_values_are_named(text: str, path: str, value: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert caught.value.file == "shop.yaml"
    assert caught.value.path == path
    assert caught.value.value == value
    assert str(caught.value).startswith(f"shop.yaml: {path}: ")


def test_a_service_twice_in_a_file() -> None:
    one = "{host: a, ports: [{number: 80, protocol: HTTP}]}"
    with pytest.raises(DocumentError, match=r"services\[1\].host: 'a': stands twice"):
        parse(f"services: [{one}, {one}]")


def test_a_port_twice_in_a_service() -> None:
    with pytest.raises(DocumentError, match=r"ports\[1\]"):
        parse(
            "services: [{host: a, ports: [{name: x, number: 80, protocol: HTTP}, {name: y, number: 80, protocol: TCP}]}]"
        )


def test_port_needs_a_single_service_port() -> None:
    ports = "ports: [{number: 80, protocol: HTTP}, {number: 81, protocol: TCP}]"
    with pytest.raises(DocumentError, match="use ports"):
        parse(f"services: [{{host: a, {ports}, instances: [{{address: 10.0.0.1, port: 1}}]}}]")
    with pytest.raises(DocumentError, match="not both"):
        parse(f"services: [{{host: a, {ports}, instances: [{{address: 10.0.0.1, port: 1, ports: {{http: 1}}}}]}}]")


def refusal(data: bytes) -> DocumentError | None:
    try:
        parse_services(data, "f", "default")
    except DocumentError as error:
        return error
    return None


@given(st.integers(0, len(FULL)), st.sampled_from(["", "\0", "}", "- x", "\t", "é", "&a [*a]"]))
def test_cut_short_or_followed_by_anything_it_parses_or_says_where(length: int, tail: str) -> None:
    refused = refusal((FULL[:length] + tail).encode())
    assert refused is None or (refused.path and refused.message)


FIELDS = st.sampled_from(["services", "host", "ports", "instances", "address", "number", "protocol"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
        max_leaves=20,
    )
)
def test_any_document_parses_or_says_where(document: object) -> None:
    refused = refusal(yaml.safe_dump(document).encode())
    assert refused is None or refused.path


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused_with_a_place(data: bytes) -> None:
    refused = refusal(data)
    assert refused is None or refused.path
