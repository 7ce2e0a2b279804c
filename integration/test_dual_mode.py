"""Dual mode end to end: two applications that registered themselves in ZooKeeper, sidecars before them that registered with the bridge, a
consumer with an SDK and one with a sidecar. A policy moves them between native and mesh addresses, under load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from kazoo.client import KazooClient

from demo import bootstraps
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, ControlPlane, Proxy
from harness.load import Load, Target
from harness.origin import Origin
from harness.ports import free_port
from harness.sdk_consumer import SdkConsumer
from harness.zookeeper import ZooKeeper
from test_registry_api_java import with_registry_api

pytestmark = pytest.mark.peer("zookeeper")
INTERFACE, HOST = "shop.Greeter", "shop.greeter"
VIA = {"header": {"key": "x-via", "value": "sidecar"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


@dataclass
class Application:
    """One application with its sidecar: where each takes requests."""

    native: str
    mesh: str
    sidecar: Proxy


@dataclass
class World:
    """Everything, running."""

    home: Path
    zookeeper: ZooKeeper
    client: KazooClient
    bridge: Bridge
    control_plane: ControlPlane
    applications: list[Application]
    mesh_consumer: str

    def apply(self, sdk: list[str], mesh: list[str], **more: Any) -> str:
        """``isthmusctl apply`` of a policy; returns what it printed."""
        spec = {"host": HOST, "sdk": {"prefer": sdk}, "mesh": {"prefer": mesh}, "overlap": "2s", **more}
        return self.apply_spec(spec)

    def apply_spec(self, spec: dict[str, Any]) -> str:
        document = {
            "apiVersion": "isthmus.io/v1alpha1",
            "kind": "DualMode",
            "metadata": {"name": "greeter"},
            "spec": spec,
        }
        path = self.home / "policy.yaml"
        path.write_text(json.dumps(document))  # which is YAML, too
        done = self.control_plane.ctl("apply", "-f", path)
        return done.stdout + done.stderr

    def page(self) -> Any:
        """The bridge's page of the service."""
        page = json.loads(self.bridge.admin(f"/dualmode?host={HOST}").text)
        return page["services"].get(f"default/{HOST}", {"instances": []})

    def shown(self, side: str) -> list[str]:
        """All addresses that a side is shown: ``sdk`` or ``mesh_shown``."""
        return sorted(address for one in self.page()["instances"] for address in one[side])

    def addresses(self, choice: str) -> list[str]:
        """The ``native`` or the ``mesh`` addresses."""
        return sorted(getattr(one, choice) for one in self.applications)

    def through_sidecars(self) -> set[bool]:
        """Whether requests of the mesh consumer pass the providers' sidecars: of eight of them."""
        answers = [fetch(self.mesh_consumer, "/", headers={"host": HOST}) for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        return {answer.header("x-via") == "sidecar" for answer in answers}


def inbound(name: str, listen: str, application: str, bridge: str, registry_api: dict[str, Any]) -> dict[str, Any]:
    """The bootstrap of a provider's sidecar, which says on each answer that it passed."""
    config = bootstraps.service_sidecar(name, listen, application)
    filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    filters[0]["typed_config"]["route_config"]["response_headers_to_add"] = [VIA]
    config["static_resources"]["clusters"].append(
        {**bootstraps.static_cluster("bridge", bridge), "http2_protocol_options": {}}
    )
    config = with_registry_api(config, registration_clusters=["bridge"], keep_alive="1s", **registry_api)
    config["node"] = {"id": bootstraps.node_id(name), "cluster": name}
    return config


def publish(port: int) -> None:
    """What the application's SDK tells its sidecar."""
    eventually(lambda: fetch(f"127.0.0.1:{port}", "/services").status == 200, what="the registry API")
    for path, body in (
        ("/configs/application", {"appName": "greeter-app"}),
        ("/services/publish", {"serviceName": INTERFACE, "protocolType": "rest", "providerMetaInfo": {}}),
    ):
        answer = json.loads(fetch(f"127.0.0.1:{port}", path, method="POST", body=json.dumps(body).encode()).text)
        assert answer["success"], answer


def register(client: KazooClient, address: str) -> None:
    """What the application's SDK writes into ZooKeeper itself."""
    parameters = f"application=greeter-app&interface={INTERFACE}&side=provider&dynamic=true"
    url = f"rest://{address}/{INTERFACE}?{parameters}"
    client.create(f"/dubbo/{INTERFACE}/providers/{quote(url, safe='')}", ephemeral=True, makepath=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("dual")
    grpc, port = f"127.0.0.1:{free_port()}", free_port()
    with ExitStack() as stack:
        zookeeper = stack.enter_context(ZooKeeper())
        client = KazooClient(hosts=zookeeper.address)
        client.start(20)
        stack.callback(client.close)
        stack.callback(client.stop)
        client.ensure_path("/dubbo")
        more = {
            "registration": {"grace_s": 1},
            "backsync": {"cluster": "east", "registries": ["zoo"], "overlap_s": 1},
            "dual_mode": {"control_plane": f"xds://{grpc}", "overrides": ["zoo"]},
            "warm_start": {"path": str(home / "warm")},
            "debounce": {"quiet_ms": 10, "longest_ms": 100},
        }
        registry = {"name": "zoo", "zookeeper": {"servers": zookeeper.address, "session_timeout_s": 4}}
        bridge = stack.enter_context(
            Bridge([registry], home, more=more, mcp=f"127.0.0.1:{free_port()}", admin=f"127.0.0.1:{free_port()}")
        )
        control_plane = stack.enter_context(ControlPlane("memory:", home, mcp=[bridge.mcp_address], grpc=grpc))
        applications = []
        for number in range(2):
            origin = stack.enter_context(Origin("greeter", "v1", home, instance=f"greeter-{number}"))
            register(client, origin.address)
            mesh, api = free_port(), free_port()
            native_port = int(origin.address.rpartition(":")[2])
            registry_api = {"sofa_port": api, "inbound_port": mesh, "native_port": native_port}
            config = inbound(f"greeter-{number}", f"127.0.0.1:{mesh}", origin.address, bridge.mcp_address, registry_api)
            sidecar = stack.enter_context(Proxy(config, home, name=f"sidecar-{number}"))
            publish(api)
            applications.append(Application(origin.address, f"127.0.0.1:{mesh}", sidecar))
        consumer = bootstraps.client_sidecar("consumer", port, grpc)
        stack.enter_context(Proxy(consumer, home, name="consumer"))
        found = World(home, zookeeper, client, bridge, control_plane, applications, f"127.0.0.1:{port}")
        eventually(lambda: fetch(found.mesh_consumer, "/", headers={"host": HOST}).status == 200, what="the service")
        eventually(lambda: len(found.page()["instances"]) == 2, what="two instances")
        yield found


def entries(world: World, folder: str) -> set[str]:
    """The names below a folder of the interface."""
    return set(world.client.get_children(f"/dubbo/{INTERFACE}/{folder}"))


def test_every_side_follows_the_policy_under_load_without_a_failed_request(world: World) -> None:
    """SDK -> SDK, SDK -> mesh, mesh -> SDK, mesh -> mesh, and back, with both consumers calling all the time."""
    world.apply(["native"], ["native"])
    eventually(lambda: world.shown("sdk") == world.addresses("native"), what="the first policy")
    foreign = {name for name in entries(world, "providers") if "isthmus." not in name}
    assert len(foreign) == 2
    moves = [("native", "mesh"), ("mesh", "mesh"), ("mesh", "native"), ("native", "native"), ("mesh", "mesh")]
    with (
        SdkConsumer(world.zookeeper.address, INTERFACE) as sdk,
        Load(Target(world.mesh_consumer, "/", HOST, connections=4, rate=100)) as load,
    ):
        eventually(lambda: sdk.addresses == world.addresses("native"), what="the SDK's first view")
        for sdk_choice, mesh_choice in moves:
            printed = world.apply([sdk_choice], [mesh_choice])
            assert "DualMode default/greeter" in printed
            eventually(lambda: world.shown("sdk") == world.addresses(sdk_choice), what=f"SDK -> {sdk_choice}")  # noqa: B023
            eventually(lambda: sdk.addresses == world.addresses(sdk_choice), what=f"the registry -> {sdk_choice}")  # noqa: B023
            passing = {mesh_choice == "mesh"}
            eventually(lambda: world.through_sidecars() == passing, what=f"mesh -> {mesh_choice}")  # noqa: B023
            load.sample(f"{sdk_choice}-{mesh_choice}", 100)
        total = load.stop()
    assert total.failed == 0, list(total.failures)[:3]
    assert not sdk.failures, list(sdk.failures)[:3]
    assert sdk.without_address == 0
    assert all(sdk.calls[address] for one in world.applications for address in (one.native, one.mesh))
    assert foreign <= entries(world, "providers"), "a foreign entry was touched"


def test_a_share_is_counted_the_same_way_for_both_sides(world: World) -> None:
    half = {"rules": [{"name": "half", "percent": 50, "prefer": ["mesh"]}], "prefer": ["native"]}
    world.apply_spec({"host": HOST, "sdk": half, "mesh": half, "overlap": "0s"})
    eventually(lambda: world.page()["mesh_share_mesh"] == 0.5, what="the share")
    page = world.page()
    assert page["sdk_share_mesh"] == 0.5
    assert sorted(one["rule"] for one in page["instances"]) == ["half", "prefer"]
    assert [one["sdk"] for one in page["instances"]] == [one["mesh_shown"] for one in page["instances"]]
    eventually(lambda: world.through_sidecars() == {True, False}, what="requests that go either way")


def test_policies_stay_while_the_control_plane_is_away_and_over_a_restart_of_the_bridge(world: World) -> None:
    world.apply(["native"], ["mesh", "native"])
    eventually(lambda: world.shown("mesh_shown") == world.addresses("mesh"), what="the policy")
    world.control_plane.kill()
    try:
        world.bridge.stop()
        world.bridge.restart()
        eventually(lambda: len(world.page()["instances"]) == 2, what="the instances after the restart")
        eventually(lambda: world.shown("mesh_shown") == world.addresses("mesh"), what="the same as before")
        assert {one["policy"] for one in world.page()["instances"]} == {"default/greeter"}
        policies = json.loads(world.bridge.admin("/dualmode").text)["policies"]
        assert (policies["live"], list(policies["versions"])) == (False, ["default/greeter"])
        assert policies["age_s"] > 0
    finally:
        world.control_plane.restart()
    eventually(lambda: json.loads(world.bridge.admin("/dualmode").text)["policies"]["live"], what="the control plane")


def test_a_killed_sidecar_gives_way_to_its_application(world: World) -> None:
    """Both consumers reach the instance at its native address; the mesh consumer loses nothing, for it retries."""
    world.apply(["mesh", "native"], ["mesh", "native"])
    retry = {"attempts": 3, "retryOn": "connect-failure,reset", "perTryTimeout": "2s"}
    # Without this a retry may well choose the dead one again: of all it has the fewest requests.
    in_turn = {"loadBalancer": {"simple": "ROUND_ROBIN"}, "connectionPool": {"http": {"maxRetries": 100}}}
    path = world.home / "retry.yaml"
    path.write_text(
        yaml.safe_dump_all(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": kind,
                "metadata": {"name": "greeter"},
                "spec": spec,
            }
            for kind, spec in (
                (
                    "VirtualService",
                    {"hosts": [HOST], "http": [{"route": [{"destination": {"host": HOST}}], "retries": retry}]},
                ),
                ("DestinationRule", {"host": HOST, "trafficPolicy": in_turn}),
            )
        )
    )
    world.control_plane.ctl("apply", "-f", path)
    world.control_plane.ctl("wait", "--applied")
    victim, other = world.applications
    with (
        SdkConsumer(world.zookeeper.address, INTERFACE) as sdk,
        Load(Target(world.mesh_consumer, "/", HOST, connections=4, rate=100)) as load,
    ):
        eventually(lambda: sdk.addresses == world.addresses("mesh"), what="the SDK's view")
        eventually(lambda: world.through_sidecars() == {True}, what="the mesh's view")
        load.sample("before", 100)
        killed = time.monotonic()
        victim.sidecar.kill()
        expected = sorted([victim.native, other.mesh])
        eventually(lambda: world.shown("mesh_shown") == expected, what="the native address for the mesh")
        eventually(lambda: sdk.addresses == expected, what="the native address for SDKs")
        after_s = time.monotonic() - killed
        lost = len(sdk.failures)
        load.sample("after", 100)
        calls = sdk.calls[victim.native]
        eventually(lambda: sdk.calls[victim.native] > calls, what="calls of the native address")
        total = load.stop()
    print(f"native address shown {after_s:.2f} s after the kill; an SDK consumer without retries lost {lost} requests")
    assert total.failed == 0, list(total.failures)[:3]
    assert len(sdk.failures) == lost, "failures after the native address was shown"
