"""What hides native addresses from Dubbo consumers, and that such a consumer and a sidecar decide alike.

``DubboConsumer`` is a reading of Dubbo's rules (2.7 and 3: ``RegistryDirectory``, ``AbstractConfigurator``) that shares no code with the
bridge: the real one is in the integration tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from urllib.parse import SplitResult, parse_qsl, quote_plus, unquote_plus, urlsplit

import pytest

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.dualmode.override_writer import OverrideWriter
from isthmus_mcp_bridge.dualmode.overrides import Hidden, hidden, registered, steps
from isthmus_mcp_bridge.dualmode.policy import Choice, Override, Policy, Rule, View
from isthmus_mcp_bridge.events import SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Side
from isthmus_mcp_bridge.registries.dubbo.overrides import parse_override
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.client import Children
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory, InterfaceNodes
from isthmus_mcp_bridge.testing.eventually import eventually

KEY = ServiceKey("default", "com.example.greeter")
INTERFACE = "/dubbo/com.example.Greeter"
N, M, G = Choice.NATIVE, Choice.MESH, Choice.GATEWAY
GATEWAY = Address("10.9.0.1", 80)
EVERY = frozenset({"*"})


def provider(address: Address, **parameters: str) -> str:
    known = {"application": "greeter-app", "interface": "com.example.Greeter", "dynamic": "true"} | parameters
    query = "&".join(f"{key}={value}" for key, value in known.items())
    return quote_plus(f"dubbo://{address}/com.example.Greeter?{query}")


@dataclasses.dataclass
class DubboConsumer:
    """Which providers a Dubbo consumer calls."""

    providers: list[str]
    configurators: list[str]

    def calls(self) -> set[str]:
        found = set()
        for name in self.providers:
            url = urlsplit(unquote_plus(name))
            parameters = dict(parse_qsl(url.query))
            for each in sorted(self.configurators):
                parameters |= self._configured(urlsplit(unquote_plus(each)), url.hostname, url.port, parameters)
            disabled = parameters.get("disabled")
            if disabled != "true" if disabled is not None else parameters.get("enabled", "true") == "true":
                found.add(f"{url.hostname}:{url.port}")
        return found

    @staticmethod
    def _configured(url: SplitResult, host: str | None, port: int | None, parameters: dict[str, str]) -> dict[str, str]:
        assert url.scheme == "override"
        query = dict(parse_qsl(url.query))
        if query.get("enabled", "true") != "true" or (url.port, url.hostname) != (port, host):
            return {}
        if query.get("application", parameters["application"]) != parameters["application"]:
            return {}
        conditions = {"category", "check", "dynamic", "enabled", "group", "version", "application", "side"}
        return {key: value for key, value in query.items() if key not in conditions}


class Mesh:
    """Instances whose applications registered themselves in ZooKeeper and whose sidecars registered with the bridge, which wrote their
    addresses back; and a policy."""

    def __init__(self, *instances: tuple[bool, bool]) -> None:
        """Each is whether its native and its mesh address are up."""
        self.native = [Address(f"10.0.0.{n}", 20880) for n in range(len(instances))]
        self.mesh = [Address(f"10.0.0.{n}", 20881) for n in range(len(instances))]
        self.up = instances
        self.catalog = Catalog(["zk", "registration"])
        self.listed = [provider(a) for a, (up, _) in zip(self.native, instances, strict=True) if up]
        nodes = InterfaceNodes("com.example.Greeter", INTERFACE, Children(tuple(self.listed)), Children(()))
        directory = Directory("zk", NamingRule(), {})
        self.catalog.apply(SourceListed("zk", directory.replace([nodes])))
        port = ServicePort("dubbo-tcp", 20880, "TCP")
        presences = [Presence.UP if up else Presence.UNHEALTHY for _, up in instances]
        sidecars = tuple(
            EndpointClaim("dubbo-tcp", a.host, a.port, presence=p, side=Side.MESH, instance=f"i{n}")
            for n, (a, p) in enumerate(zip(self.mesh, presences, strict=True))
        )
        report = dataclasses.replace(
            next(iter(directory.replace([nodes]).values())), claims=(ServiceClaim(KEY, (port,), sidecars),)
        )
        self.catalog.apply(SourceListed("registration", {"o": report}))

    def decide(self, *policies: Policy) -> None:
        self.catalog.replace_policies(policies)
        self.catalog.take_changes(100)

    def sidecar_calls(self) -> set[str]:
        merged = self.catalog.services[KEY]
        return {f"{one.address}:{port}" for one in merged.workloads for _, port in one.ports}

    def written_back(self) -> list[str]:
        """The mesh addresses (and gateways) that SDK consumers are shown, as entries of the registry."""
        shown = {
            a
            for decision in self.catalog.dual_modes.decisions[KEY].values()
            for one in decision.instances.values()
            for a in one.sdk.addresses
        }
        return [provider(address, **{"isthmus.path": "a"}) for address in sorted(shown - set(self.native))]

    def hidden(self, replica: str = "r1") -> frozenset[Hidden]:
        return hidden(self.catalog.dual_modes.decisions[KEY], self.catalog.claims(KEY), "zk", replica)

    def consumer(self) -> DubboConsumer:
        there = [*self.listed, *self.written_back()]
        return DubboConsumer(there, list(steps(self.hidden(), there, [], "r1").create))


def policy(view: View, **more: object) -> Policy:
    return Policy("default", "p", namespaces=EVERY, sdk=view, mesh=view, gateway=GATEWAY, **more)  # type: ignore[arg-type]


BOTH, ALONE, DEAD = (True, True), (True, False), (False, True)
RULES: dict[str, tuple[list[tuple[bool, bool]], list[Policy], set[str]]] = {
    "native": ([BOTH], [policy(View((), (N,)))], {"10.0.0.0:20880"}),
    "mesh": ([BOTH], [policy(View((), (M,)))], {"10.0.0.0:20881"}),
    "mesh, dead sidecar": ([ALONE], [policy(View((), (M, N)))], {"10.0.0.0:20880"}),
    "native, dead application port": ([DEAD], [policy(View((), (N, M)))], {"10.0.0.0:20881"}),
    "gateway": ([BOTH], [policy(View((), (G,)))], {"10.9.0.1:80"}),
    "host": ([BOTH], [policy(View((), (M,)), host=KEY.host)], {"10.0.0.0:20881"}),
    "application": ([BOTH], [policy(View((), (M,)), application="greeter-app")], {"10.0.0.0:20881"}),
    "override of one instance": (
        [BOTH, BOTH],
        [policy(View((), (N,)), overrides=(Override("10.0.0.1:20880", (M,), (M,)),))],
        {"10.0.0.0:20880", "10.0.0.1:20881"},
    ),
    "narrowest policy": (
        [BOTH],
        [policy(View((), (N,)), host=KEY.host), dataclasses.replace(policy(View((), (M,))), name="q")],
        {"10.0.0.0:20880"},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_sdk_consumer_and_a_sidecar_decide_alike(rule: str) -> None:
    instances, policies, expected = RULES[rule]
    mesh = Mesh(*instances)
    mesh.decide(*policies)
    assert mesh.sidecar_calls() == expected
    assert mesh.consumer().calls() == expected


@pytest.mark.parametrize("percent", [0, 10, 35, 100])
def test_shares_take_the_same_instances_on_both_sides(percent: int) -> None:
    mesh = Mesh(*[BOTH] * 20)
    mesh.decide(policy(View((Rule("r", percent, (M,)),), (N,))))
    assert mesh.consumer().calls() == mesh.sidecar_calls()
    assert sum(address.endswith(":20881") for address in mesh.sidecar_calls()) == percent * 20 // 100


def test_both_addresses_are_valid_for_both_sides_while_one_drains() -> None:
    mesh = Mesh(BOTH)
    mesh.decide(policy(View((), (N,))))
    mesh.decide(policy(View((), (M,))))
    both = {"10.0.0.0:20880", "10.0.0.0:20881"}
    assert mesh.sidecar_calls() == both
    assert mesh.consumer().calls() == both


def test_without_a_policy_about_sdk_consumers_nothing_is_hidden() -> None:
    mesh = Mesh(BOTH)
    mesh.decide()
    assert mesh.hidden() == frozenset()
    mesh.decide(Policy("default", "p", namespaces=EVERY, mesh=View((), (M,))))
    assert mesh.hidden() == frozenset()


def test_nothing_is_hidden_before_what_is_shown_instead_is_registered() -> None:
    mesh = Mesh(BOTH)
    mesh.decide(policy(View((), (M,))))
    assert steps(mesh.hidden(), mesh.listed, [], "r1").create == ()
    disabled = provider(mesh.mesh[0], disabled="true")
    assert steps(mesh.hidden(), [*mesh.listed, disabled], [], "r1").create == ()


def test_only_nodes_with_our_own_mark_are_ever_deleted() -> None:
    mesh = Mesh(BOTH)
    mesh.decide(policy(View((), (M,))))
    there = [*mesh.listed, *mesh.written_back()]
    (ours,) = steps(mesh.hidden("r1"), there, [], "r1").create
    (theirs,) = steps(mesh.hidden("r2"), there, [], "r2").create
    foreign = quote_plus("override://10.0.0.0:20880/com.example.Greeter?category=configurators&disabled=true")
    assert steps((), there, [ours, theirs, foreign, "%%%"], "r1").delete == (ours,)
    assert steps(mesh.hidden("r1"), there, [ours, theirs, foreign], "r1") == steps(
        mesh.hidden("r1"), there, [ours, theirs, foreign], "r1"
    )
    assert steps(mesh.hidden("r1"), there, [ours], "r1").create == ()


def test_what_bridges_write_does_not_make_a_provider_look_dead_to_them() -> None:
    mesh = Mesh(BOTH)
    mesh.decide(policy(View((), (M,))))
    (one,) = mesh.hidden()
    assert parse_override(one.node, "com.example.Greeter") is None
    unmarked = one.node.replace(quote_plus("&isthmus.bridge=r1"), "")
    assert parse_override(unmarked, "com.example.Greeter") is not None


@pytest.mark.parametrize(
    ("more", "operators", "presence"),
    [
        ({"disabled": "true", "isthmus.bridge": "r1"}, "", Presence.UP),
        ({"disabled": "true", "isthmus.bridge": "r1"}, "disabled=true", Presence.OFFLINE),
        ({"disabled": "true", "isthmus.bridge": "r1"}, "weight=0", Presence.OFFLINE),
        ({"disabled": "true"}, "", Presence.OFFLINE),
    ],
)
def test_a_provider_that_registered_anew_with_what_hides_it_is_up_all_the_same(
    more: dict[str, str], operators: str, presence: Presence
) -> None:
    """Dubbo's providers follow configurators, too, and put what these set into their own entry."""
    node = provider(Address("10.0.0.1", 20880), **more)
    override = quote_plus(f"override://10.0.0.1:20880/com.example.Greeter?category=configurators&{operators}")
    nodes = InterfaceNodes(
        "com.example.Greeter", INTERFACE, Children((node,)), Children((override,) if operators else ())
    )
    (report,) = Directory("zk", NamingRule(), {}).replace([nodes]).values()
    ((endpoint,),) = [claim.endpoints for claim in report.claims]
    assert endpoint.presence is presence
    assert not dict(endpoint.labels).get("isthmus.bridge")


