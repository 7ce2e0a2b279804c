"""The same bootstrap in a live Envoy and in our proxy: the same endpoint for the same request, or the same shares.

The file is long because two thirds of it are the cases, as data, which one pair of processes serves.
"""

from __future__ import annotations

import http.client
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.herd import Herd
from harness.http import fetch
from harness.isthmus import Proxy
from harness.ports import free_ports

SIZE = 12
KEYS = [f"key-{number}" for number in range(250)]
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies"

Json = dict[str, Any]


def host(index: int, weight: int | None = None, *, health: str = "", **metadata: Any) -> Json:
    """Endpoint number ``index`` of the herd; its port is put in later."""
    found: Json = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": index}}}}
    if weight is not None:
        found["load_balancing_weight"] = weight
    if health:
        found["health_status"] = health
    if metadata:
        found["metadata"] = {"filter_metadata": {"envoy.lb": metadata}}
    return found


def group(*hosts: Json, zone: str = "", weight: int | None = None, priority: int = 0) -> Json:
    """One locality."""
    found: Json = {"lb_endpoints": list(hosts), "priority": priority}
    if zone:
        found["locality"] = {"region": "r", "zone": zone}
    if weight is not None:
        found["load_balancing_weight"] = weight
    return found


def policy(kind: str, message: str, **fields: Any) -> Json:
    """A load_balancing_policy of one extension."""
    config = {"@type": f"{_POLICIES}.{kind}.v3.{message}", **fields}
    return {"policies": [{"typed_extension_config": {"name": kind, "typed_config": config}}]}


def ring(*, weights: Sequence[int | None] = (None,) * 7, **config: Any) -> Json:
    hosts = [host(index, weight) for index, weight in enumerate(weights)]
    return {"endpoints": [group(*hosts)], "lb_policy": "RING_HASH", "ring_hash_lb_config": config}


def maglev(*, weights: Sequence[int | None] = (None,) * 7, **config: Any) -> Json:
    hosts = [host(index, weight) for index, weight in enumerate(weights)]
    return {"endpoints": [group(*hosts)], "lb_policy": "MAGLEV", "maglev_lb_config": config}


ZONES = [group(host(0), host(1), zone="b", weight=3), group(host(2, 5), host(3), host(4), zone="a", weight=2)]
LOCALITY: Json = {"common_lb_config": {"locality_weighted_lb_config": {}}}
SICK = [host(0), host(1, health="UNHEALTHY"), host(2, health="DRAINING"), host(3), host(4), host(5, health="DEGRADED")]

COLOURS = [group(host(0, hash_key="red"), host(1, hash_key="green"), host(2, hash_key="blue"))]
TWO_ZONES = [group(host(0), zone="a"), group(host(1), zone="b")]

