"""What there is before the page begins: ZooKeeper and real Dubbo applications, whose code and configuration stay as they are."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.eventually import eventually
from harness.http import fetch
from harness.java import Consumer, Provider
from harness.zookeeper import ZooKeeper
from howto.load import Load
from howto.ports import Ports
from howto.terminal import SETTLED_S, Terminal

FILES = Path(__file__).parent / "files"
HOST = "mesh.isthmus.apps.greeter"
SECOND = {"provider-1": "provider-2", "20881": "20882", "20891": "20892", "22221": "22222", "15101": "15102"}
"""What differs in the file of the second provider's sidecar."""
SHOWN = (15010, 15014, 15020, 15021, 15101, 15102, 15103, 20870, 20881, 20882, 20891, 20892, 22221, 22222)
SERVICE_PORT = 20880
IDLE_S = 3.0
"""So long without a call, with dozens of calls a second, means that nobody calls any more."""


class Stage:
    """See the module."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self._home = home
        self._stack = stack
        zookeeper = stack.enter_context(ZooKeeper())
        self._zookeeper = zookeeper.address
        self.ports = Ports(SHOWN, {2181: zookeeper.port}, [SERVICE_PORT])
        operator = home / "operator"
        operator.mkdir()
        self.terminal = Terminal(operator, self.ports)
        stack.callback(self.terminal.stop)
        self._write_files(operator)
        for number in (1, 2):
            name, port = f"provider-{number}", self.ports.port(20880 + number)
            place = self._directory(name)
            stack.enter_context(Provider("DubboRegistryApp", name, port, place, self._zookeeper))
        self.sdk = self._load("consumer-sdk", "DubboRegistryApp", self._zookeeper)

    def _write_files(self, operator: Path) -> None:
        """The page's files, with this run's ports."""
        for path in FILES.iterdir():
            if path.suffix == ".yaml":
                (operator / path.name).write_text(self.ports.real(path.read_text()))
        shutil.copy(FILES / "registered.py", operator)
        second = (FILES / "provider-1.yaml").read_text()
        for old, new in SECOND.items():
            second = second.replace(old, new)
        (operator / "provider-2.yaml").write_text(self.ports.real(second))

    def start_meshed_consumer(self) -> Load:
        """A consumer whose reference has its sidecar's address in the place of a registry."""
        return self._load("consumer-mesh", "DubboApp", self.ports.address(20870))

    def _load(self, name: str, main: str, *arguments: str) -> Load:
        consumer = self._stack.enter_context(Consumer(main, self._directory(name), *arguments))
        load = Load(consumer)
        self._stack.callback(load.stop)
        return load

    def _directory(self, name: str) -> Path:
        place = self._home / name
        place.mkdir()
        return place

    def wait_registered(self) -> None:
        """Wait until the bridge knows a sidecar of each instance."""
        eventually(
            lambda: [bool(each["mesh_up"]) for each in self._instances()] == [True, True],
            within=SETTLED_S,
            what="two sidecars",
        )

    def wait_shown(self, by_mesh: int) -> None:
        """Wait until so many instances are shown by their mesh address alone, and the others by their own alone, to everybody."""

        def settled() -> bool:
            shown = [each[side] for each in self._instances() for side in ("sdk", "mesh_shown")]
            mesh = {each["mesh"] for each in self._instances()}
            return all(len(each) == 1 for each in shown) and sum(each[0] in mesh for each in shown) == 2 * by_mesh

        eventually(settled, within=SETTLED_S, what=f"{by_mesh} instances by their mesh address")

    def _instances(self) -> list[dict[str, Any]]:
        page = json.loads(fetch(self.ports.address(15021), f"/dualmode?host={HOST}").text)["services"]
        instances: list[dict[str, Any]] = page.get(f"default/{HOST}", {"instances": []})["instances"]
        return instances

    def wait_idle(self) -> None:
        """Wait until no call comes through the providers' sidecars any more: Dubbo's consumers take a while to follow ZooKeeper."""
        seen = [-1]

        def idle() -> bool:
            seen.append(self.received())
            return seen[-1] == seen[-2]

        eventually(idle, within=SETTLED_S, every=IDLE_S, what="sidecars without calls")

    def received(self) -> int:
        """How many calls the providers' sidecars have got."""
        return sum(self._received(admin) for admin in (15101, 15102))

    def _received(self, admin: int) -> int:
        name = "rpc.inbound.downstream_rq_total: "
        lines = fetch(self.ports.address(admin), "/stats").text.splitlines()
        return next((int(line.removeprefix(name)) for line in lines if line.startswith(name)), 0)
