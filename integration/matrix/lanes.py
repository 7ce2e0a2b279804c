"""A lane is one protocol: a callee with its sidecar, and two callers, one with an SDK and one with a sidecar; each a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import bootstraps
from harness.conversation import Conversation
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.java import Consumer, Provider
from harness.ports import free_port
from harness.process import Process
from matrix.application import SCHEMES
from matrix.world import PORTS, World
from test_registry_api_java import with_registry_api
from test_rpc_java import bootstrap, cluster, listener, to

PROTOCOLS = ("bolt", "dubbo", "http", "grpc")
GREETER = "mesh.isthmus.apps.Greeter"
INTERFACES = {"http": "matrix.Http", "grpc": "matrix.Grpc", "dubbo": GREETER, "bolt": GREETER}
APPLICATION = Path(__file__).parent / "application.py"


@dataclass
class Lane:
    """One protocol, running."""

    protocol: str
    host: str
    addresses: dict[str, str]
    callers: dict[str, Conversation]
    callee_sidecar: Proxy
    caller_sidecar: Proxy

    def received_by_callee(self) -> int:
        """How many requests the callee's sidecar has got."""
        name = "rpc.in" if self.protocol in {"dubbo", "bolt"} else "http.inbound"
        return self.callee_sidecar.stat(f"{name}.downstream_rq_total")

    def sent_by_caller(self) -> int:
        """How many requests for the callee the mesh caller's sidecar has sent to endpoints that the control plane told it."""
        return self.caller_sidecar.stat(f"cluster.outbound|{PORTS[self.protocol]}||{self.host}.upstream_rq_total")


@contextmanager
def lane(world: World, protocol: str) -> Iterator[Lane]:
    """Start one protocol's processes, and stop them."""
    native, mesh, api, out = (free_port() for _ in range(4))
    interface = INTERFACES[protocol]
    host = interface.lower()
    home = world.home / protocol
    homes = {name: home / name for name in ("callee", "sdk", "mesh")}
    for folder in homes.values():
        folder.mkdir(parents=True)
    make_callee_sidecar = _rpc_callee_sidecar if protocol in {"dubbo", "bolt"} else _http_callee_sidecar
    with ExitStack() as stack:
        config = make_callee_sidecar(protocol, mesh, native)
        config["static_resources"]["clusters"].append(_bridge(world))
        config = with_registry_api(
            config,
            **{"dubbo_port" if protocol == "dubbo" else "sofa_port": api},
            inbound_port=mesh,
            native_port=native,
            registration_clusters=["bridge"],
            keep_alive="1s",
            stall_timeout="10s",  # the machine may be busy
        )
        config["node"] = {"id": bootstraps.node_id(f"{protocol}-callee"), "cluster": f"{protocol}-callee"}
        callee_sidecar = stack.enter_context(Proxy(config, home, name="callee-sidecar"))
        eventually(lambda: fetch(f"127.0.0.1:{api}", "/services").status > 0, what="the registry API")
        _start_callee(stack, world, protocol, native, api, homes["callee"])
        caller_sidecar = stack.enter_context(Proxy(_caller_sidecar(world, protocol, host, out), home, name="caller"))
        callers = {
            "SDK": stack.enter_context(_sdk_caller(world, protocol, homes["sdk"])),
            "mesh": stack.enter_context(_mesh_caller(protocol, host, out, homes["mesh"])),
        }
        addresses = {"native": f"127.0.0.1:{native}", "mesh": f"127.0.0.1:{mesh}"}
        yield Lane(protocol, host, addresses, callers, callee_sidecar, caller_sidecar)


def _bridge(world: World) -> dict[str, Any]:
    return {**bootstraps.static_cluster("bridge", world.bridge.mcp_address), "http2_protocol_options": {}}


def _http_callee_sidecar(protocol: str, mesh: int, native: int) -> dict[str, Any]:
    config = bootstraps.service_sidecar("callee", f"127.0.0.1:{mesh}", f"127.0.0.1:{native}")
    if protocol == "grpc":
        config["static_resources"]["clusters"][0]["http2_protocol_options"] = {}
    return config


