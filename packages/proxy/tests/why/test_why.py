"""What ``/why`` says: it is what the proxy would do, and every other thing has a reason."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.admin import why_endpoint
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.config.cluster import compile_cluster
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.parse import fill
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.filter_chain_match import Candidate, FilterChainIndex
from isthmus_proxy.listener.model import (
    Address,
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    ScopedRoutesConfig,
)
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.route.model import (
    DirectResponseAction,
    HeaderMatch,
    QueryMatch,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.scopes import ScopedRoutes, ScopeSet
from isthmus_proxy.route.table import RouteHandles, RouteTable
from isthmus_proxy.why.routes import explain_routes, mismatch

_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"

WEB = f"""
name: web
address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}
filter_chains:
- name: secure
  filter_chain_match: {{server_names: ["*.example"], transport_protocol: tls}}
  filters: [{{name: direct, typed_config: {{"@type": {_EXTENSIONS}.network.direct_response.v3.Config, response: {{inline_string: tls}}}}}}]
- name: plain
  filter_chain_match: {{transport_protocol: raw_buffer}}
  filters:
  - name: http
    typed_config:
      "@type": {_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      normalize_path: true
      http_filters: [{{name: router, typed_config: {{"@type": {_EXTENSIONS}.http.router.v3.Router}}}}]
      route_config:
        name: local
        virtual_hosts:
        - name: shop
          domains: [shop.example]
          routes:
          - name: canary
            match: {{prefix: /cart, headers: [{{name: x-canary, string_match: {{exact: "1"}}}}]}}
            route: {{cluster: canary}}
          - name: list
            match: {{path: /list, query_parameters: [{{name: page, present_match: true}}]}}
            redirect: {{path_redirect: /pages}}
          - name: split
            match: {{prefix: /}}
            route:
              weighted_clusters: {{clusters: [{{name: carts, weight: 3}}, {{name: missing, weight: 1}}]}}
        - name: named
          domains: ["*.named"]
          routes: [{{match: {{prefix: /}}, route: {{cluster_header: x-to}}}}]
"""
TCP = f"""
name: tcp
address: {{socket_address: {{address: 0.0.0.0, port_value: 90}}}}
filter_chains:
- filters:
  - name: tcp
    typed_config:
      "@type": {_EXTENSIONS}.network.tcp_proxy.v3.TcpProxy
      stat_prefix: tcp
      cluster: carts
"""
SCOPED = f"""
name: scoped
address: {{socket_address: {{address: 10.0.0.1, port_value: 91}}}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": {_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      http_filters: [{{name: router, typed_config: {{"@type": {_EXTENSIONS}.http.router.v3.Router}}}}]
      scoped_routes:
        name: tenants
        scope_key_builder: {{fragments: [{{header_value_extractor: {{name: x-tenant, index: 0}}}}]}}
        rds_config_source: {{ads: {{}}}}
        scoped_route_configurations_list:
          scoped_route_configurations:
          - name: red
            key: {{fragments: [{{string_key: red}}]}}
            route_configuration:
              name: r
              virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]
          - {{name: blue, key: {{fragments: [{{string_key: blue}}]}}, route_configuration_name: late}}
"""
CARTS = """
name: carts
connect_timeout: 1s
load_assignment:
  cluster_name: carts
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.1.0.1, port_value: 1}}}
    - {endpoint: {address: {socket_address: {address: 10.1.0.2, port_value: 1}}}, health_status: UNHEALTHY}
    - endpoint: {address: {socket_address: {address: 10.1.0.3, port_value: 1}}}
    - endpoint: {address: {socket_address: {address: 10.1.0.5, port_value: 1}}}
  - priority: 1
    lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.1.0.4, port_value: 1}}}