def test_a_configurator_has_the_group_and_version_that_consumers_subscribe_with() -> None:
    url = Address("10.0.0.1", 20880)
    node = provider(url, group="g", version="1.0")
    assert registered([node, "%%"]) == {url}
    catalog = Catalog(["zk"])
    nodes = InterfaceNodes("com.example.Greeter", INTERFACE, Children((node,)), Children(()))
    catalog.apply(SourceListed("zk", Directory("zk", NamingRule(), {}).replace([nodes])))
    catalog.replace_policies([policy(View((), (G,)))])
    catalog.take_changes(10)
    (key,) = catalog.services
    (one,) = hidden(catalog.dual_modes.decisions[key], catalog.claims(key), "zk", "r1")
    assert unquote_plus(one.node) == (
        "override://10.0.0.1:20880/com.example.Greeter?category=configurators&disabled=true&enabled=true"
        "&dynamic=false&isthmus.bridge=r1&group=g&version=1.0"
    )
    assert (one.interface, one.instead) == (INTERFACE, (GATEWAY,))


class MemoryNodes:
    """A registry in memory."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.away = False
        self.closed = False

    def children(self, path: str) -> list[str]:
        if self.away:
            raise OSError("no connection")
        return [one.removeprefix(f"{path}/") for one in self.nodes if one.rpartition("/")[0] == path]

    def create(self, path: str) -> None:
        self.nodes.add(path)

    def delete(self, path: str) -> None:
        self.nodes.discard(path)

    def close(self) -> None:
        self.closed = True


@contextlib.asynccontextmanager
async def writing(nodes: MemoryNodes) -> AsyncIterator[OverrideWriter]:
    writer = OverrideWriter("zk", "r1", lambda: nodes)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.asyncio
async def test_the_writer_keeps_the_registry_in_step_and_repairs_it() -> None:
    mesh, nodes = Mesh(BOTH), MemoryNodes()
    mesh.decide(policy(View((), (M,))))
    (one,) = mesh.hidden()
    path = f"{INTERFACE}/configurators/{one.node}"
    nodes.away = True
    async with writing(nodes) as writer:
        writer.want(KEY, mesh.hidden())
        await eventually(lambda: writer.failures > 0, lambda: writer.failures)
        nodes.away = False
        nodes.nodes.update(f"{INTERFACE}/providers/{each}" for each in mesh.listed)
        await eventually(lambda: writer.failures and path not in nodes.nodes, lambda: nodes.nodes)
        nodes.nodes.update(f"{INTERFACE}/providers/{each}" for each in mesh.written_back())
        await eventually(lambda: path in nodes.nodes and writer.held == 1, lambda: nodes.nodes)
        nodes.nodes.discard(path)  # as when the session was lost
        await eventually(lambda: path in nodes.nodes, lambda: nodes.nodes)
        writer.want(KEY, frozenset())
        await eventually(lambda: path not in nodes.nodes and writer.held == 0, lambda: nodes.nodes)
        assert writer.removed == 1
    assert nodes.closed
