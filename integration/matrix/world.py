"""One ZooKeeper, one bridge that registers, writes back and follows policies, and one control plane that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from harness.isthmus import Bridge, ControlPlane
from harness.ports import free_port
from harness.zookeeper import ZooKeeper

PORTS = {"http": 80, "grpc": 80, "dubbo": 20880, "bolt": 12200}
LAYOUTS = {"zoo": "dubbo", "sofa": "sofarpc"}


@dataclass
class World:
    """What all protocols share."""

    home: Path
    zookeeper: ZooKeeper
    bridge: Bridge
    control_plane: ControlPlane

    def show(self, host: str, address: str) -> None:
        """``isthmusctl apply`` of a policy by which every consumer of a host is shown this kind of address: ``native`` or ``mesh``."""
        sides = {side: {"prefer": [address]} for side in ("sdk", "mesh")}
        document = {
            "apiVersion": "isthmus.io/v1alpha1",
            "kind": "DualMode",
            "metadata": {"name": host},
            # Dubbo's consumers follow a change of the registry within seconds, not at once.
            "spec": {"host": host, "overlap": "5s" if host.endswith("greeter") else "1s", **sides},
        }
        path = self.home / "policy.yaml"
        path.write_text(json.dumps(document))  # which is YAML, too
        self.control_plane.ctl("apply", "-f", path)

    def shown(self, host: str) -> tuple[list[str], list[str]]:
        """The addresses that SDK consumers and mesh consumers of a host are shown, old ones in overlap too."""
        page: dict[str, Any] = json.loads(self.bridge.admin(f"/dualmode?host={host}").text)["services"]
        instances = page.get(f"default/{host}", {"instances": []})["instances"]
        sdk, mesh = ([one for each in instances for one in each[side]] for side in ("sdk", "mesh_shown"))
        return sdk, mesh


@contextmanager
def running(home: Path) -> Iterator[World]:
    """Start it all, and stop it."""
    grpc = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        zookeeper = stack.enter_context(ZooKeeper())
        _make_roots(zookeeper.address)
        more = {
            "registration": {"grace_s": 1, "ports": PORTS},
            "backsync": {"cluster": "east", "registries": [*LAYOUTS], "overlap_s": 1},
            "dual_mode": {"control_plane": f"xds://{grpc}", "overrides": ["zoo"]},
            "debounce": {"quiet_ms": 10, "longest_ms": 100},
        }
        registries = [
            {
                "name": name,
                "zookeeper": {
                    "servers": zookeeper.address,
                    "layout": layout,
                    "session_timeout_s": 4,
                    "ports": PORTS,
                },
            }
            for name, layout in LAYOUTS.items()
        ]
        bridge = stack.enter_context(Bridge(registries, home, more=more))
        control_plane = stack.enter_context(ControlPlane("memory:", home, mcp=[bridge.mcp_address], grpc=grpc))
        yield World(home, zookeeper, bridge, control_plane)


def _make_roots(address: str) -> None:
    client = KazooClient(hosts=address)
    client.start(20)
    try:
        for root in ("/dubbo", "/sofa-rpc"):
            client.ensure_path(root)
    finally:
        client.stop()
        client.close()
