from __future__ import annotations

import pytest

from isthmus_mcp_bridge.catalog import istio_rules
from isthmus_mcp_bridge.catalog.claim_check import violations
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort


@pytest.mark.parametrize("host", ["reviews", "com.shop.reviews-1-0", "a." + "b" * 63, "1a.2b"])
def test_hosts(host: str) -> None:
    assert istio_rules.is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        "*.shop",
        "Reviews",
        "a_b",
        "a..b",
        "a.",
        "-a",
        "a-",
        "a.1",
        "b" * 64,
        "a:b",
        "a@b",
        "a/b",
        "x." * 127 + "xx",
    ],
)
def test_no_hosts(host: str) -> None:
    assert not istio_rules.is_host(host)


@pytest.mark.parametrize("key", ["app", "App.kubernetes_io", "istio.io/rev", "a" * 63])
def test_label_keys(key: str) -> None:
    assert istio_rules.is_label_key(key)


@pytest.mark.parametrize("key", ["", "/a", "a/", "UPPER/a", "a b", "-a", "a" * 64, "a/b/c"])
def test_no_label_keys(key: str) -> None:
    assert not istio_rules.is_label_key(key)


@pytest.mark.parametrize(
    ("value", "good"), [("", True), ("v1.0_a", True), ("a,b", False), ("a ", False), ("a" * 64, False)]
)
def test_label_values(value: str, good: bool) -> None:
    assert istio_rules.is_label_value(value) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("10.0.0.1", True), ("::1", True), ("fe80::1%eth0", False), ("10.0.0.0/8", False), ("host", False)],
)
def test_ips(text: str, good: bool) -> None:
    assert istio_rules.is_ip(text) is good


def test_every_broken_rule_of_a_claim_is_named() -> None:
    claim = ServiceClaim(
        ServiceKey("Name Space", "Host"),
        (
            ServicePort("HTTP", 0, "SMTP"),
            ServicePort("a", 70000, "TCP"),
            ServicePort("a", 70000, "TCP"),
        ),
        (EndpointClaim("b", "host", 0, weight=0, labels=(("a b", "c d"),)),),
        addresses=("nowhere",),
    )
    assert [(one.path, one.value) for one in violations(claim)] == [
        ("host", "Host"),
        ("namespace", "Name Space"),
        ("addresses[0]", "nowhere"),
        ("ports[0].name", "HTTP"),
        ("ports[0].number", "0"),
        ("ports[0].protocol", "SMTP"),
        ("ports[1].number", "70000"),
        ("ports[2].number", "70000"),
        ("ports[2].name", "a"),
        ("ports[2].number", "70000"),
        ("endpoints[0].port", "b"),
        ("endpoints[0].address", "host"),
        ("endpoints[0].port", "0"),
        ("endpoints[0].weight", "0"),
        ("endpoints[0].labels", "a b"),
        ("endpoints[0].labels.a b", "c d"),
    ]


def test_port_counts_at_the_limit() -> None:
    ports = tuple(ServicePort(f"p{number}", number, "TCP") for number in range(1, 258))
    assert not violations(ServiceClaim(ServiceKey("default", "a"), ports[:256]))
    assert [one.path for one in violations(ServiceClaim(ServiceKey("default", "a"), ports))] == ["ports"]
    assert [one.path for one in violations(ServiceClaim(ServiceKey("default", "a")))] == ["ports"]
