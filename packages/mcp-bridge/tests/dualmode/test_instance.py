"""Addresses read as people write them, and sort so that output has one order."""

from __future__ import annotations

from isthmus_mcp_bridge.dualmode.instance import Address


def test_an_address_reads_as_host_and_port() -> None:
    assert str(Address("10.0.0.1", 20880)) == "10.0.0.1:20880"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert str(Address("2001:db8::1", 20880)) == "[2001:db8::1]:20880"


def test_addresses_have_an_order() -> None:
    assert sorted([Address("b", 1), Address("a", 2), Address("a", 1)]) == [
        Address("a", 1),
        Address("a", 2),
        Address("b", 1),
    ]