HASHED: dict[str, Json] = {
    "ring": ring(),
    "ring of three weights": ring(weights=(1, 2, 5, 1, 3)),
    "ring of odd weights": ring(weights=(17, 3, 113, 64, 1, 29)),
    "small ring": ring(minimum_ring_size=10),
    "ring cut short": ring(weights=(1, 100), minimum_ring_size=50, maximum_ring_size=60),
    "ring smaller than its hosts": ring(minimum_ring_size=1, maximum_ring_size=4),
    "large ring": ring(minimum_ring_size=20000),
    "murmur ring": ring(weights=(2, 1, 1), hash_function="MURMUR_HASH_2"),
    "ring with sick hosts": {"endpoints": [group(*SICK)], "lb_policy": "RING_HASH"},
    "ring in panic": {
        "endpoints": [group(host(0), *[host(i, health="UNHEALTHY") for i in range(1, 5)])],
        "lb_policy": "RING_HASH",
    },
    "ring of degraded hosts": {
        "endpoints": [group(host(0, health="DEGRADED"), host(1, health="DEGRADED"))],
        "lb_policy": "RING_HASH",
    },
    "ring by hash_key": {
        "endpoints": [group(host(0, hash_key="red"), host(1, hash_key="green"), host(2, hash_key="blue"))],
        "lb_policy": "RING_HASH",
    },
    "ring of localities": {"endpoints": ZONES, "lb_policy": "RING_HASH", **LOCALITY},
    "ring of localities without weights": {
        "endpoints": [group(host(0), zone="a"), group(host(1), zone="b")],
        "lb_policy": "RING_HASH",
        **LOCALITY,
    },
    "ring of two priorities": {
        "endpoints": [group(host(0), host(1, health="UNHEALTHY"), host(2)), group(host(3), host(4), priority=1)],
        "lb_policy": "RING_HASH",
    },
    "maglev": maglev(),
    "maglev of three weights": maglev(weights=(1, 2, 5, 1, 3)),
    "maglev of odd weights": maglev(weights=(17, 3, 113, 64, 1, 29)),
    "small maglev": maglev(weights=(1, 2, 3, 4), table_size=101),
    "maglev smaller than its hosts": maglev(table_size=5),
    "large maglev": maglev(weights=(3, 1, 1), table_size=131071),
    "maglev with sick hosts": {"endpoints": [group(*SICK)], "lb_policy": "MAGLEV"},
    "maglev by hash_key": {
        "endpoints": [group(host(0, hash_key="red"), host(1, hash_key="green"), host(2, hash_key="blue"))],
        "lb_policy": "MAGLEV",
    },
    "small maglev by hash_key": {"endpoints": COLOURS, "lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 31}},
    "maglev of localities": {"endpoints": ZONES, "lb_policy": "MAGLEV", **LOCALITY},
    "ring extension": {
        "endpoints": [group(host(0, 2), host(1), host(2))],
        "load_balancing_policy": policy("ring_hash", "RingHash", minimum_ring_size=64, hash_function="MURMUR_HASH_2"),
    },
    "maglev extension": {
        "endpoints": ZONES,
        "load_balancing_policy": policy("maglev", "Maglev", table_size=251, locality_weighted_lb_config={}),
    },
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both proxies with the same configuration."""

    isthmus: str
    envoy: str
    ports: list[int]

    def indexes(self, bodies: Sequence[str]) -> list[int | str]:
        """Ports as indexes of the herd; what is no port stays."""
        known = {str(port): index for index, port in enumerate(self.ports)}
        return [known.get(body, body) for body in bodies]

    def both(self, requests: Sequence[tuple[str, Mapping[str, str]]]) -> tuple[list[int | str], list[int | str]]:
        """The endpoints that served ``requests`` (path, headers), each proxy over one connection."""
        ours, theirs = (asked(address, requests) for address in (self.isthmus, self.envoy))
        return self.indexes(ours), self.indexes(theirs)


def asked(address: str, requests: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    connection = http.client.HTTPConnection(address, timeout=20)
    bodies = []
    for path, headers in requests:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read().decode()
        bodies.append(body if response.status == 200 else str(response.status))
    connection.close()
    return bodies


def cluster(name: str, config: Json, ports: Sequence[int]) -> Json:
    fields = {key: value for key, value in config.items() if key not in ("endpoints", "policy", "routes")}
    endpoints = []
    for locality in config["endpoints"]:
        hosts = [with_port(each, ports) for each in locality["lb_endpoints"]]
        endpoints.append({**locality, "lb_endpoints": hosts})
    assignment = {"cluster_name": name, "endpoints": endpoints, "policy": config.get("policy", {})}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment, **fields}


def with_port(each: Json, ports: Sequence[int]) -> Json:
    index = each["endpoint"]["address"]["socket_address"]["port_value"]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": ports[index]}}
    return {**each, "endpoint": {**each["endpoint"], "address": address}}


def bootstrap(port: int, routes: Sequence[Json], clusters: Sequence[Json]) -> Json:
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": list(routes)}]},
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {"name": "l", "address": address, "filter_chains": [chain]},
                *(tcp_listener(port + offset, name, config) for offset, (name, config) in enumerate(TCP.items(), 1)),
            ],
            "clusters": list(clusters),
        },
    }


TCP: dict[str, Json] = {
    "by address": {"cluster": "policies", "hash_policy": [{"source_ip": {}}]},
    "by metadata": {
        "weighted_clusters": {
            "clusters": [
                {
                    "name": "no fallback",
                    "weight": 1,
                    "metadata_match": {"filter_metadata": {"envoy.lb": {"version": "2"}}},
                }
            ]
        },
        "metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "prod", "version": "1"}}},
    },
}


def tcp_listener(port: int, name: str, config: Json) -> Json:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    proxy = {"name": "tcp", "typed_config": {"@type": kind, "stat_prefix": "tcp", **config}}
    address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
    return {"name": name, "address": address, "filter_chains": [{"filters": [proxy]}]}


def slug(name: str) -> str:
    return name.replace(" ", "-")


def route(name: str, prefix: str = "", **action: Any) -> Json:
    """A route for ``/NAME/PREFIX`` to the cluster ``name``."""
    return {"match": {"prefix": f"/{slug(name)}/{prefix}"}, "route": {"cluster": name, **action}}


BY_HEADER = [{"header": {"header_name": "x-key"}}]
HASH_POLICIES: dict[str, list[Json]] = {
    "header": BY_HEADER,
    "rewritten": [
        {
            "header": {
                "header_name": "x-key",
                "regex_rewrite": {"pattern": {"regex": r"key-(\d).*"}, "substitution": r"\1"},
            }
        }
    ],
    "query": [{"query_parameter": {"name": "q"}}],
    "cookie": [{"cookie": {"name": "session"}}],
    "source": [{"connection_properties": {"source_ip": True}}],
    "path": [{"header": {"header_name": ":path"}}],
    "both": [*BY_HEADER, {"query_parameter": {"name": "q"}}],
    "terminal": [{**BY_HEADER[0], "terminal": True}, {"query_parameter": {"name": "q"}}],
    "twice": [*BY_HEADER, *BY_HEADER],
}
POLICY_CLUSTER = ring(weights=(None,) * 10)


def subsets(*selectors: Json, hosts: Sequence[Json] = (), **config: Any) -> Json:
    """A cluster of hosts in two stages and two versions, one without metadata."""
    usual = [
        host(0, stage="prod", version="1"),
        host(1, stage="prod", version="1"),
        host(2, stage="prod", version="2"),
        host(3, stage="dev", version="2"),
        host(4, stage="dev", number=1, flag=True),
        host(5),
    ]
    return {
        "endpoints": [group(*(hosts or usual))],
        "lb_policy": "RANDOM",
        "lb_subset_config": {"subset_selectors": list(selectors), **config},
    }


STAGE: Json = {"keys": ["stage"]}
BOTH: Json = {"keys": ["version", "stage"]}
LISTS = [host(0, tags=["a", "b"]), host(1, tags=["b", "c"]), host(2, tags="a"), host(3, tags=["a", "b"])]
UNIQUE = [
    host(0, id="x"),
    host(1, id="y"),
    host(2, id="x"),
    host(3, id="z", stage="prod"),
    host(4, id="y", health="UNHEALTHY"),
    host(5, id="w", health="UNHEALTHY"),
    host(6, id="w"),
]
SICK_STAGE = [
    host(0, stage="prod", health="UNHEALTHY"),
    host(1, stage="prod", health="UNHEALTHY"),
    host(2, stage="prod"),
    host(3, stage="dev"),
    host(4, stage="test", health="UNHEALTHY"),
]
SUBSETS: dict[str, Json] = {
    "no fallback": subsets(STAGE, BOTH),
    "any endpoint": subsets(STAGE, BOTH, fallback_policy="ANY_ENDPOINT"),
    "default subset": subsets(STAGE, BOTH, fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "dev"}),
    "default subset of none": subsets(STAGE, fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "none"}),
    "panic mode any": subsets(
        STAGE, fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "none"}, panic_mode_any=True
    ),
    "panic mode without fallback": subsets(STAGE, panic_mode_any=True),
    "selectors' fallbacks": subsets(
        {**STAGE, "fallback_policy": "ANY_ENDPOINT"},
        {**BOTH, "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["stage"]},
        {"keys": ["version"], "fallback_policy": "DEFAULT_SUBSET"},
        {"keys": ["number"], "fallback_policy": "NO_FALLBACK"},
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"version": "2"},
    ),
    "other kinds": subsets({"keys": ["number"]}, {"keys": ["flag"]}, {"keys": ["flag", "number"]}),
    "lists": subsets({"keys": ["tags"]}, hosts=LISTS),
    "lists as any": subsets(
        {"keys": ["tags"]},
        hosts=LISTS,
        list_as_any=True,
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"tags": "c"},
    ),
    "single host": subsets({"keys": ["id"], "single_host_per_subset": True}, STAGE, hosts=UNIQUE),
    "sick subsets": subsets(STAGE, hosts=SICK_STAGE, fallback_policy="ANY_ENDPOINT"),
    "fallback list": subsets(
        STAGE,
        BOTH,
        metadata_fallback_policy="FALLBACK_LIST",
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"version": "2"},
    ),
    "subsets without selectors": subsets(fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "dev"}),
}
ASKED: dict[str, Json | None] = {
    "nothing": None,
    "empty": {},
    "prod": {"stage": "prod"},
    "dev": {"stage": "dev"},
    "test": {"stage": "test"},
    "prod1": {"stage": "prod", "version": "1"},
    "prod3": {"stage": "prod", "version": "3"},
    "none3": {"stage": "none", "version": "3"},
    "version1": {"version": "1"},
    "version9": {"version": "9"},
    "number1": {"number": 1},
    "number-text": {"number": "1"},
    "flag": {"flag": True},
    "flag-number": {"flag": True, "number": 1},
    "flag-one": {"flag": 1},
    "unknown": {"unknown": "x"},
    "tag-a": {"tags": "a"},
    "tag-c": {"tags": "c"},
    "tag-list": {"tags": ["a", "b"]},
    "id-x": {"id": "x"},
    "id-y": {"id": "y"},
    "id-w": {"id": "w"},
    "fallbacks": {"fallback_list": [{"stage": "none"}, {"stage": "prod", "version": "2"}]},
    "fallbacks-and-own": {"stage": "dev", "fallback_list": [{"version": "7"}, {"version": "2"}]},
    "fallbacks-of-none": {"stage": "dev", "fallback_list": [{"stage": "none"}]},
}


def subset_routes() -> Iterator[Json]:
    for name in SUBSETS:
        for asked_for, criteria in ASKED.items():
            match = {} if criteria is None else {"metadata_match": {"filter_metadata": {"envoy.lb": criteria}}}
            yield route(name, f"{asked_for}/", **match)
    merged = {
        "name": "selectors' fallbacks",
        "weight": 1,
        "metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "dev"}}},
    }
    yield {
        "match": {"prefix": "/merged/"},
        "route": {
            "weighted_clusters": {"clusters": [merged]},
            "metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "prod", "version": "2"}}},
        },
    }


def alike(ours: Sequence[int | str], theirs: Sequence[int | str], tolerance: float) -> None:
    """The same answers, and each of them about as often."""
    mine, envoys = Counter(ours), Counter(theirs)
    assert set(mine) == set(envoys)
    for answer, count in envoys.items():
        assert abs(mine[answer] - count) <= tolerance * len(theirs), (mine, envoys)


def weighted(name: str, *groups: Json, **config: Any) -> tuple[str, Json]:
    return name, {"endpoints": list(groups), **config}


NORTH = group(host(0), host(1), host(2, health="UNHEALTHY"), zone="n", weight=3)
SOUTH = group(host(3), host(4), zone="s", weight=1)
SHARES: dict[str, Json] = dict(
    [
        weighted("round robin", group(host(0), host(1), host(2))),
        weighted("weights", group(host(0, 5), host(1, 3), host(2, 2))),
        weighted("random", group(host(0, 5), host(1)), lb_policy="RANDOM"),
        weighted("least request", group(host(0), host(1), host(2)), lb_policy="LEAST_REQUEST"),
        weighted("least request of weights", group(host(0, 4), host(1)), lb_policy="LEAST_REQUEST"),
        weighted(
            "full scan",
            group(host(0), host(1), host(2)),
            load_balancing_policy=policy("least_request", "LeastRequest", selection_method="FULL_SCAN"),
        ),
        weighted("localities", NORTH, SOUTH, **LOCALITY),
        weighted("localities not asked for", NORTH, SOUTH),
        weighted("localities without weights", *TWO_ZONES, **LOCALITY),
        weighted("localities at random", NORTH, SOUTH, lb_policy="RANDOM", **LOCALITY),
        weighted("localities of weights", *ZONES, **LOCALITY),
        weighted(
            "subset of localities",
            group(host(0, stage="a"), host(1, stage="b"), zone="n", weight=3),
            group(host(2, stage="a"), host(3, stage="a"), zone="s", weight=1),
            lb_subset_config={
                "subset_selectors": [STAGE],
                "fallback_policy": "DEFAULT_SUBSET",
                "default_subset": {"stage": "a"},
                "locality_weight_aware": True,
            },
            **LOCALITY,
        ),
        weighted(
            "subset of scaled localities",
            group(host(0, stage="a"), host(1, stage="b"), host(4, stage="b"), zone="n", weight=6),
            group(host(2, stage="a"), host(3, stage="a"), zone="s", weight=1),
            lb_subset_config={
                "subset_selectors": [STAGE],
                "fallback_policy": "DEFAULT_SUBSET",
                "default_subset": {"stage": "a"},
                "locality_weight_aware": True,
                "scale_locality_weight": True,
            },
            **LOCALITY,
        ),
        weighted("priorities", group(host(0), host(1, health="UNHEALTHY")), group(host(2), host(3), priority=1)),
        weighted(
            "priorities with factor",
            group(host(0), host(1, health="UNHEALTHY")),
            group(host(2), priority=1),
            policy={"overprovisioning_factor": 100},
        ),
        weighted(
            "priorities by weight",
            group(host(0, 9), host(1, 1, health="UNHEALTHY"), host(4, 10, health="UNHEALTHY")),
            group(host(2), priority=1),
            policy={"weighted_priority_health": True, "overprovisioning_factor": 100},
        ),
        weighted("panic", group(host(0), *[host(i, health="UNHEALTHY") for i in range(1, 4)])),
        weighted(
            "no panic",
            group(host(0), *[host(i, health="UNHEALTHY") for i in range(1, 4)]),
            common_lb_config={"healthy_panic_threshold": {"value": 20}},
        ),
        weighted(
            "no traffic in panic",
            group(host(0), *[host(i, health="UNHEALTHY") for i in range(1, 4)]),
            common_lb_config={"zone_aware_lb_config": {"fail_traffic_on_panic": True}},
        ),
        weighted("degraded", group(host(0), host(1, health="DEGRADED"))),
    ]
)


@pytest.fixture(scope="module")
def herd() -> Iterator[Herd]:
    with Herd(SIZE) as found:
        yield found


@pytest.fixture(scope="module")
def pair(herd: Herd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("balancing")
    routes = [route(name, hash_policy=BY_HEADER) for name in HASHED]
    routes += [route("policies", f"{name}/", hash_policy=policies) for name, policies in HASH_POLICIES.items()]
    clusters = [cluster(name, config, herd.ports) for name, config in HASHED.items()]
    clusters.append(cluster("policies", POLICY_CLUSTER, herd.ports))
    for name, cookie in COOKIES.items():
        routes.append(route("policies", f"../cookies/{name}", hash_policy=[{"cookie": cookie}]))
        routes[-1]["match"] = {"prefix": f"/cookies/{slug(name)}/"}
    routes += [*subset_routes(), *map(route, SHARES)]
    clusters += [cluster(name, config, herd.ports) for name, config in {**SUBSETS, **SHARES}.items()]
    ours, theirs = free_ports(1 + len(TCP)), free_ports(1 + len(TCP))
    with (
        Proxy(bootstrap(ours, routes, clusters), directory) as proxy,
        Envoy(bootstrap(theirs, routes, clusters), directory) as envoy,
    ):
        proxy.wait_ready()
        envoy.wait_ready()
        yield Pair(f"127.0.0.1:{ours}", f"127.0.0.1:{theirs}", herd.ports)


@pytest.mark.parametrize("name", HASHED)
def test_every_hash_key_goes_where_envoy_sends_it(pair: Pair, name: str) -> None:
    ours, theirs = pair.both([(f"/{slug(name)}/", {"x-key": key}) for key in KEYS])
    assert ours == theirs


@pytest.mark.parametrize("name", HASH_POLICIES)
def test_hash_policies_are_envoys(pair: Pair, name: str) -> None:
    requests: list[tuple[str, dict[str, str]]] = []
    for key in KEYS[:60]:
        requests += [
            (f"/policies/{name}/?q={key}", {"x-key": key, "cookie": f"a=b; session={key}"}),
            (f"/policies/{name}/?p=1&q={key}&q=2", {"x-key": "same", "cookie": f'session="{key}"'}),
            (f"/policies/{name}/?q", {"x-key": key, "cookie": f"other={key}; session={key}; session=no"}),
        ]
    ours, theirs = pair.both(requests)
    assert ours == theirs


@pytest.mark.parametrize("name", SUBSETS)
def test_subsets_are_envoys(pair: Pair, name: str) -> None:
    for asked_for in ASKED:
        ours, theirs = pair.both([(f"/{slug(name)}/{asked_for}/", {})] * 60)
        assert set(ours) == set(theirs), asked_for


def test_metadata_of_a_weighted_cluster_refines_its_route(pair: Pair) -> None:
    ours, theirs = pair.both([("/merged/", {})] * 20)
    assert set(ours) == set(theirs) == {3}


@pytest.mark.parametrize("name", SHARES)
def test_shares_are_envoys(pair: Pair, name: str) -> None:
    ours, theirs = pair.both([(f"/{slug(name)}/", {})] * 800)
    alike(ours, theirs, 0.12)


COOKIES: dict[str, Json] = {
    "session": {"name": "s", "ttl": "0s"},
    "dated": {"name": "s", "ttl": "60s", "path": "/x"},
    "attributes": {
        "name": "s",
        "ttl": "1.5s",
        "attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}],
    },
    "no ttl": {"name": "s"},
}


@pytest.mark.parametrize("name", COOKIES)
def test_a_cookie_is_given_as_envoy_gives_it(pair: Pair, name: str) -> None:
    ours, theirs = (fetch(address, f"/cookies/{slug(name)}/") for address in (pair.isthmus, pair.envoy))
    assert [key for key, _ in ours.headers] == [key for key, _ in theirs.headers]
    given = [re.sub(r'"[0-9a-f]{16}"', '"VALUE"', answer.header("set-cookie") or "") for answer in (ours, theirs)]
    assert given[0] == given[1]
    cookie = (ours.header("set-cookie") or "").partition(";")[0]
    if cookie:
        chosen, again = pair.both([(f"/cookies/{slug(name)}/", {"cookie": cookie})] * 3)
        assert set(chosen) == set(again) == set(pair.indexes([ours.text]))


def served_to(address: str, client: str) -> str:
    """Who serves a connection from ``client``, another address of this machine."""
    connection = http.client.HTTPConnection(address, timeout=20, source_address=(client, 0))
    connection.request("GET", "/")
    body = connection.getresponse().read().decode()
    connection.close()
    return body


@pytest.mark.parametrize("name", TCP)
def test_connections_are_balanced_as_envoy_balances_them(pair: Pair, name: str) -> None:
    clients = [f"127.0.{number}.7" for number in range(40)]
    ours, theirs = (
        pair.indexes([served_to(beside(address, 1 + list(TCP).index(name)), client) for client in clients])
        for address in (pair.isthmus, pair.envoy)
    )
    assert ours == theirs
    assert len(set(ours)) == (1 if name == "by metadata" else len(set(theirs)))


def beside(address: str, offset: int) -> str:
    host_name, _, port = address.rpartition(":")
    return f"{host_name}:{int(port) + offset}"
