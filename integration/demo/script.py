"""The play: changes under load, each followed by the check that it did what it should and harmed nobody."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from demo import pushes
from demo.board import Board
from demo.bounds import check_split
from demo.shop import REVIEWS, Shop
from harness.eventually import eventually
from harness.load import Load
from harness.tally import Tally

# Envoy acknowledges a configuration when its main thread has it and hands it to its worker a moment later; what is
# counted after a change counts from then on.
GRACE_S = 0.25
OUTAGE_S = 1.5  # how long a killed instance stays in its registry
RETRIES = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each act lasts: the requests to sample per load, and the rest after it."""

    samples: Mapping[str, int]
    rest_s: float


class Script:
    """Plays the acts on a running shop whose loads are running."""

    def __init__(self, shop: Shop, board: Board, pace: Pace) -> None:
        self._shop = shop
        self._board = board
        self._pace = pace
        self._round = 0
        self._instances = 0
        self._outages: list[tuple[float, float]] = []

    def play(self) -> None:
        """All acts, once."""
        self._round += 1
        for act in (
            self._canary_90_10,
            self._canary_50_50,
            self._canary_0_100,
            self._add_instance,
            self._kill_instance,
            self._kill_instance_with_retries,
            self._restart_control_plane,
        ):
            act()
            time.sleep(self._pace.rest_s)

    def judge(self) -> None:
        """Check that every push converged, and no request failed but those to the killed instance before its removal."""
        times = sorted(push.converged_after or 0 for _, push in self._board.pushes)
        if times:
            detail = (
                f"{len(times)} pushes, median {1000 * times[len(times) // 2]:.0f} ms, slowest {1000 * times[-1]:.0f} ms"
            )
            self._board.check("every client acknowledged every push", True, detail)
        for name, load in self._board.loads.items():
            failures = load.failures()
            wrong = [failure for failure in failures if not self._in_outage(failure.at)]
            total, allowed = load.total(), len(failures) - len(wrong)
            detail = f"{total.requests} requests, {allowed} failed on the killed instance while it was registered"
            if total.failed > allowed:
                first = f", first in phase {wrong[0].phase!r}: {wrong[0].reason}" if wrong else ""
                detail += f"; {total.failed - allowed} others failed{first}"
            self._board.check(f"{name}: no other request failed", total.failed == allowed, detail)

    def _in_outage(self, at: float) -> bool:
        """Whether an instance was dead but registered then, and nothing was allowed to retry."""
        return any(start <= at <= end for start, end in self._outages)

    def _canary_90_10(self) -> None:
        self._board.begin("canary: 90% of reviews to v1, 10% to v2")
        self._shift({"v1": 90, "v2": 10})

    def _canary_50_50(self) -> None:
        self._board.begin("canary: half of reviews to v2")
        self._shift({"v1": 50, "v2": 50})

    def _canary_0_100(self) -> None:
        self._board.begin("canary: all reviews to v2")
        self._shift({"v1": 0, "v2": 100})

    def _add_instance(self) -> None:
        self._board.begin("a second instance of reviews v2 registers")
        name = self._new_instance()
        self._sample(f"two instances of v2, round {self._round}")
        for client in self._reviews_loads():
            got = client.current[1].instances
            share = got[name] / (got.total() or 1)
            self._board.check(f"{client.name}: both instances serve", 0.4 < share < 0.6, f"{name} answered {share:.1%}")
        self._remove(name)

    def _kill_instance(self) -> None:
        self._board.begin("an instance dies; nobody retries; later its registry notices")
        name = self._new_instance()
        self._phase(f"{name} dead but registered")
        killed = time.time()
        self._outages.append((killed, math.inf))
        self._shop.instances[name].kill()
        self._board.say(f"killed {name} and its sidecar")
        time.sleep(OUTAGE_S)
        self._remove(name)
        self._outages[-1] = (killed, time.time())
        self._sample(f"after the removal of {name}")
        self._no_failures("after the removal")

    def _kill_instance_with_retries(self) -> None:
        self._board.begin(f"an instance dies; the route allows {RETRIES} retries")
        self._change(lambda: self._shop.split({"v1": 0, "v2": 100}, retries=RETRIES))
        name = self._new_instance()
        self._phase(f"{name} dead but registered, with retries")
        self._shop.instances[name].kill()
        self._board.say(f"killed {name} and its sidecar")
        time.sleep(OUTAGE_S)
        self._no_failures("while a dead instance is registered, with retries")
        self._remove(name)
        self._sample(f"after the removal of {name}")

    def _restart_control_plane(self) -> None:
        self._board.begin("the control plane is killed and started again")
        self._phase(f"control plane away, round {self._round}")
        self._shop.control_plane.kill()
        self._board.say("killed the control plane; sidecars keep what they have")
        time.sleep(OUTAGE_S)
        self._no_failures("without a control plane")
        self._shop.control_plane.restart()
        eventually(self._everybody_is_back, what="both clients connected to the new control plane")
        self._board.say("the control plane is back, and so are its clients")
        self._shift({"v1": 50, "v2": 50})

    def _everybody_is_back(self) -> bool:
        return self._shop.connected_clients() >= len(self._shop.clients)

    def _shift(self, weights: Mapping[str, int]) -> None:
        """Change the split and check that both proxies follow it."""
        self._change(lambda: self._shop.split(weights))
        text = " ".join(f"{name}:{weight}" for name, weight in weights.items())
        self._sample(f"split {text}, round {self._round}, t={self._board.elapsed():.0f}")
        for client in self._reviews_loads():
            result = check_split(weights, client.current[1].versions)
            counted = ", ".join(f"{version} {number}" for version, number in sorted(result.counted.items()))
            self._board.check(f"{client.name}: split {text}", result.passed, result.problem or f"answered {counted}")
        self._no_failures(f"at split {text}")

    def _new_instance(self) -> str:
        self._instances += 1
        name = f"reviews-v2-{self._instances + 1}"
        self._change(lambda: self._shop.add_instance(name, REVIEWS, "v2"))
        seen = [client.phase(f"{name} joins") for client in self._reviews_loads()]
        eventually(lambda: all(tally.instances[name] for tally in seen), what=f"requests to {name} from both clients")
        self._board.say(f"{name} serves both clients")
        return name

    def _remove(self, name: str) -> None:
        instance = self._shop.instances[name]
        self._change(lambda: self._shop.remove_instance(name))
        self._board.say(f"{name} is gone from its registry")
        instance.terminate()

    def _change(self, change: Callable[[], object]) -> None:
        """Do it, and wait until every client has acknowledged what follows from it."""
        before = pushes.newest(self._shop.control_plane)
        change()
        for push in pushes.wait_converged(self._shop.control_plane, before):
            self._board.pushed(self._board.act, push)
        time.sleep(GRACE_S)
        self._board.addresses = self._shop.addresses()

    def _sample(self, phase: str) -> None:
        """A phase in which each load makes its number of requests."""
        self._phase(phase)
        for name, load in self._board.loads.items():
            tally = load.tally(phase)
            eventually(_enough(tally, self._pace.samples[name]), what=f"requests of {name}")

    def _phase(self, name: str) -> str:
        for load in self._board.loads.values():
            load.phase(name)
        return name

    def _no_failures(self, when: str) -> None:
        tallies = {name: load.current[1] for name, load in self._board.loads.items()}
        failures = [f"{name}: {failure.reason}" for name, tally in tallies.items() for failure in tally.failures]
        detail = ", ".join(f"{name} {tally.requests}" for name, tally in tallies.items())
        detail += f" requests; {len(failures)} failed" + (f", first {failures[0]}" if failures else "")
        self._board.check(f"no failed request {when}", not failures, detail)

    def _reviews_loads(self) -> list[Load]:
        return [load for load in self._board.loads.values() if load.target.authority.startswith(REVIEWS)]


def _enough(tally: Tally, requests: int) -> Callable[[], bool]:
    return lambda: tally.requests >= requests
