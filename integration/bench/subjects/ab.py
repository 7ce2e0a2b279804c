"""A caller and a callee on one node, with a sidecar beside each or without any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.http_plan import HttpPlan
from bench.peers import go_program
from bench.procstat import tree
from bench.subjects.http import SUBJECTS as PROXIES
from bench.subjects.http import Running
from harness.ports import accepts, free_port
from harness.process import Process

SUBJECTS = ("direct", "isthmus", "envoy")


@dataclass(frozen=True, slots=True)
class Costs:
    """What a request costs on the node besides being carried.

    ``business_us`` burns in the caller. ``sdk_us`` burns there too where no sidecar has taken over the SDK's work; then the
    caller's sidecar does it, by a route table of ``rules`` rules.
    """

    business_us: int
    sdk_us: int = 0
    rules: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """The running node: where requests enter, its applications' processes and its sidecars'."""

    port: int
    applications: list[int]
    sidecars: list[int]


@contextmanager
def node(subject: str, costs: Costs, folder: Path, cpus: str) -> Iterator[Node]:
    """Run caller and callee, and the subject's sidecars in between: caller, sidecar, sidecar, callee."""
    with ExitStack() as stack:
        callee = stack.enter_context(_application("callee", [], folder, cpus))
        sidecars: list[Running] = []
        entry = callee.port
        if subject != "direct":
            for side, rules in (("callee-side", 0), ("caller-side", costs.rules)):
                place = folder / side
                place.mkdir()
                plan = HttpPlan(free_port(), free_port(), entry, place, rules=rules)
                sidecars.append(PROXIES[subject](plan, cpus))
                stack.callback(sidecars[-1].stop)
                entry = sidecars[-1].port
        sdk = costs.sdk_us if subject == "direct" else 0
        flags = [f"-business={costs.business_us}us", f"-sdk={sdk}us", f"-next=http://127.0.0.1:{entry}/"]
        caller = stack.enter_context(_application("caller", flags, folder, cpus))
        yield Node(caller.port, [*caller.pids, *callee.pids], [pid for sidecar in sidecars for pid in sidecar.pids])


@dataclass(frozen=True, slots=True)
class _Application:
    port: int
    process: Process

    @property
    def pids(self) -> list[int]:
        return tree(self.process.pid)


@contextmanager
def _application(name: str, flags: list[str], folder: Path, cpus: str) -> Iterator[_Application]:
    port = free_port()
    argv: list[str | Path] = ["taskset", "-c", cpus, go_program("abapp"), f"-listen=127.0.0.1:{port}", *flags]
    with Process(name, argv, log=folder / f"{name}.log") as process:
        process.wait_until(lambda: accepts("127.0.0.1", port), what="listening")
        yield _Application(port, process)
