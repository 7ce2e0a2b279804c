from __future__ import annotations

import pytest

from isthmus_mcp_bridge.catalog.ports import resolve_ports
from isthmus_mcp_bridge.model import ServiceClaim, ServiceKey, ServicePort

KEY = ServiceKey("default", "reviews.shop")


def port(name: str, number: int, protocol: str, stated: bool = True) -> ServicePort:
    return ServicePort(name, number, protocol, stated)


def claims(*ports: ServicePort) -> list[ServiceClaim]:
    return [ServiceClaim(KEY, (one,)) for one in ports]


@pytest.mark.parametrize(
    ("stated", "guessed"),
    [
        (port("http", 8080, "HTTP"), port("http", 80, "HTTP", stated=False)),
        (port("web", 8080, "HTTP"), port("http", 80, "HTTP", stated=False)),
        (port("dubbo", 21000, "TCP"), port("dubbo-tcp", 20880, "TCP", stated=False)),
        (port("rpc", 20880, "TCP"), port("dubbo-tcp", 20880, "TCP", stated=False)),
    ],
    ids=["name", "protocol", "prefix", "number"],
)
@pytest.mark.parametrize("guessed_first", [False, True])
def test_a_guessed_port_adopts_a_stated_one(stated: ServicePort, guessed: ServicePort, guessed_first: bool) -> None:
    order = (guessed, stated) if guessed_first else (stated, guessed)
    table = resolve_ports(claims(*order))
    assert table.ports == [stated]
    assert set(table.names.values()) == {stated.name}
    assert not table.conflicts


def test_a_guessed_tcp_port_does_not_adopt_another_protocol_on_tcp() -> None:
    dubbo, bolt = port("dubbo", 20880, "TCP"), port("bolt-tcp", 12200, "TCP", stated=False)
    assert resolve_ports(claims(dubbo, bolt)).ports == [dubbo, bolt]


def test_two_guesses_of_one_family_are_one_port() -> None:
    guessed = port("http", 80, "HTTP", stated=False)
    assert resolve_ports(claims(guessed, guessed)).ports == [guessed]


def test_precedence_decides_the_number_and_the_loser_is_reported() -> None:
    table = resolve_ports(claims(port("http", 8080, "HTTP"), port("http", 9090, "HTTP")))
    assert [one.number for one in table.ports] == [8080]
    assert table.names == {(0, "http"): "http", (1, "http"): "http"}
    assert [(one.path, one.value) for one in table.conflicts] == [("ports[http].number", "9090")]


def test_two_names_of_one_number_and_protocol_are_one_port() -> None:
    table = resolve_ports(claims(port("web", 8080, "HTTP"), port("http", 8080, "HTTP")))
    assert table.names == {(0, "web"): "web", (1, "http"): "web"}


def test_a_number_that_means_another_protocol_is_left_out() -> None:
    table = resolve_ports(claims(port("web", 8080, "HTTP"), port("raw", 8080, "TCP")))
    assert table.names == {(0, "web"): "web"}
    assert table.conflicts[0].path == "ports[raw]"


def test_a_name_that_means_another_protocol_is_renamed() -> None:
    table = resolve_ports(claims(port("main", 8080, "HTTP"), port("main", 9090, "TCP")))
    assert table.names == {(0, "main"): "main", (1, "main"): "main-tcp-9090"}
    assert table.conflicts[0].path == "ports[main].name"
