"""Everything that runs: ZooKeeper, applications, bridge, control plane, sidecars, and what an operator does with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from demo import bootstraps
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, ControlPlane, Proxy
from harness.ports import accepts, free_port
from harness.process import Process
from harness.sdk_consumer import callable_addresses
from harness.zookeeper import ZooKeeper
from isthmus_controlplane.ctl.client import Client, UnreachableError
from move.consumers import Consumer, Consumers
from move.cuttable import Cuttable
from move.directory import Directory
from test_registry_api_java import with_registry_api

INTERFACE, HOST = "shop.Greeter", "shop.greeter"
SETTLED_S = 60.0
"""How long an operator waits for anything: the machine may be busy."""
BRIDGE_SESSION_S = 4.0
OVERLAP_S = 2
RATE = 10.0
LOOK_S = 0.2
# The sidecar says on each answer that it passed; the application's own word stands there otherwise.
VIA = {"header": {"key": "x-version", "value": "mesh"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


@dataclass(slots=True)
class Instance:
    """One application, its addresses, and its sidecar while it has one."""

    number: int
    native: str
    mesh: str
    api: int
    sidecar: Proxy | None = None


class Stage:
    """See the module. Close ``stack`` to end it all."""

    def __init__(self, home: Path, stack: ExitStack, instances: int, consumers: int) -> None:
        self.home = home
        self.moved: set[int] = set()
        """The instances that the policy shows by their mesh addresses."""
        self._stack = stack
        self.zookeeper = stack.enter_context(ZooKeeper())
        self.client = KazooClient(hosts=self.zookeeper.address)
        self.client.start(30)
        stack.callback(self.client.close)
        stack.callback(self.client.stop)
        self.way = stack.enter_context(Cuttable(self.zookeeper.address))
        self._start_applications(instances)
        self._start_planes()
        self._start_consumers(consumers)

    def _start_applications(self, count: int) -> None:
        self.instances = [
            Instance(number, f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", free_port())
            for number in range(count)
        ]
        self._control = free_port()
        ports = [one.native.rpartition(":")[2] for one in self.instances]
        argv = [sys.executable, "-m", "move.applications", str(self._control), self.zookeeper.address, INTERFACE]
        applications = Process(
            "applications", [*argv, *ports], log=self.home / "applications.log", cwd=Path(__file__).parent.parent
        )
        self._stack.enter_context(applications)
        applications.wait_until(lambda: accepts("127.0.0.1", self._control), within=SETTLED_S, what="registered")

    def _start_planes(self) -> None:
        grpc, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        more = {
            "registration": {"grace_s": 3},
            "backsync": {"cluster": "east", "registries": ["zoo"], "overlap_s": OVERLAP_S},
            "dual_mode": {"control_plane": f"xds://{grpc}", "overrides": ["zoo"]},
            "warm_start": {"path": str(self.home / "warm")},
            "debounce": {"quiet_ms": 20, "longest_ms": 200},
        }
        registry = {
            "name": "zoo",
            "zookeeper": {"servers": self.way.address, "session_timeout_s": BRIDGE_SESSION_S},
        }
        mcp, bridge_admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.bridge = self._stack.enter_context(Bridge([registry], self.home, more=more, mcp=mcp, admin=bridge_admin))
        store = self.home / "objects"
        store.mkdir()
        self.control_plane = self._stack.enter_context(
            ControlPlane(f"dir:{store}", self.home, mcp=[mcp], grpc=grpc, admin=admin)
        )
        self.apply()
        eventually(lambda: len(self.page()) == len(self.instances), within=SETTLED_S, what="all instances")

    def _start_consumers(self, count: int) -> None:
        self.directories: list[Directory] = []
        self.consumer_sidecars: list[Proxy] = []
        found = [self._mesh_consumer(number) if number % 2 else self._sdk_consumer(number) for number in range(count)]
        for each in self.directories:
            eventually(
                lambda each=each: len(each.addresses) == len(self.instances),  # type: ignore[misc]
                within=SETTLED_S,
                what="all native addresses for SDKs",
            )
        self.consumers = Consumers(found)

    def _sdk_consumer(self, number: int) -> Consumer:
        directory = Directory(self.zookeeper.address, INTERFACE)
        self._stack.callback(directory.close)
        self.directories.append(directory)
        return Consumer(f"sdk-{number}", "sdk", lambda: directory.addresses, HOST, RATE)

    def _mesh_consumer(self, number: int) -> Consumer:
        name, port = f"consumer-{number}", free_port()
        config = bootstraps.client_sidecar(name, port, self.control_plane.grpc_address, reconnect_soon=True)
        self.consumer_sidecars.append(self._stack.enter_context(Proxy(config, self.home, name=name)))
        shown = (f"127.0.0.1:{port}",)
        eventually(
            lambda: fetch(shown[0], "/", headers={"host": HOST}).status == 200, within=SETTLED_S, what=f"{name} serves"
        )
        return Consumer(f"mesh-{number}", "mesh", lambda: shown, HOST, RATE)

    def apply(self) -> None:
        """``isthmusctl apply`` of the policy: native for all, mesh for those that have moved."""
        mesh = ["mesh", "native"]
        overrides = [{"instance": self.instances[one].native, "sdk": mesh, "mesh": mesh} for one in sorted(self.moved)]
        native = {"prefer": ["native", "mesh"]}
        spec = {"host": HOST, "sdk": native, "mesh": native, "overlap": f"{OVERLAP_S}s", "overrides": overrides}
        kind = {"apiVersion": "isthmus.io/v1alpha1", "kind": "DualMode", "metadata": {"name": "greeter"}}
        files = {"policy.yaml": json.dumps({**kind, "spec": spec})}  # which is YAML, too
        self._when_reachable(lambda: self._ctl().apply(files))

    def wait_applied(self) -> None:
        """``isthmusctl wait --applied``."""
        answer = self._when_reachable(lambda: self._ctl().wait(SETTLED_S))
        assert not answer["waiting_for"], answer

    def _when_reachable(self, call: Callable[[], Any]) -> Any:
        """Again and again while the control plane is away."""

        def attempt() -> Any:
            try:
                return call()
            except UnreachableError as error:
                raise ConnectionError(str(error)) from error

        return eventually(attempt, within=SETTLED_S, every=LOOK_S, what="the control plane")

    def _ctl(self) -> Client:
        """What ``isthmusctl`` calls the control plane with: forty starts of a program would be most of the load."""
        return Client(f"http://{self.control_plane.admin_address}")

    def page(self) -> dict[str, Any]:
        """What the bridge shows of each instance, by its native address."""
        services = json.loads(self.bridge.admin(f"/dualmode?host={HOST}").text)["services"]
        found = services.get(f"default/{HOST}", {"instances": []})["instances"]
        return {one["native"]: one for one in found if one["native"]}

    def start_sidecar(self, one: Instance) -> None:
        """Start it, and let the application's SDK publish; ends when the bridge knows of it."""
        if one.sidecar is None:
            one.sidecar = self._stack.enter_context(Proxy(self._sidecar(one), self.home, name=f"sidecar-{one.number}"))
        else:
            one.sidecar.restart()
        api = f"127.0.0.1:{one.api}"
        eventually(lambda: fetch(api, "/services").status == 200, within=SETTLED_S, what="the registry API")
        publication = {"serviceName": INTERFACE, "protocolType": "rest", "providerMetaInfo": {}}
        for path, body in (("/configs/application", {"appName": "greeter-app"}), ("/services/publish", publication)):
            answer = json.loads(fetch(api, path, method="POST", body=json.dumps(body).encode()).text)
            assert answer["success"], answer
        self.wait_for([one], lambda page: bool(page["mesh_up"]), f"the sidecar of {one.native} is registered")

    def _sidecar(self, one: Instance) -> dict[str, Any]:
        name = f"greeter-{one.number}"
        config = bootstraps.service_sidecar(name, one.mesh, one.native)
        filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        filters[0]["typed_config"]["route_config"]["response_headers_to_add"] = [VIA]
        bridge = {**bootstraps.static_cluster("bridge", self.bridge.mcp_address), "http2_protocol_options": {}}
        config["static_resources"]["clusters"].append(bridge)
        native_port, mesh_port = (int(each.rpartition(":")[2]) for each in (one.native, one.mesh))
        config = with_registry_api(
            config,
            sofa_port=one.api,
            inbound_port=mesh_port,
            native_port=native_port,
            registration_clusters=["bridge"],
            keep_alive="1s",
            stall_timeout="10s",
        )
        config["node"] = {"id": bootstraps.node_id(name), "cluster": name}
        return config

    def stop_sidecar(self, one: Instance) -> None:
        """SIGTERM: it says so, serves on, drains. Raises when it had to be killed."""
        assert one.sidecar is not None
        status = one.sidecar.process.stop(within=SETTLED_S)
        assert status == 0, f"the sidecar of {one.native} ended with {status}"

    def wait_for(self, some: Sequence[Instance], check: Any, what: str) -> None:
        """Wait until the bridge's page says so of all these instances."""
        eventually(
            lambda: (
                (page := self.page()) is not None
                and all(one.native in page and check(page[one.native]) for one in some)
            ),
            within=SETTLED_S,
            every=LOOK_S,
            what=what,
        )

    def withdrawn(self, one: Instance) -> bool:
        """Whether nobody is shown the mesh address any more: not by the bridge, not by ZooKeeper, and consumers' sidecars know."""
        page = self.page().get(one.native)
        return page is not None and page["sdk"] == page["mesh_shown"] == [one.native] and self.only_native(one)

    def only_native(self, one: Instance) -> bool:
        """Whether ZooKeeper shows an SDK the native address of the instance and not the other one."""
        try:
            shown = callable_addresses(*(self.client.get_children(f"/dubbo/{INTERFACE}/{each}") for each in FOLDERS))
        except KazooException as error:
            raise ConnectionError(f"ZooKeeper: {error}") from error
        return one.native in shown and one.mesh not in shown

    def expire_application(self, one: Instance) -> None:
        """End the ZooKeeper session of an application."""
        port = one.native.rpartition(":")[2]
        assert fetch(f"127.0.0.1:{self._control}", f"/expire/{port}", timeout=SETTLED_S).status == 200


FOLDERS = ("providers", "configurators")
