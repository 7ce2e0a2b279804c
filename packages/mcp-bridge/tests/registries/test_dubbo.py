"""From a node's name to a claim: URLs, names, configurators, providers."""

from __future__ import annotations

import contextlib
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.istio_rules import is_host
from isthmus_mcp_bridge.errors import HostNameError
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceKey
from isthmus_mcp_bridge.registries.book import Provider
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.overrides import apply_overrides, in_order, parse_override
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, read_overrides, read_providers
from isthmus_mcp_bridge.registries.naming import HostOverride, NamingRule, name_service

SOURCE = PathSource("zoo", "/dubbo/com.shop.Reviews")
URL = (
    "dubbo://10.0.0.1:20880/com.shop.Reviews?anyhost=true&application=shop&methods=a,b&pid=1&side=provider&timestamp=5"
)


def node(url: str) -> str:
    return quote_plus(url)


def provider(url: str, *overrides: str, rule: NamingRule | None = None) -> Provider:
    found, problems = read_overrides(SOURCE, "com.shop.Reviews", [node(one) for one in overrides])
    providers, more = read_providers(SOURCE, "com.shop.Reviews", [node(url)], found, rule or NamingRule(), {})
    assert not problems
    assert not more
    return providers[0]


def endpoint(url: str, *overrides: str) -> EndpointClaim:
    return provider(url, *overrides).endpoint


class TestUrl:
    def test_parts(self) -> None:
        url = parse_node_name(node("tri://user:pw@[::1]:50051/a.B?x=1&y=&z&x=2&=q"))
        assert (url.scheme, url.host, url.port, url.path) == ("tri", "::1", 50051, "a.B")
        assert url.get("x") == "1"
        assert url.get("y", "none") == "none"

    def test_without_port_and_path(self) -> None:
        assert parse_node_name("override%3A%2F%2F0.0.0.0").port == 0
        assert parse_node_name("override%3A%2F%2F[::1]").host == "::1"

    @pytest.mark.parametrize(
        "name",
        ["", "x", "10.0.0.1:80", "://h:1", "1x://h:1", "a://:1", "a://h:x", "a://h:99999", "a://h:٣", "a://h:-1"],
    )
    def test_no_url(self, name: str) -> None:
        with pytest.raises(NodeError):
            parse_node_name(node(name))

    @given(st.text(max_size=100))
    def test_any_name_parses_or_is_refused(self, name: str) -> None:
        with contextlib.suppress(NodeError):
            parse_node_name(name)

    @given(st.integers(0, len(node(URL))))
    def test_cut_short(self, length: int) -> None:
        with contextlib.suppress(NodeError):
            assert parse_node_name(node(URL)[:length]).scheme == "dubbo"


class TestNaming:
    @pytest.mark.parametrize(
        ("interface", "group", "version", "host"),
        [
            ("com.shop.Reviews", "", "", "com.shop.reviews"),
            ("com.shop.Reviews", "", "0.0.0", "com.shop.reviews"),
            ("com.shop.Reviews", "", "1.0.0", "com.shop.reviews-1-0-0"),
            ("com.shop.Reviews", "blue.g", "2", "com.shop.reviews-blue-g-2"),
            ("com.shop_x.Outer$Inner", "", "", "com.shop-x.outer-inner"),
            ("_a._b_", "", "", "a.b"),
        ],
    )
    def test_rule(self, interface: str, group: str, version: str, host: str) -> None:
        assert name_service(NamingRule(), interface, group, version).key == ServiceKey("default", host)

    def test_versions_as_labels_leave_the_host_alone(self) -> None:
        rule = NamingRule(version_in_host=False)
        first, second = (name_service(rule, "a.B", "", version) for version in ("1", "2"))
        assert first.key == second.key == ServiceKey("default", "a.b")
        assert first.identity == second.identity

    def test_domain_and_namespace(self) -> None:
        assert name_service(NamingRule("shop", True, "svc.local"), "a.B", "", "1").key.name == "shop/a.b-1.svc.local"

    def test_overrides_prefer_the_exact_service(self) -> None:
        hosts = {"a.B": HostOverride("all"), "g/a.B:1": HostOverride("one", "other", {"http": 8080})}
        rule = NamingRule(hosts=hosts)
        exact = name_service(rule, "a.B", "g", "1")
        assert (exact.key.name, exact.identity, exact.ports) == ("other/one", "", {"http": 8080})
        assert name_service(rule, "a.B", "g", "2").key.name == "default/all"

    def test_long_labels_stay_distinct(self) -> None:
        first, second = (name_service(NamingRule(), "a" * 70 + end, "", "").key.host for end in "xy")
        assert len(first) == len(second) == 63
        assert first != second

    @pytest.mark.parametrize("interface", ["", "...", "a.1", "x." * 200])
    def test_what_cannot_be_a_host_is_refused(self, interface: str) -> None:
        with pytest.raises(HostNameError, match="under hosts"):
            name_service(NamingRule(), interface, "", "")

    @given(st.text(max_size=90), st.text(max_size=9), st.text(max_size=9))
    def test_every_name_is_a_host_or_refused(self, interface: str, group: str, version: str) -> None:
        with contextlib.suppress(HostNameError):
            assert is_host(name_service(NamingRule(), interface, group, version).key.host)


