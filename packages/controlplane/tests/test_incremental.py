"""Following a change costs what it changes, and gives, byte for byte, what building everything from nothing gives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from isthmus_controlplane.model.admission import admit
from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import make, virtual_service
from isthmus_controlplane.model.testing import rule as destination_rule
from isthmus_controlplane.model.world import World
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.snapshot.snapshot import Snapshot, build
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, StoreState, keep_identity
from isthmus_controlplane.translate import translate

SOURCES = ("memory:", "xds://bridge:1")
SCOPES = (
    Scope(),
    Scope(namespace="other"),
    Scope(kind="grpc"),
    Scope(kind="gateway"),
    Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001),
    Scope(labels=(("app", "p"), ("pod", "1")), addresses=("10.0.0.1",)),
    Scope(labels=(("app", "p"), ("pod", "2")), addresses=("10.0.0.1", "10.0.0.2")),
    Scope(labels=(("app", "q"),), addresses=("10.0.0.2",), namespace="other"),
    Scope(locality="r/z1", secret="a", cluster="a"),
    Scope(locality="r/z2", secret="b", kind="gateway"),
)
HOSTS = ("a.shop", "b.shop", "c.other")
NAMESPACES = ("default", "other")
VERSIONS = ("v1", "v2")
PORTS = (("http", "HTTP", 8080), ("grpc", "GRPC", 9090), ("tcp", "TCP", 3306))

endpoint = st.fixed_dictionaries(
    {
        "address": st.integers(1, 9).map("10.0.0.{}".format),
        "labels": st.sampled_from(VERSIONS).map(lambda v: {"version": v}),
    },
    optional={
        "weight": st.integers(1, 3),
        "locality": st.sampled_from(["r/z1", "r/z2"]),
        "ports": st.just({"http": 7000}),
    },
)
entry = st.fixed_dictionaries(
    {
        "hosts": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True),
        "ports": st.lists(st.sampled_from(PORTS), min_size=1, max_size=2, unique=True).map(
            lambda ports: [{"name": name, "protocol": protocol, "number": number} for name, protocol, number in ports]
        ),
        "resolution": st.sampled_from(["STATIC", "STATIC", "DNS"]),
        "exportTo": st.sampled_from([["*"], ["."]]),
    },
    optional={"addresses": st.just(["240.0.0.9"])},
)
endpoints = st.lists(endpoint, max_size=3, unique_by=lambda each: each["address"])


class Server:
    """Holds what is published; scopes come into use one by one."""

    def __init__(self) -> None:
        self.snapshots: dict[Scope, Snapshot] = {}
        self.used: set[Scope] = {SCOPES[0]}

    def publish_all(self, snapshots: Mapping[Scope, Snapshot], cause: str) -> int | None:
        # As the fleet does: a snapshot equal to the one before is not taken.
        new = {s: n for s, n in snapshots.items() if s not in self.snapshots or self.snapshots[s].version != n.version}
        self.snapshots |= new
        return len(cause) if new else None

    def scopes_in_use(self) -> frozenset[Scope]:
        return frozenset(self.used)


class Incremental(RuleBasedStateMachine):
    """A publisher that follows changes, beside a translation from nothing after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.publisher = Publisher(World(SOURCES, MeshSettings()))
        self.publisher.attach(self.server)
        self.specs: dict[ObjectKey, dict[str, Any]] = {}
        self.objects: dict[str, dict[ObjectKey, ConfigObject]] = {source: {} for source in SOURCES}
        self.expected = admit({}, self.publisher.world.admission, MeshSettings())
        asyncio.run(self._start())

    async def _start(self) -> None:
        self.publisher.start()

    def give(self, source: str, objects: Mapping[ObjectKey, ConfigObject]) -> None:
        self.objects[source] = dict(keep_identity(self.objects[source], objects))
        state = StoreState(source, synced=True, objects=dict(self.objects[source]))

        async def take() -> None:
            self.publisher.take(state)
            self.publisher.debounce.flush()

        asyncio.run(take())

    def submit(self, source: str, kind: str, name: str, spec: dict[str, Any], namespace: str) -> None:
        """Put an object as a store would, which leaves out what is wrong on its own."""
        with contextlib.suppress(DocumentError):
            self.put(source, make(kind, name, spec, namespace))

    def put(self, source: str, *objects: ConfigObject) -> None:
        self.give(source, self.objects[source] | {obj.key: obj for obj in objects})

    @rule(
        source=st.sampled_from(SOURCES),
        name=st.sampled_from("pq"),
        ns=st.sampled_from(NAMESPACES),
        spec=entry,
        ends=endpoints,
    )
    def service(self, source: str, name: str, ns: str, spec: dict[str, Any], ends: list[Any]) -> None:
        self.specs[ObjectKey("ServiceEntry", ns, name)] = spec
        self.submit(source, "ServiceEntry", name, spec | {"endpoints": ends}, ns)

    @rule(source=st.sampled_from(SOURCES), name=st.sampled_from("pq"), ns=st.sampled_from(NAMESPACES), spec=entry)
    def selecting_service(self, source: str, name: str, ns: str, spec: dict[str, Any]) -> None:
        selector = {"workloadSelector": {"labels": {"app": name}}}
        self.submit(source, "ServiceEntry", name, spec | selector | {"resolution": "STATIC"}, ns)

    @rule(source=st.sampled_from(SOURCES), data=st.data(), ends=endpoints)
    def instances(self, source: str, data: st.DataObject, ends: list[Any]) -> None:
        known = sorted(key for key in self.objects[source] if key in self.specs and key.kind == "ServiceEntry")
        if known:
            key = data.draw(st.sampled_from(known))
            self.submit(source, "ServiceEntry", key.name, self.specs[key] | {"endpoints": ends}, key.namespace)

    @rule(
        source=st.sampled_from(SOURCES), name=st.sampled_from("wx"), ns=st.sampled_from(NAMESPACES),
        app=st.sampled_from("pq"), spec=endpoint,
    )  # fmt: skip
    def workload(self, source: str, name: str, ns: str, app: str, spec: dict[str, Any]) -> None:
        self.submit(source, "WorkloadEntry", name, spec | {"labels": spec["labels"] | {"app": app}}, ns)

    @rule(host=st.sampled_from(HOSTS), subsets=st.sets(st.sampled_from(VERSIONS), min_size=1))
    def subsets(self, host: str, subsets: set[str]) -> None:
        self.put(SOURCES[0], destination_rule(host, *sorted(subsets)))

    @rule(host=st.sampled_from(HOSTS), shares=st.booleans(), mutual=st.booleans())
    def places(self, host: str, shares: bool, mutual: bool) -> None:
        distribute = [{"from": "r/z1", "to": {"r/z1": 90, "r/z2": 10}}] if shares else []
        balancer = {"loadBalancer": {"localityLbSetting": {"distribute": distribute}}, "outlierDetection": {}}
        tls = {"tls": {"mode": "ISTIO_MUTUAL"}} if mutual else {}
        self.put(SOURCES[0], destination_rule(host, trafficPolicy=balancer | tls))

    @rule(host=st.sampled_from(HOSTS), to=st.sampled_from(HOSTS), path=st.sampled_from(["/a", "/b"]))
    def delegated(self, host: str, to: str, path: str) -> None:
        destination = {"destination": {"host": to, "port": {"number": 8080}}}
        team = make(
            "VirtualService", "team", {"http": [{"match": [{"uri": {"prefix": path}}], "route": [destination]}]}
        )
        self.put(SOURCES[0], team, virtual_service(host, {"delegate": {"name": "team"}}, {"route": [destination]}))

    @rule(
        host=st.sampled_from(HOSTS), name=st.sampled_from("pq"), ns=st.sampled_from(NAMESPACES), at_edge=st.booleans()
    )
    def http_route(self, host: str, name: str, ns: str, at_edge: bool) -> None:
        parent = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": name, "namespace": "default"}
        if at_edge:
            parent |= {"kind": "Gateway", "name": "edge"}
        backend = {"group": "networking.istio.io", "kind": "Hostname", "name": host, "port": 8080}
        self.put(
            SOURCES[0], make("HTTPRoute", name, {"parentRefs": [parent], "rules": [{"backendRefs": [backend]}]}, ns)
        )

    @rule(host=st.sampled_from(HOSTS), to=st.sampled_from(HOSTS))
    def route(self, host: str, to: str) -> None:
        destination = {"destination": {"host": to, "port": {"number": 8080}}}
        self.put(SOURCES[0], virtual_service(host, {"route": [destination]}))

    @rule(name=st.sampled_from("pq"), ns=st.sampled_from((*NAMESPACES, "istio-system")), selected=st.booleans())
    def policy(self, name: str, ns: str, selected: bool) -> None:
        selector = {"selector": {"matchLabels": {"app": name}}} if selected else {}
        self.put(SOURCES[0], make("AuthorizationPolicy", name, {"action": "DENY", "rules": [{}]} | selector, ns))

    @rule(
        name=st.sampled_from("pq"),
        ns=st.sampled_from((*NAMESPACES, "istio-system")),
        listed=st.sampled_from(["*/*", "./*", "*/a.shop"]),
    )
    def sidecar(self, name: str, ns: str, listed: str) -> None:
        ingress = {"port": {"number": 9000, "name": "a", "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:8080"}
        spec = {"egress": [{"hosts": [listed]}], "ingress": [ingress], "workloadSelector": {"labels": {"app": name}}}
        self.put(SOURCES[0], make("Sidecar", name, spec, ns))

    @rule(app=st.sampled_from("pq"), ns=st.sampled_from(NAMESPACES))
    def workload_group(self, app: str, ns: str) -> None:
        template = {"labels": {"version": "v1"}, "ports": {"http": 1}}
        self.put(
            SOURCES[0], make("WorkloadGroup", app, {"metadata": {"labels": {"app": app}}, "template": template}, ns)
        )

    @rule(host=st.sampled_from(HOSTS), to=st.sampled_from(HOSTS), port=st.sampled_from([80, 81]))
    def gateway(self, host: str, to: str, port: int) -> None:
        server = {"port": {"number": port, "name": "a", "protocol": "HTTP"}, "hosts": ["*"]}
        target = [{"destination": {"host": to, "port": {"number": 8080}}}]
        bound = virtual_service(host, {"route": target}, name=f"edge-{host}", gateways=["edge", "mesh"])
        self.put(SOURCES[0], make("Gateway", "edge", {"servers": [server]}), bound)

    @rule(seconds=st.integers(1, 3), host=st.sampled_from(HOSTS), operation=st.sampled_from(["MERGE", "REMOVE"]))
    def patch(self, seconds: int, host: str, operation: str) -> None:
        value = {"value": {"connect_timeout": f"{seconds}s"}} if operation == "MERGE" else {}
        patch = {
            "applyTo": "CLUSTER",
            "match": {"cluster": {"service": host}},
            "patch": {"operation": operation} | value,
        }
        self.put(SOURCES[0], make("EnvoyFilter", "patch", {"configPatches": [patch]}))

    @rule(source=st.sampled_from(SOURCES), data=st.data())
    def delete(self, source: str, data: st.DataObject) -> None:
        if self.objects[source]:
            gone = data.draw(st.sampled_from(sorted(self.objects[source])))
            self.give(source, {key: obj for key, obj in self.objects[source].items() if key != gone})

    @rule(source=st.sampled_from(SOURCES))
    def several_at_once(self, source: str) -> None:
        """Workloads go while services change."""
        kept = {key: obj for key, obj in self.objects[source].items() if key.kind != "WorkloadEntry"}
        self.give(source, kept)

    @rule(scope=st.sampled_from(SCOPES))
    def scope_comes(self, scope: Scope) -> None:
        if scope not in self.server.used:
            self.server.used.add(scope)
            self.publisher.scope_needed(scope)

    @rule(scope=st.sampled_from(SCOPES))
    def scope_goes(self, scope: Scope) -> None:
        self.server.used.discard(scope)
        self.server.snapshots.pop(scope, None)

    @invariant()
    def equals_a_rebuild_from_nothing(self) -> None:
        world = self.publisher.world
        self.expected = admit(world.objects, self.expected, MeshSettings())
        admission = world.admission
        assert admission == self.expected
        assert list(admission.model.services) == list(self.expected.model.services)
        instances = InstanceIndex()
        instances.follow(self.expected.model.services)
        for scope in self.server.used:
            translation = translate(self.expected.model, narrow(self.expected.model, scope, instances))
            served = self.server.snapshots[scope]
            scratch = build(translation.messages)
            assert {url: bodies(served, url) for url in translation.messages} == {
                url: bodies(scratch, url) for url in translation.messages
            }
            assert served.version == scratch.version
            for (type_url, name), origins in translation.origins.items():
                assert self.publisher.origins(scope, type_url, (name,)) == origins


def bodies(snapshot: Snapshot, type_url: str) -> list[tuple[str, str, bytes, tuple[str, ...]]]:
    """All that clients can tell of a collection, in its order."""
    return [(r.name, r.version, r.body, r.references) for r in snapshot.collection(type_url).resources.values()]


TestIncremental = Incremental.TestCase
TestIncremental.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_an_entry_that_lost_a_port_does_not_get_it_back_with_new_instances() -> None:
    machine = Incremental()
    for ends in ([{"address": "10.0.0.1"}], [{"address": "10.0.0.2"}]):
        for name, host in zip("pq", HOSTS, strict=False):
            ports = [{"name": "tcp", "protocol": "TCP", "number": 3306}]
            machine.submit(
                SOURCES[0],
                "ServiceEntry",
                name,
                {"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": ends},
                "default",
            )
            machine.equals_a_rebuild_from_nothing()
    assert machine.publisher.counters.patches
