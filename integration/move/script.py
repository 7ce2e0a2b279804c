"""What happens, in which order: every instance to the mesh, then every one back, with mishaps meanwhile. Pure but for the stage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from harness.eventually import eventually
from move.stage import BRIDGE_SESSION_S, LOOK_S, SETTLED_S, Instance, Stage

SIDECAR = "sidecar restarted"
MISHAPS = (
    "control plane killed",
    SIDECAR,
    "bridge killed",
    "bridge loses its ZooKeeper session",
    "application loses its ZooKeeper session",
    "ZooKeeper killed",
    SIDECAR,
    "bridge stopped and started",
    "consumer loses its ZooKeeper session",
    SIDECAR,
    "control plane stopped and started",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One instance moves, after mishaps if there are any."""

    instance: int
    to_mesh: bool
    mishaps: tuple[str, ...] = ()


def steps(instances: int, seed: int) -> list[Step]:
    """Each instance to the mesh, then each back, both in random order; the mishaps evenly among them, in random order too."""
    chance = random.Random(seed)
    there, back = (chance.sample(range(instances), instances) for _ in range(2))
    moves = [Step(one, True) for one in there] + [Step(one, False) for one in back]
    mishaps = chance.sample(MISHAPS, len(MISHAPS))
    every = len(moves) / len(mishaps)
    for number, mishap in enumerate(mishaps):
        place = min(len(moves) - 1, int((number + 0.5) * every))
        moves[place] = replace(moves[place], mishaps=(*moves[place].mishaps, mishap))
    return moves


class Script:
    """Plays the steps; ``events`` are the mishaps with the seconds since the start."""

    def __init__(self, stage: Stage, seed: int, say: Callable[[str], None]) -> None:
        self.events: list[tuple[float, str]] = []
        self.moves: list[tuple[float, int, bool]] = []
        self._stage = stage
        self._chance = random.Random(seed + 1)
        self._say = say
        # Their threads must outlive what they start: programs end with the thread that started them.
        self._hands = ThreadPoolExecutor(1, "sidecars")
        self._fate = ThreadPoolExecutor(1, "mishaps")
        self._under_way: Future[None] = self._fate.submit(lambda: None)
        self._starting: dict[int, Future[None]] = {}
        self._ending: list[Future[None]] = []

    def play(self, seed: int, seconds: float) -> None:
        """All of it, evenly over ``seconds`` where the machine is fast enough."""
        found = steps(len(self._stage.instances), seed)
        for number, step in enumerate(found):
            self._prepare(found[number : number + 2])
            for mishap in step.mishaps:
                self._begin(mishap)
            one = self._stage.instances[step.instance]
            (self._to_mesh if step.to_mesh else self._back)(one)
            self.moves.append((self._now(), step.instance, step.to_mesh))
            self._tell(f"{one.native} {'to the mesh' if step.to_mesh else 'back'}")
            time.sleep(max(0.0, (number + 1) / len(found) * seconds - self._now()))
        for each in (self._under_way, *self._ending):
            each.result(SETTLED_S)

    def _prepare(self, coming: list[Step]) -> None:
        """Start the sidecars of this step and the next one; their instances stay native till it is their turn."""
        for step in coming:
            if step.to_mesh and step.instance not in self._starting:
                one = self._stage.instances[step.instance]
                self._starting[one.number] = self._hands.submit(self._stage.start_sidecar, one)

    def _now(self) -> float:
        return time.monotonic() - self._stage.consumers.started

    def _tell(self, what: str) -> None:
        self._say(f"{self._now():6.1f} s  {what}; {self._stage.consumers.failed} failed")

    def _to_mesh(self, one: Instance) -> None:
        stage = self._stage
        self._starting[one.number].result(SETTLED_S)
        stage.moved.add(one.number)
        stage.apply()
        stage.wait_for([one], lambda page: _first(page) == {one.mesh}, f"{one.mesh} is shown")

    def _back(self, one: Instance) -> None:
        stage = self._stage
        stage.moved.discard(one.number)
        stage.apply()
        eventually(lambda: stage.withdrawn(one), within=SETTLED_S, every=LOOK_S, what=f"{one.mesh} is withdrawn")
        stage.wait_applied()
        self._ending.append(self._hands.submit(stage.stop_sidecar, one))

    def _begin(self, name: str) -> None:
        """One mishap at a time; moves go on meanwhile. A sidecar is restarted as operators do it, when all else is well."""
        self._under_way.result(SETTLED_S)
        if name != SIDECAR:
            self._under_way = self._fate.submit(self._mishap, name)
        elif self._stage.moved:
            self._mishap(name)

    def _mishap(self, name: str) -> None:
        stage = self._stage
        self.events.append((round(self._now(), 1), name))
        self._tell(name)
        if name == "control plane killed":
            stage.control_plane.kill()
            stage.control_plane.restart()
        elif name == "control plane stopped and started":
            stage.control_plane.stop()
            stage.control_plane.restart()
        elif name == "bridge killed":
            stage.bridge.kill()
            stage.bridge.restart()
        elif name == "bridge stopped and started":
            stage.bridge.stop()
            stage.bridge.restart()
        elif name == "bridge loses its ZooKeeper session":
            stage.way.cut()
            time.sleep(2 * BRIDGE_SESSION_S)
            stage.way.mend()
        elif name == "application loses its ZooKeeper session":
            stage.expire_application(self._chance.choice(stage.instances))
        elif name == "consumer loses its ZooKeeper session":
            self._chance.choice(stage.directories).expire()
        elif name == "ZooKeeper killed":
            stage.zookeeper.kill()
            stage.zookeeper.start()
        else:
            self._restart_sidecar()
        self._tell(f"{name}: over")

    def _restart_sidecar(self) -> None:
        """Of one that has moved."""
        stage = self._stage
        one = stage.instances[self._chance.choice(sorted(stage.moved))]
        stage.stop_sidecar(one)
        stage.start_sidecar(one)
        stage.wait_for([one], lambda page: _first(page) == {one.mesh}, f"{one.mesh} is shown again")


def _first(page: dict[str, list[str]]) -> set[str]:
    """The preferred addresses of an instance, for both sides."""
    return {page[side][0] if page[side] else "" for side in ("sdk", "mesh_shown")}
