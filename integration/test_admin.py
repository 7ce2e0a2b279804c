"""The admin interface, asked the same questions as a live Envoy's on the same bootstrap file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.isthmus import Proxy


def cluster(name: str) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 9}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def listener(name: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": kind, "stat_prefix": name, "cluster": "back"}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}],
    }


BOOTSTRAP = {
    "node": {"id": "me", "cluster": "us"},
    "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    "static_resources": {
        "listeners": [listener("raw"), listener("other")],
        "clusters": [cluster("back"), cluster("other")],
    },
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Envoy]]:
    directory: Path = tmp_path_factory.mktemp("admin")
    with Proxy(BOOTSTRAP, directory) as proxy, Envoy(BOOTSTRAP, directory) as envoy:
        proxy.wait_ready()
        envoy.wait_ready()
        yield proxy, envoy


def comparable(text: str) -> Any:
    """The answer without the times in it; JSON by what it says."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*Z"', '"then"', text)
    try:
        return json.loads(text)
    except ValueError:
        # How Envoy prints a mask of several lines is made to differ from build to build.
        return re.sub(r"FieldMask goo\.gle.*used\.", "FieldMask could not be used.", text, flags=re.DOTALL).strip()


QUESTIONS = [
    "/config_dump?resource=static_clusters",
    "/config_dump?resource=static_listeners",
    "/config_dump?resource=static_listeners&name_regex=r.w",
    "/config_dump?resource=static_clusters&name_regex=oth",
    "/config_dump?resource=static_clusters&mask=cluster.name,cluster.type",
    "/config_dump?resource=static_clusters&mask=cluster.load_assignment.endpoints",
    "/config_dump?resource=static_clusters&mask=last_updated",
    "/config_dump?resource=dynamic_listeners",
    "/config_dump?resource=dynamic_active_secrets",
    "/config_dump?resource=bootstrap",
    "/config_dump?resource=version_info",
    "/config_dump?resource=nope",
    "/config_dump?resource=static_endpoint_configs",
    "/config_dump?mask=bootstrap.node.id",
    "/config_dump?mask=static_clusters",
    "/config_dump?mask=static_listeners&name_regex=raw",
    "/config_dump?mask=static_clusters.cluster",
    "/config_dump?mask=bootstrap,static_clusters",
    "/config_dump?mask=version_info",
    "/certs",
    "/init_dump",
    "/init_dump?mask=listener",
    "/hot_restart_version",
    "/stats?type=nope",
    "/stats/prometheus?histogram_buckets=disjoint",
    "/drain_listeners",
    "/reset_counters",
    "/quitquitquit",
    "/healthcheck/fail",
]


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_envoys(pair: tuple[Proxy, Envoy], question: str) -> None:
    proxy, envoy = pair
    ours, theirs = proxy.admin(question), envoy.admin(question)
    assert (ours.status, comparable(ours.text)) == (theirs.status, comparable(theirs.text))


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("mask", ["cluster", "cluster.nope", "cluster.load_assignment.endpoints.locality", "nope"])
def test_a_mask_that_is_refused_is_refused_by_both(pair: tuple[Proxy, Envoy], mask: str) -> None:
    question = f"/config_dump?resource=static_clusters&mask={mask}"
    assert [each.admin(question).status for each in pair] == [400, 400]


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("order", ["/healthcheck/fail", "/healthcheck/ok", "/reset_counters"])
def test_orders_change_readiness_alike(pair: tuple[Proxy, Envoy], order: str) -> None:
    told = [each.admin(order, "POST").text for each in pair]
    assert told == ["OK\n", "OK\n"]
    ready = [(answer.status, answer.text) for answer in (each.admin("/ready") for each in pair)]
    assert ready[0] == ready[1]
