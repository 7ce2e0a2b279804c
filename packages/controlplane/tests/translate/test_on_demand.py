"""Virtual hosts as resources of their own."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_controlplane.model.scope import Scope, scope_of
from isthmus_controlplane.model.testing import admitted, rule, service, split
from isthmus_controlplane.snapshot.resource_type import VIRTUAL_HOST
from isthmus_controlplane.snapshot.snapshot import build
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.on_demand import on_demand
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE

SCOPE = Scope(virtual_hosts_on_demand=True)
HOST = "reviews.shop"


@pytest.fixture
def whole() -> Translation:
    objects = [service(HOST, "v1"), service("other.shop", "v1"), rule(HOST, "v1"), split(HOST, {"v1": 100})]
    return translate(admitted(objects).model, SCOPE)


def test_each_domain_is_a_name_of_its_virtual_host(whole: Translation) -> None:
    made = on_demand(whole)
    hosts: Any = made.messages[VIRTUAL_HOST]
    domains = [domain for host in ("other.shop", HOST) for domain in (host, f"{host}:8080")]
    assert list(hosts) == [f"8080/{domain}" for domain in domains]
    reviews = hosts[f"8080/{HOST}:8080"]
    assert reviews is hosts[f"8080/{HOST}"]
    assert (reviews.message.name, reviews.aliases) == (f"8080/{HOST}", (f"8080/{HOST}:8080",))
    before: Any = whole.messages[ROUTE_TYPE]["8080"]
    inline = next(each for each in before.virtual_hosts if HOST in each.domains)
    assert reviews.message.routes == inline.routes
    assert made.origins[VIRTUAL_HOST, f"8080/{HOST}"] == whole.origins[ROUTE_TYPE, "8080"]
    resources = build(made.messages).collection(VIRTUAL_HOST).resources
    assert {each.aliases for each in resources.values()} == {
        (f"8080/{host}", f"8080/{host}:8080") for host in ("other.shop", HOST)
    }


def test_route_configurations_keep_wildcards_only(whole: Translation) -> None:
    before: Any = whole.messages[ROUTE_TYPE]["8080"]
    before.virtual_hosts.add(name="wild", domains=["*.shop", "shop"])
    configuration: Any = on_demand(whole).messages[ROUTE_TYPE]["8080"]
    assert [host.name for host in configuration.virtual_hosts] == ["wild"]
    assert configuration.vhds.config_source.HasField("ads")


def test_listeners_ask_before_anything_else(whole: Translation) -> None:
    listeners: Any = on_demand(whole).messages[LISTENER_TYPE]
    filters = [each.filters[0] for each in listeners["0.0.0.0_8080"].filter_chains]
    manager = HttpConnectionManager.FromString(filters[0].typed_config.value)
    assert [each.name for each in manager.http_filters] == ["envoy.filters.http.on_demand", "envoy.filters.http.router"]
    assert listeners["virtualOutbound"] == whole.messages[LISTENER_TYPE]["virtualOutbound"]


@pytest.mark.parametrize(
    ("node_id", "agent", "value", "wanted"),
    [
        ("sidecar~1~a.b~c", "envoy", "true", True),
        ("sidecar~1~a.b~c", "envoy", True, True),
        ("sidecar~1~a.b~c", "envoy", "no", False),
        ("router~1~a.b~c", "envoy", "true", False),
        ("x", "gRPC", "true", False),
    ],
)
def test_sidecars_ask_for_it_by_metadata(node_id: str, agent: str, value: object, wanted: bool) -> None:
    node = Node(id=node_id, user_agent_name=agent)
    node.metadata.update({"VIRTUAL_HOSTS_ON_DEMAND": value})
    assert scope_of(node).virtual_hosts_on_demand is wanted
