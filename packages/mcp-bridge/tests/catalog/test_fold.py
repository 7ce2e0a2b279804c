from __future__ import annotations

from isthmus_mcp_bridge.catalog.fold import fold
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Workload

KEY = ServiceKey("default", "reviews.shop")
HTTP = ServicePort("http", 8080, "HTTP")
GUESSED = ServicePort("http", 80, "HTTP", stated=False)


def claim(*endpoints: EndpointClaim, ports: tuple[ServicePort, ...] = (HTTP,), **more: object) -> ServiceClaim:
    return ServiceClaim(KEY, ports, endpoints, **more)  # type: ignore[arg-type]


def at(port: int, **more: object) -> EndpointClaim:
    return EndpointClaim(more.pop("service_port", "http"), "10.0.0.1", port, **more)  # type: ignore[arg-type]


def test_the_same_socket_in_two_registries_is_one_endpoint() -> None:
    merged = fold(KEY, [claim(at(1), at(2)), claim(at(2), at(3), ports=(GUESSED,))])
    assert merged.ports == (HTTP,)
    assert [dict(one.ports) for one in merged.workloads] == [{"http": 1}, {"http": 2}, {"http": 3}]


def test_the_same_socket_in_two_networks_is_two() -> None:
    assert len(fold(KEY, [claim(at(1), at(1, network="other"))]).workloads) == 2


def test_offline_wins_over_up() -> None:
    assert fold(KEY, [claim(at(1)), claim(at(1, presence=Presence.OFFLINE))]).workloads == ()


def test_up_wins_over_unhealthy() -> None:
    assert len(fold(KEY, [claim(at(1, presence=Presence.UNHEALTHY)), claim(at(1))]).workloads) == 1
    assert fold(KEY, [claim(at(1, presence=Presence.UNHEALTHY))]).workloads == ()


def test_a_service_without_published_endpoints_keeps_its_ports() -> None:
    merged = fold(KEY, [claim(at(1, presence=Presence.OFFLINE))])
    assert merged.ports == (HTTP,)
    assert merged.workloads == ()


def test_fields_come_from_the_first_source_that_says_something() -> None:
    first = at(1, labels=(("version", "v1"),), locality="")
    second = at(1, labels=(("app", "shop"), ("version", "v9")), locality="eu/a", weight=300, service_account="sa")
    merged = fold(KEY, [claim(first), claim(second), claim(at(2))])
    assert {one.ports: one.weight for one in merged.workloads} == {(("http", 1),): 3, (("http", 2),): 1}
    chosen = next(one for one in merged.workloads if one.locality)
    labels = (("app", "shop"), ("version", "v1"))
    assert chosen == Workload("10.0.0.1", (("http", 1),), "", labels, "eu/a", 3, "sa")


def test_equal_weights_are_not_published() -> None:
    assert {one.weight for one in fold(KEY, [claim(at(1, weight=100), at(2))]).workloads} == {0}


def test_service_level_facts_are_united() -> None:
    merged = fold(
        KEY,
        [
            claim(addresses=("240.0.0.2", "240.0.0.1"), raw_names=("b",), created_ms=20),
            claim(addresses=("240.0.0.9",), raw_names=("a",), created_ms=10),
            claim(),
        ],
    )
    assert merged.addresses == ("240.0.0.1", "240.0.0.2")
    assert merged.raw_names == ("a", "b")
    assert merged.created_ms == 10


def test_an_endpoint_that_serves_two_ports_of_one_protocol() -> None:
    ports = (HTTP, ServicePort("http-admin", 8081, "HTTP"))
    merged = fold(KEY, [claim(at(1), at(1, service_port="http-admin"), ports=ports)])
    assert [dict(one.ports) for one in merged.workloads] == [{"http": 1, "http-admin": 1}]


def test_doubles_within_one_registry_fold_alike_in_any_order() -> None:
    old, new = at(1, raw_id="a", labels=(("pid", "1"),)), at(1, raw_id="b", labels=(("pid", "2"),), weight=5)
    assert fold(KEY, [claim(old, new)]) == fold(KEY, [claim(new, old)])
