from __future__ import annotations

from isthmus_mcp_bridge.catalog.workloads import PlacedEndpoint, arrange
from isthmus_mcp_bridge.model import Workload


def on(address: str, port: int, *names: str) -> PlacedEndpoint:
    return PlacedEndpoint(port, frozenset(names), Workload(address, ()))


def test_ports_of_one_address_make_one_workload() -> None:
    found = arrange(["http", "grpc"], [on("10.0.0.1", 1, "http"), on("10.0.0.1", 2, "grpc")])
    assert [one.ports for one in found.workloads] == [(("grpc", 2), ("http", 1))]
    assert not found.conflicts


def test_several_instances_on_one_address_are_paired() -> None:
    endpoints = [
        on("10.0.0.1", 1, "http"),
        on("10.0.0.1", 2, "http"),
        on("10.0.0.1", 3, "grpc"),
        on("10.0.0.1", 4, "grpc"),
    ]
    found = arrange(["http", "grpc"], endpoints)
    assert [dict(one.ports) for one in found.workloads] == [{"http": 1, "grpc": 3}, {"http": 2, "grpc": 4}]


def test_a_port_that_not_all_serve_is_left_out_and_reported() -> None:
    found = arrange(
        ["dubbo", "grpc"], [on("10.0.0.1", 1, "dubbo"), on("10.0.0.2", 2, "dubbo"), on("10.0.0.2", 3, "grpc")]
    )
    assert found.ports == {"dubbo"}
    assert [one.ports for one in found.workloads] == [(("dubbo", 1),), (("dubbo", 2),)]
    assert [(one.path, one.value) for one in found.conflicts] == [("ports[grpc]", "10.0.0.2:3")]


def test_a_workload_without_the_first_port_is_left_out_and_reported() -> None:
    found = arrange(["dubbo", "grpc"], [on("10.0.0.1", 1, "dubbo"), on("10.0.0.2", 3, "grpc")])
    assert [one.address for one in found.workloads] == ["10.0.0.1"]
    assert [one.value for one in found.conflicts] == ["10.0.0.2:3"]


def test_the_first_port_that_anything_serves_counts() -> None:
    found = arrange(["dubbo", "grpc"], [on("10.0.0.2", 3, "grpc")])
    assert found.ports == {"grpc"}
    assert not found.conflicts


def test_no_endpoints_leave_all_ports() -> None:
    assert arrange(["http", "grpc"], []).ports == {"http", "grpc"}