class TestProvider:
    def test_dubbo(self) -> None:
        found = provider(URL + "&version=1.0.0&group=g&weight=200&zone=a,b")
        assert found.naming.key.host == "com.shop.reviews-g-1-0-0"
        assert found.raw_name == "g/com.shop.Reviews:1.0.0"
        assert (found.port.name, found.port.number, found.port.protocol) == ("dubbo-tcp", 20880, "TCP")
        assert not found.port.stated
        assert (found.endpoint.address, found.endpoint.port, found.endpoint.weight) == ("10.0.0.1", 20880, 200)
        labels = {"app": "shop", "group": "g", "version": "1.0.0", "zone": "a-b"}
        assert dict(found.endpoint.labels) == labels
        assert found.endpoint.raw_id.startswith("/dubbo/com.shop.Reviews/providers/dubbo%3A")

    @pytest.mark.parametrize(
        ("scheme", "port", "protocol"),
        [
            ("tri", "grpc", "GRPC"),
            ("grpc", "grpc", "GRPC"),
            ("rest", "http", "HTTP"),
            ("http", "http", "HTTP"),
            ("https", "https", "HTTPS"),
            ("bolt", "bolt-tcp", "TCP"),
            ("DUBBO", "dubbo-tcp", "TCP"),
        ],
    )
    def test_schemes(self, scheme: str, port: str, protocol: str) -> None:
        found = provider(f"{scheme}://10.0.0.1:1/x").port
        assert (found.name, found.protocol) == (port, protocol)

    def test_configured_ports_are_stated(self) -> None:
        rule = NamingRule(hosts={"com.shop.Reviews": HostOverride("reviews", ports={"dubbo": 1234})})
        assert provider(URL, rule=rule).port.number == 1234
        assert provider(URL, rule=rule).port.stated

    @pytest.mark.parametrize("parameter", ["enabled=false", "disabled=true", "weight=0"])
    def test_offline(self, parameter: str) -> None:
        assert endpoint(f"{URL}&{parameter}").presence is Presence.OFFLINE

    def test_a_secret_is_no_label(self) -> None:
        assert "token" not in dict(endpoint(f"{URL}&token=secret").labels)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("not-a-url", "is not a URL"),
            ("hessian://10.0.0.1:1/x", "scheme 'hessian'"),
            ("dubbo://host.local:1/x", "'host.local'"),
            ("dubbo://10.0.0.1/x", "names no port"),
        ],
    )
    def test_a_node_that_cannot_be_used_is_named_and_the_others_stay(self, url: str, message: str) -> None:
        providers, problems = read_providers(SOURCE, "com.shop.Reviews", [node(url), node(URL)], [], NamingRule(), {})
        assert len(providers) == 1
        (problem,) = problems
        assert (problem.registry, problem.path) == ("zoo", "/dubbo/com.shop.Reviews/providers")
        assert problem.value == repr(node(url))
        assert message in problem.message

    @pytest.mark.parametrize("weight", ["x", "-1", "1.5", "1000001"])
    def test_a_bad_weight_is_reported_and_the_provider_stays(self, weight: str) -> None:
        providers, problems = read_providers(SOURCE, "i", [node(f"{URL}&weight={weight}")], [], NamingRule(), {})
        assert providers[0].endpoint.weight is None
        assert "weight" in problems[0].message


class TestOverrides:
    def test_weight_and_disabled(self) -> None:
        assert endpoint(URL, "override://0.0.0.0/com.shop.Reviews?category=configurators&weight=7").weight == 7
        assert endpoint(URL, "override://10.0.0.1:20880/com.shop.Reviews?disabled=true").presence is Presence.OFFLINE
        off = f"{URL}&disabled=true"
        assert endpoint(off, "override://10.0.0.1/com.shop.Reviews?disabled=false").presence is Presence.UP

    @pytest.mark.parametrize(
        "override",
        [
            "override://10.0.0.2/com.shop.Reviews?weight=7",
            "override://10.0.0.1:1/com.shop.Reviews?weight=7",
            "override://0.0.0.0/other?weight=7",
            "override://0.0.0.0/com.shop.Reviews?weight=7&enabled=false",
            "override://0.0.0.0/com.shop.Reviews?weight=7&side=consumer",
            "override://0.0.0.0/com.shop.Reviews?weight=7&version=9",
            "override://0.0.0.0/com.shop.Reviews?weight=7&application=other",
            "override://0.0.0.0/com.shop.Reviews?timeout=7",
            "absent://0.0.0.0/com.shop.Reviews?weight=7",
            "empty://0.0.0.0/com.shop.Reviews",
        ],
    )
    def test_without_effect(self, override: str) -> None:
        assert endpoint(f"{URL}&weight=5", override).weight == 5

    def test_absent_sets_what_is_missing(self) -> None:
        assert endpoint(URL, "absent://0.0.0.0/*?weight=7").weight == 7

    def test_the_more_particular_one_wins_whatever_the_order(self) -> None:
        general, particular = (
            "override://0.0.0.0/com.shop.Reviews?weight=7",
            "override://10.0.0.1/com.shop.Reviews?weight=8",
        )
        assert endpoint(URL, general, particular).weight == 8
        assert endpoint(URL, particular, general).weight == 8
        assert endpoint(URL, f"{general}&priority=1", particular).weight == 7

    def test_a_node_that_is_no_configurator_is_reported(self) -> None:
        found, problems = read_overrides(SOURCE, "i", [node("dubbo://10.0.0.1:1/i"), "x"])
        assert not found
        assert [one.path for one in problems] == ["/dubbo/com.shop.Reviews/configurators"] * 2

    @given(st.lists(st.sampled_from(["1", "2", "3"]), max_size=3), st.randoms())
    def test_the_order_of_nodes_does_not_matter(self, weights: list[str], random: object) -> None:
        overrides = [parse_override(node(f"override://0.0.0.0/i?weight={one}&priority={one}"), "i") for one in weights]
        found = [one for one in overrides if one is not None]
        url = parse_node_name(node(URL))
        assert apply_overrides(url, in_order(found)) == apply_overrides(url, in_order(found[::-1]))
