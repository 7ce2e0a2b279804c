"""A real Dubbo consumer with ZooKeeper follows a policy: its provider registered itself, the sidecar before that with the bridge.

Dubbo honours ``disabled=true`` of the configurators that the bridge writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from kazoo.client import KazooClient

from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, Proxy
from harness.java import Consumer, Provider
from harness.ports import free_port
from harness.zookeeper import ZooKeeper
from test_registry_api_java import with_registry_api
from test_rpc_java import bootstrap, cluster, listener, to

pytestmark = pytest.mark.peer("zookeeper")
INTERFACE = "mesh.isthmus.apps.Greeter"
POLICY = """
apiVersion: isthmus.io/v1alpha1
kind: DualMode
metadata: {name: greeter}
spec: {host: mesh.isthmus.apps.greeter, sdk: {prefer: [%s]}, overlap: 5s}
"""


@dataclass
class World:
    """The consumer, and what it consumes."""

    policies: Path
    bridge: Bridge
    client: KazooClient
    consumer: Consumer
    sidecar: Proxy

    def prefer(self, *order: str) -> None:
        """Change the policy."""
        scratch = self.policies / ".greeter"
        scratch.write_text(POLICY % ", ".join(order))
        scratch.rename(self.policies / "greeter.yaml")

    def answers(self) -> set[str]:
        """Who answers eight calls; a call that fails is an answer of its own."""
        return {self.consumer.call("greet", "hello") for _ in range(8)}

    def names(self, folder: str) -> set[str]:
        """What stands in the registry."""
        return set(self.client.get_children(f"/dubbo/{INTERFACE}/{folder}"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sidecar hands calls to another application than the one it registers for: so answers tell which way they came."""
    home = tmp_path_factory.mktemp("dubbo")
    policies = home / "policies"
    policies.mkdir()
    blue, green, mesh, api = (free_port() for _ in range(4))
    with ExitStack() as stack:
        zookeeper = stack.enter_context(ZooKeeper())
        client = KazooClient(hosts=zookeeper.address)
        client.start(20)
        stack.callback(client.close)
        stack.callback(client.stop)
        client.ensure_path("/dubbo")
        bridge = stack.enter_context(
            Bridge(
                [{"name": "zoo", "zookeeper": {"servers": zookeeper.address}}],
                home,
                more={
                    "registration": {"grace_s": 1},
                    "backsync": {"cluster": "east", "registries": ["zoo"], "overlap_s": 1},
                    "dual_mode": {"policies": str(policies), "overrides": ["zoo"]},
                    "debounce": {"quiet_ms": 10, "longest_ms": 100},
                },
            )
        )
        stack.enter_context(Provider("DubboRegistryApp", "native", blue, home, zookeeper.address))
        stack.enter_context(Provider("DubboApp", "meshed", green, home))
        registration = {**cluster("bridge", int(bridge.mcp_address.rpartition(":")[2])), "http2_protocol_options": {}}
        config = bootstrap(
            [listener("in", mesh, "dubbo", [to("application")])], [cluster("application", green), registration]
        )
        config = with_registry_api(
            config,
            dubbo_port=api,
            inbound_port=mesh,
            native_port=blue,
            registration_clusters=["bridge"],
        )
        sidecar = stack.enter_context(Proxy(config, home, name="sidecar"))
        consumer = stack.enter_context(Consumer("DubboRegistryApp", home, zookeeper.address))
        found = World(policies, bridge, client, consumer, sidecar)
        found.prefer("native", "mesh")
        # Without a policy the sidecar would be shown as soon as it registers.
        eventually(lambda: bool(policy_versions(found)), what="the policy")
        eventually(lambda: found.answers() == {"ok native hello"}, what="the provider that registered itself")
        eventually(lambda: fetch(f"127.0.0.1:{api}", "/health").status > 0, what="the registry API")
        service = {"interface": INTERFACE, "methods": ["greet"]}
        answer = fetch(
            f"127.0.0.1:{api}",
            "/pub",
            method="POST",
            body=json.dumps({"application": "isthmus-provider", "service": service}).encode(),
        )
        assert answer.status == 200, answer.text
        yield found


def written(world: World) -> list[str]:
    """The configurators that the bridge has written."""
    return [one for one in world.names("configurators") if "isthmus.bridge" in one]


def test_a_dubbo_consumer_is_moved_to_the_mesh_and_back_without_a_failed_call(world: World) -> None:
    eventually(lambda: len(sides(world)) == 2, what="both addresses")
    assert world.answers() == {"ok native hello"}
    world.prefer("mesh", "native")
    seen = set[str]()

    def moved(only: str) -> bool:
        answers = world.answers()
        seen.update(answers)
        return answers == {f"ok {only} hello"}

    eventually(lambda: moved("meshed"), what="calls that go to the sidecar alone")
    eventually(lambda: len(written(world)) == 1, what="one configurator of the bridge")
    world.prefer("native", "mesh")
    eventually(
        lambda: moved("native") and not world.names("configurators"), what="calls that go to the application alone"
    )
    assert seen <= {"ok native hello", "ok meshed hello"}


def test_a_killed_sidecar_gives_way_to_the_application(world: World) -> None:
    world.prefer("mesh", "native")
    eventually(lambda: world.answers() == {"ok meshed hello"}, what="calls that go to the sidecar")
    world.sidecar.kill()
    eventually(lambda: world.answers() == {"ok native hello"}, what="calls that go to the application")
    eventually(lambda: not world.names("configurators"), what="nothing hidden")


def policy_versions(world: World) -> dict[str, str]:
    """What the bridge goes by."""
    versions: dict[str, str] = yaml.safe_load(world.bridge.admin("/dualmode").text)["policies"]["versions"]
    return versions


def sides(world: World) -> set[str]:
    """The sides of the one instance that have an address."""
    page = yaml.safe_load(world.bridge.admin("/dualmode").text)["services"]
    return {
        side
        for one in page.values()
        for each in one["instances"]
        for side in ("native", "mesh")
        if each[side] is not None
    }
