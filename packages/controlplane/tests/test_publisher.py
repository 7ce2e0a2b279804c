"""The publisher against a server that only remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from envoy.service.runtime.v3.rtds_pb2 import Runtime

from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import make, rule, service, split
from isthmus_controlplane.model.world import World
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, ROUTE, RUNTIME
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState, keep_identity
from isthmus_controlplane.supplement.resource_files import Given, Nodes
from isthmus_controlplane.supplement.supplement import Supplement
from isthmus_controlplane.xds.testing import eventually

pytestmark = pytest.mark.asyncio

SOURCE = "memory:"
HOST = "reviews.shop"
CLUSTER_NAME = f"outbound|8080||{HOST}"


class RememberingServer:
    """Keeps what is published for the scopes in use."""

    def __init__(self) -> None:
        self.used: set[Scope] = {Scope()}
        self.snapshots: dict[Scope, Snapshot] = {}
        self.causes: list[str] = []

    def publish_all(self, snapshots: Mapping[Scope, Snapshot], cause: str) -> int | None:
        old = {scope: each.version for scope, each in self.snapshots.items()}
        new = {scope: each for scope, each in snapshots.items() if old.get(scope) != each.version}
        self.snapshots.update(new)
        if not new:
            return None
        self.causes.append(cause)
        return len(self.causes)

    def scopes_in_use(self) -> frozenset[Scope]:
        return frozenset(self.used)


class Bench:
    """A publisher, its server, and one store."""

    def __init__(self, **options: Any) -> None:
        self.publisher = Publisher(World([SOURCE], MeshSettings()), **options)
        self.server = RememberingServer()
        self.publisher.attach(self.server)
        self._last: Mapping[ObjectKey, ConfigObject] = {}

    def give(self, objects: Iterable[ConfigObject]) -> None:
        self._last = keep_identity(self._last, {obj.key: obj for obj in objects})
        self.publisher.take(StoreState(SOURCE, synced=True, objects=self._last))

    def names(self, type_url: str, scope: Scope | None = None) -> list[str]:
        return list(self.server.snapshots[scope or Scope()].collection(type_url).resources)


async def test_nothing_is_published_before_the_start() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1")])
    bench.give([service(HOST, "v1", "v2")])
    bench.publisher.scope_needed(Scope())
    assert bench.server.snapshots == {}
    bench.publisher.start()
    assert CLUSTER_NAME in bench.names(CLUSTER)
    assert bench.server.causes == ["ServiceEntry default/reviews-shop"]


async def test_instances_are_published_at_once_and_the_rest_after_the_burst() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    first = bench.server.snapshots[Scope()]
    bench.give([service(HOST, "v1", "v2")])
    second = bench.server.snapshots[Scope()]
    assert second.collection(CLUSTER) is first.collection(CLUSTER)
    assert second.collection(ENDPOINT).changed_since(first.collection(ENDPOINT).version) == frozenset({CLUSTER_NAME})
    bench.give([service(HOST, "v1", "v2"), rule(HOST, "v1")])
    bench.give([service(HOST, "v1", "v2"), rule(HOST, "v1"), split(HOST, {"v1": 1})])
    assert bench.server.snapshots[Scope()] is second
    await eventually(lambda: len(bench.server.causes) == 3)
    assert bench.server.causes[2] == "DestinationRule default/reviews-shop; VirtualService default/reviews-shop"


async def test_what_did_not_change_is_not_published_again() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    bench.publisher.publish()
    assert len(bench.server.causes) == 1


async def test_a_new_kind_of_client_is_served_from_what_is_in_use() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    explicit = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)
    bench.server.used.add(explicit)
    bench.publisher.scope_needed(explicit)
    assert bench.names(ROUTE, explicit) == ["http_proxy"]


def workload(address: str, **labels: str) -> Scope:
    return Scope(labels=tuple(sorted(labels.items())), addresses=(address,))


async def test_nodes_that_get_the_same_are_translated_once() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1", "v2")])
    bench.publisher.start()
    nodes = [workload("10.0.0.1", pod="a"), workload("10.0.0.2", pod="b"), workload("10.0.0.9", pod="c")]
    before = bench.publisher.counters.translations
    for node in nodes:
        bench.server.used.add(node)
        bench.publisher.scope_needed(node)
    assert bench.publisher.counters.translations == before + 2  # an instance of the service, and of none
    assert bench.server.snapshots[nodes[0]] is bench.server.snapshots[nodes[1]]
    assert "inbound|9000||" in bench.names(CLUSTER, nodes[1])
    assert "inbound|9000||" not in bench.names(CLUSTER, nodes[2])


async def test_a_node_becomes_an_instance_when_its_address_does() -> None:
    bench = Bench()
    node = workload("10.0.0.2")
    bench.server.used.add(node)
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    assert "inbound|9000||" not in bench.names(CLUSTER, node)
    bench.give([service(HOST, "v1", "v2")])
    assert "inbound|9000||" in bench.names(CLUSTER, node)
    assert bench.publisher.origins(node, CLUSTER, ("inbound|9000||",)) == (
        ObjectKey("ServiceEntry", "default", "reviews-shop"),
    )


async def test_a_policy_reaches_the_nodes_that_it_selects_and_no_other() -> None:
    bench = Bench()
    chosen, other = workload("10.0.0.1", app="a"), workload("10.0.0.1", app="b")
    bench.server.used |= {chosen, other}
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    before = dict(bench.server.snapshots)
    selector = {"selector": {"matchLabels": {"app": "a"}}}
    bench.give([service(HOST, "v1"), make("AuthorizationPolicy", "p", selector | {"action": "DENY", "rules": [{}]})])
    bench.publisher.publish()
    assert bench.server.snapshots[chosen].version != before[chosen].version
    assert bench.server.snapshots[other] is before[other]


async def test_the_number_of_kinds_of_clients_is_bounded() -> None:
    bench = Bench(max_scopes=3)
    bench.publisher.start()
    scopes = [Scope(namespace=f"n{number}") for number in range(3)]
    for scope in scopes:
        bench.server.used.add(scope)
        bench.publisher.scope_needed(scope)
    assert scopes[2] not in bench.server.snapshots
    assert bench.publisher.counters.refused_scopes == 1
    bench.server.used -= {scopes[0]}
    bench.publisher.scope_needed(scopes[2])
    assert scopes[2] in bench.server.snapshots


async def test_resources_lead_back_to_objects() -> None:
    bench = Bench()
    entry = service(HOST, "v1")
    bench.give([entry])
    bench.publisher.start()
    assert bench.publisher.origins(Scope(), CLUSTER, (CLUSTER_NAME, "unknown")) == (entry.key,)
    assert bench.publisher.origins(Scope(namespace="x"), CLUSTER, (CLUSTER_NAME,)) == ()
    assert bench.publisher.origins(None, CLUSTER, (CLUSTER_NAME,)) == ()


async def test_what_takes_long_is_built_aside_and_loses_nothing() -> None:
    bench = Bench(built_at_once=0)
    bench.give([service(HOST, "v1")])
    bench.publisher.start()
    assert bench.server.snapshots == {}
    assert not bench.publisher.settled
    bench.give([service(HOST, "v1", "v2")])  # while it is built
    other = Scope(namespace="other")
    bench.server.used.add(other)
    bench.publisher.scope_needed(other)
    await eventually(lambda: bench.publisher.settled and other in bench.server.snapshots)
    for scope in (Scope(), other):
        assignment: Any = bench.server.snapshots[scope].sources[ENDPOINT][CLUSTER_NAME]
        assert len(assignment.endpoints[0].lb_endpoints) == 2
    late = Scope(kind="grpc")
    bench.server.used.add(late)
    bench.publisher.scope_needed(late)
    await eventually(lambda: late in bench.server.snapshots)
    bench.publisher.stop()


async def test_a_supplement_joins_every_scope_and_survives_changes_of_instances() -> None:
    bench = Bench()
    bench.give([service(HOST, "v1")])
    key = ObjectKey("File", "dir", "flags.yaml")
    bench.publisher.take_supplement(Supplement((Given(key, RUNTIME, "flags", Runtime(name="flags"), Nodes()),)))
    bench.publisher.start()
    assert bench.names(RUNTIME) == ["flags"]
    assert bench.publisher.origins(Scope(), RUNTIME, ("flags",)) == (key,)
    bench.give([service(HOST, "v1", "v2")])
    assert bench.publisher.counters.patches == 1
    assert bench.names(RUNTIME) == ["flags"]
    bench.publisher.take_supplement(Supplement(problems=(Problem("dir", "", "broken"),)))
    bench.publisher.debounce.flush()
    assert bench.names(RUNTIME) == []
    assert Problem("dir", "", "broken") in bench.publisher.problems()
