from __future__ import annotations

from urllib.parse import quote_plus

from isthmus_mcp_bridge.events import OriginReport
from isthmus_mcp_bridge.registries.naming import HostOverride, NamingRule
from isthmus_mcp_bridge.registries.zookeeper.client import Children
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory, InterfaceNodes


def nodes(interface: str, *urls: str, czxid: int = 1, configurators: tuple[str, ...] = ()) -> InterfaceNodes:
    return InterfaceNodes(
        interface,
        f"/dubbo/{interface}",
        Children(tuple(quote_plus(url) for url in urls), czxid, czxid * 1000),
        Children(tuple(quote_plus(url) for url in configurators)),
    )


def hosts(report: OriginReport) -> list[str]:
    return [claim.key.host for claim in report.claims]


def test_groups_and_versions_of_an_interface_are_services() -> None:
    urls = ("dubbo://10.0.0.1:1/a.B?version=1", "dubbo://10.0.0.1:2/a.B?version=2", "dubbo://10.0.0.1:3/a.B?version=2")
    reports = Directory("zoo", NamingRule(), {}).replace([nodes("a.B", *urls)])
    (report,) = reports.values()
    assert hosts(report) == ["a.b-1", "a.b-2"]
    assert [len(claim.endpoints) for claim in report.claims] == [1, 2]
    assert {claim.created_ms for claim in report.claims} == {1000}


def test_schemes_of_one_service_are_ports() -> None:
    urls = ("dubbo://10.0.0.1:1/a.B", "tri://10.0.0.1:2/a.B")
    (report,) = Directory("zoo", NamingRule(), {}).replace([nodes("a.B", *urls)]).values()
    assert [(one.name, one.number) for one in report.claims[0].ports] == [("dubbo-tcp", 20880), ("grpc", 50051)]


def test_of_two_services_with_one_host_the_older_keeps_it() -> None:
    directory = Directory("zoo", NamingRule(), {})
    older = nodes("a.B", "dubbo://10.0.0.1:1/a.B", czxid=1)
    younger = nodes("a.b", "dubbo://10.0.0.2:1/a.b", czxid=2)
    reports = directory.replace([younger, older])
    assert hosts(reports["/dubbo/a.B"]) == ["a.b"]
    assert hosts(reports["/dubbo/a.b"]) == []
    (problem,) = reports["/dubbo/a.b"].problems
    assert (problem.registry, problem.path, problem.value) == ("zoo", "/dubbo/a.b", "a.b")
    assert "a.B" in problem.message


def test_a_host_is_inherited_when_its_owner_goes_and_given_back_when_an_older_comes() -> None:
    directory = Directory("zoo", NamingRule(), {})
    older = nodes("a.B", "dubbo://10.0.0.1:1/a.B", czxid=1)
    younger = nodes("a.b", "dubbo://10.0.0.2:1/a.b", czxid=2)
    directory.replace([older, younger])
    left = directory.remove("/dubbo/a.B")
    assert hosts(left["/dubbo/a.B"]) == []
    assert hosts(left["/dubbo/a.b"]) == ["a.b"]
    back = directory.update(older)
    assert hosts(back["/dubbo/a.B"]) == ["a.b"]
    assert hosts(back["/dubbo/a.b"]) == []


def test_versions_that_make_one_host_collide_within_an_interface() -> None:
    urls = ("dubbo://10.0.0.1:1/a.B?version=1.0", "dubbo://10.0.0.1:2/a.B?version=1-0")
    (report,) = Directory("zoo", NamingRule(), {}).replace([nodes("a.B", *urls)]).values()
    assert [claim.raw_names for claim in report.claims] == [("a.B:1-0",)]
    assert [one.value for one in report.problems] == ["a.B:1.0"]


def test_hosts_of_the_configuration_unite_services() -> None:
    rule = NamingRule(hosts={"a.B": HostOverride("shop"), "c.D": HostOverride("shop")})
    reports = Directory("zoo", rule, {}).replace(
        [nodes("a.B", "rest://10.0.0.1:1/"), nodes("c.D", "rest://10.0.0.1:2/")]
    )
    assert [hosts(report) for report in reports.values()] == [["shop"], ["shop"]]
    assert not any(report.problems for report in reports.values())


def test_versions_as_label_are_one_claim() -> None:
    urls = ("rest://10.0.0.1:1/a?version=v1", "rest://10.0.0.1:2/a?version=v2")
    (report,) = Directory("zoo", NamingRule(version_in_host=False), {}).replace([nodes("a", *urls)]).values()
    (claim,) = report.claims
    assert [dict(one.labels) for one in claim.endpoints] == [{"version": "v1"}, {"version": "v2"}]
    assert claim.raw_names == ("a:v1", "a:v2")


def test_configurators_apply_to_their_interface_only() -> None:
    directory = Directory("zoo", NamingRule(), {})
    off = ("override://0.0.0.0/a?disabled=true",)
    reports = directory.replace(
        [nodes("a", "rest://10.0.0.1:1/a", configurators=off), nodes("b", "rest://10.0.0.1:2/b")]
    )
    assert [one.presence for report in reports.values() for one in report.claims[0].endpoints] == ["offline", "up"]