def _rpc_callee_sidecar(protocol: str, mesh: int, native: int) -> dict[str, Any]:
    return bootstrap([listener("in", mesh, protocol, [to("application")])], [cluster("application", native)])


def _start_callee(stack: ExitStack, world: World, protocol: str, native: int, api: int, home: Path) -> None:
    """The application, which registers at its sidecar, and in ZooKeeper where its consumers can be told to pass over that."""
    zookeeper, interface = world.zookeeper.address, INTERFACES[protocol]
    if protocol == "bolt":
        stack.enter_context(Provider("SofaApp", "callee", native, home, f"mesh://127.0.0.1:{api}"))
    elif protocol == "dubbo":
        stack.enter_context(Provider("DubboRegistryApp", "callee", native, home, zookeeper))
        service = {"interface": interface, "methods": ["greet"]}
        answer = _post(api, "/pub", {"application": "isthmus-provider", "service": service})
        assert answer["err_no"] == 0, answer
    else:
        _start_python_callee(stack, world, protocol, native, api, home)


def _start_python_callee(stack: ExitStack, world: World, protocol: str, native: int, api: int, home: Path) -> None:
    interface = INTERFACES[protocol]
    argv = [sys.executable, str(APPLICATION), "provider", protocol, "callee", str(native)]
    argv += [world.zookeeper.address, interface]
    process = stack.enter_context(Process("callee", argv, log=home / "callee.log", env=_environment()))
    process.wait_until(lambda: "ready" in process.tail().splitlines(), what="serving")
    for path, body in (
        ("/configs/application", {"appName": "callee"}),
        ("/services/publish", {"serviceName": interface, "protocolType": SCHEMES[protocol], "providerMetaInfo": {}}),
    ):
        answer = _post(api, path, body)
        assert answer["success"], answer


def _post(api: int, path: str, body: dict[str, Any]) -> Any:
    """What the application's SDK tells its sidecar."""
    return json.loads(fetch(f"127.0.0.1:{api}", path, method="POST", body=json.dumps(body).encode()).text)


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(APPLICATION.parents[1])}


def _caller_sidecar(world: World, protocol: str, host: str, out: int) -> dict[str, Any]:
    """All from the control plane; the listener for RPC is our own, for Istio's API has none that speaks these protocols."""
    config = bootstraps.client_sidecar(f"{protocol}-caller", out, world.control_plane.grpc_address)
    if protocol in {"dubbo", "bolt"}:
        del config["dynamic_resources"]["lds_config"]
        own = listener("out", out, protocol, [to(f"outbound|{PORTS[protocol]}||{host}")])
        routes = own["filter_chains"][0]["filters"][0]["typed_config"]["value"]["route_config"]
        routes["validate_clusters"] = False  # they come later
        config["static_resources"]["listeners"] = [own]
    return config


def _sdk_caller(world: World, protocol: str, home: Path) -> Conversation:
    zookeeper = world.zookeeper.address
    if protocol == "bolt":
        return Consumer("SofaApp", home, "-", f"zookeeper://{zookeeper}")
    if protocol == "dubbo":
        return Consumer("DubboRegistryApp", home, zookeeper)
    return _python_caller(home, protocol, "sdk", zookeeper, INTERFACES[protocol])


def _mesh_caller(protocol: str, host: str, out: int, home: Path) -> Conversation:
    address = f"127.0.0.1:{out}"
    if protocol in {"dubbo", "bolt"}:
        return Consumer({"dubbo": "DubboApp", "bolt": "SofaApp"}[protocol], home, address)
    return _python_caller(home, protocol, "sidecar", address, host)


def _python_caller(home: Path, *arguments: str) -> Conversation:
    environment = [f"{name}={value}" for name, value in _environment().items()]
    return Conversation(["env", *environment, sys.executable, APPLICATION, "consumer", *arguments], home)