"""


def read(message: Any, text: str) -> Any:
    fill(message, yaml.safe_load(text))
    return message


class Serving:
    """A listener that only exists on paper."""

    def __init__(self, text: str) -> None:
        self.config: ListenerConfig = compile_listener(read(Listener(), text))
        self._index = FilterChainIndex([Candidate(chain.match, chain) for chain in self.config.filter_chains])

    @property
    def addresses(self) -> Sequence[Address]:
        return self.config.addresses

    def chain_for(self, accepted: AcceptedSocket) -> FilterChain | None:
        return self._index.find(accepted)

    def scopes_of(self, chain: FilterChain) -> ScopedRoutes | None:
        manager = chain.network_filter
        assert isinstance(manager, HttpConnectionManagerConfig)
        if not isinstance(manager.route, ScopedRoutesConfig):
            return None
        scopes = ScopeSet(RouteHandles())
        scopes.replace(manager.route.scopes or ())
        return ScopedRoutes(manager.route.builders, scopes)

    def table_of(self, chain: FilterChain) -> RouteTable | None:
        manager = chain.network_filter
        assert isinstance(manager, HttpConnectionManagerConfig)
        if isinstance(manager.route, ScopedRoutesConfig):
            return None
        assert isinstance(manager.route, RouteConfiguration)
        return RouteTable(manager.route)


def why(expected: int = 200, /, **query: str) -> Any:
    stats = StatsStore()
    clusters = ClusterManager(lambda name: stats.scope(f"cluster.{name}"), random.Random(1).random, lambda: 0.0)
    clusters.add_or_update(compile_cluster(read(Cluster(), CARTS)))
    listeners = [Serving(WEB), Serving(TCP), Serving(SCOPED)]
    answer = Dispatcher(why_endpoint.endpoints(lambda: listeners, clusters, lambda: 0.0)).respond(
        AdminRequest("GET", "/why", query)
    )
    body = "".join(answer.body)
    assert answer.status == expected, body
    return json.loads(body) if expected == 200 else body


def test_the_scope_of_a_request_is_told_and_why_no_other() -> None:
    answer = why(listener="scoped", authority="a", **{"header.x-tenant": "red"})
    assert answer["scope"] == {
        "key": [{"header": "x-tenant", "value": "red"}],
        "name": "red",
        "route_configuration": "r",
        "others": [{"name": "blue", "why_not": "its key is 'blue'"}],
    }
    assert answer["route_configuration"] == "r"
    late = why(listener="scoped", authority="a", **{"header.x-tenant": "blue"})
    assert late["scope"]["why_not"] == "its route configuration has not come yet"
    assert late["outcome"] == "no scope gives it routes: 404 (NR, route_not_found)"
    strange = why(listener="scoped", authority="a", **{"header.x-tenant": "green"})
    assert strange["scope"]["why_not"] == "no scope has this key"
    nothing = why(listener="scoped", authority="a")
    assert (nothing["scope"]["name"], nothing["scope"]["why_not"]) == (None, "the request gives no whole key")


def test_a_request_is_followed_to_its_endpoints() -> None:
    answer = why(destination="10.0.0.1:80", authority="shop.example", path="/a/../cart", **{"header.x-canary": "2"})
    assert answer["listener"]["name"] == "web"
    assert answer["listener"]["others"] == [
        {"name": "tcp", "why_not": "it listens at 0.0.0.0:90"},
        {"name": "scoped", "why_not": "it listens at 10.0.0.1:91"},
    ]
    secure, plain = answer["filter_chains"]
    assert plain == {"name": "plain", "index": 1, "chosen": True}
    assert secure["why_not"] == "server name must be *.example, and is not known"
    assert answer["request"]["path"] == "/cart"
    assert [host["name"] for host in answer["virtual_hosts"] if host["chosen"]] == ["shop"]
    reasons = {row["name"]: row.get("why_not") for row in answer["routes"]}
    assert reasons == {
        "canary": "the header 'x-canary' is '2', and must be equal to '1'",
        "list": "the path '/cart' is not equal to '/list'",
        "split": None,
    }
    carts, missing = answer["clusters"]
    assert (carts["name"], carts["share"]) == ("carts", "3 of 4")
    assert {each["address"]: each.get("why_not", "") for each in carts["endpoints"]} == {
        "10.1.0.1:1": "",
        "10.1.0.3:1": "",
        "10.1.0.5:1": "",
        "10.1.0.2:1": "it is unhealthy (/failed_eds_health)",
        "10.1.0.4:1": "priority 1 gets no requests: those before it have enough healthy endpoints",
    }
    assert missing["why_not"].startswith("there is no such cluster")


def test_routes_behind_the_chosen_one_are_said_to_be() -> None:
    answer = why(listener="web", authority="shop.example", path="/list?page=1")
    assert answer["outcome"] == "redirect with 301"
    assert answer["routes"][2]["why_not"] == "it would match, but the chosen route stands before it"
    answer = why(listener="web", authority="shop.example", path="/list")
    assert answer["routes"][1]["why_not"] == "the query parameter 'page' is absent, and must be present"


def test_what_ends_before_a_cluster() -> None:
    answer = why(listener="web", authority="other.example")
    assert answer["outcome"] == "the proxy answers 404 (route_not_found; flags NR)"
    assert {host["why_not"] for host in answer["virtual_hosts"]} == {"none of its domains fits the authority"}
    answer = why(listener="web", authority="a.named")
    assert answer["outcome"] == "the header x-to names the cluster, and is absent: 503"
    answer = why(listener="web", authority="a.named", **{"header.x-to": "carts"})
    assert answer["clusters"][0]["name"] == "carts"
    answer = why(listener="web", server_name="shop.example")
    assert answer["outcome"] == "the filter direct_response sends 3 bytes and closes"
    answer = why(listener="web", server_name="shop.test")
    assert answer["outcome"].startswith("no filter chain fits")
    assert answer["filter_chains"][0]["why_not"] == "server name must be *.example, and is shop.test"


def test_a_tcp_listener_and_a_wildcard_address() -> None:
    answer = why(destination="192.0.2.1:90")
    assert answer["listener"]["name"] == "tcp"
    assert answer["clusters"][0]["endpoint_count"] == 5


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "name a listener or a destination; there are: scoped, tcp, web"),
        ({"listener": "x"}, "there is no listener 'x'"),
        ({"destination": "10.0.0.1:81"}, "no listener has the address 10.0.0.1:81"),
        ({"destination": "a:1"}, "must be ADDRESS:PORT"),
        ({"source": "10.0.0.1:0"}, "must be ADDRESS:PORT"),
        ({"listner": "web"}, "unknown parameter listner"),
        ({"listener": "web", "authority": "a\r\nx: y"}, "line breaks"),
        ({"listener": "web", "authority": "\u20ac"}, "Latin-1"),
        ({"listener": "web", "method": "G T", "authority": "a"}, "the codec refuses such a request: 400"),
    ],
)
def test_questions_that_cannot_be_answered(query: dict[str, str], said: str) -> None:
    assert said in why(400, **query)


_TEXTS = st.sampled_from([b"/", b"/a", b"/a/b", b"/B", b""])
_PATHS = st.builds(
    StringMatch, st.sampled_from(["exact", "prefix", "path_separated_prefix"]), _TEXTS.filter(bool), st.booleans()
).filter(lambda path: not path.ignore_case or path.value == path.value.lower())
_VALUES = st.builds(
    StringMatch, st.sampled_from(["exact", "suffix", "contains", "present"]), st.sampled_from([b"1", b"2"])
)
_HEADERS = st.builds(
    HeaderMatch,
    st.sampled_from([b"x", b":method"]),
    st.none() | _VALUES,
    st.booleans(),
    st.none(),
    st.booleans(),
    st.booleans(),
)
_MATCHES = st.builds(
    RouteMatch,
    _PATHS,
    st.lists(_HEADERS, max_size=2).map(tuple),
    st.lists(st.builds(QueryMatch, st.just(b"q"), _VALUES, st.booleans()), max_size=1).map(tuple),
    st.none(),
    st.booleans(),
)
_HEADS = st.builds(
    RequestHead,
    st.sampled_from([b"GET", b"1"]),
    st.tuples(_TEXTS.filter(bool), st.sampled_from([b"", b"?q=1", b"?q"])).map(b"".join),
    st.just(b"a"),
    st.lists(
        st.tuples(st.sampled_from([b"x", b"content-type"]), st.sampled_from([b"1", b"application/grpc"])), max_size=2
    ),
)


@given(st.lists(_MATCHES, max_size=5), _HEADS)
def test_reasons_agree_with_the_table(matches: list[RouteMatch], head: RequestHead) -> None:
    routes = tuple(Route(match, DirectResponseAction(200), name=str(index)) for index, match in enumerate(matches))
    host = VirtualHost("h", (b"*",), routes)
    table = RouteTable(RouteConfiguration("r", (host,)))
    chosen = table.decide(head)
    rows = list(explain_routes(table, host, head, chosen))
    path = head.path.partition(b"?")[0]
    fitting = [index for index, match in enumerate(matches) if not mismatch(match, head, path)]
    assert fitting[:1] == [index for index, row in enumerate(rows) if row["chosen"]]
    assert all(row["chosen"] != ("why_not" in row) for row in rows)
