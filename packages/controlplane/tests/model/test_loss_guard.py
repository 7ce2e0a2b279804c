"""Sudden losses of instances are doubted for a bounded time."""

from __future__ import annotations

from typing import Any

from isthmus_controlplane.model.loss_guard import LossGuard
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.testing import make
from isthmus_controlplane.model.world import World
from isthmus_controlplane.stores.base import ConfigObject, StoreState

SOURCE = "memory:"


class Bench:
    """A world with one store and a clock."""

    def __init__(self, hold: float = 30.0) -> None:
        self.now = 0.0
        self.guard = LossGuard(hold, lambda: self.now)
        self.world = World([SOURCE], MeshSettings(), self.guard)

    def give(self, *objects: ConfigObject) -> None:
        self.world.take(StoreState(SOURCE, synced=True, objects={obj.key: obj for obj in objects}))
        self.world.admit()

    def instances(self) -> list[str]:
        (service,) = self.world.admission.model.services.values()
        return [endpoint.address for endpoint in service.endpoints]


def service(*instances: int, **spec: Any) -> ConfigObject:
    default = {
        "hosts": ["a.shop"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": f"10.0.0.{number}"} for number in instances],
    }
    return make("ServiceEntry", "a", default | spec)


def addresses(*instances: int) -> list[str]:
    return [f"10.0.0.{number}" for number in instances]


def test_most_instances_lost_at_once_stay_for_a_while() -> None:
    bench = Bench()
    bench.give(service(1, 2, 3, 4, 5, 6))
    bench.give(service(1, 7))
    assert bench.instances() == addresses(1, 2, 3, 4, 5, 6, 7)
    assert (len(bench.guard), bench.guard.losses, bench.guard.next_due()) == (5, 1, 30.0)
    (problem,) = bench.world.problems()
    assert "5 instances vanished at once" in problem.message
    bench.now = 29.9
    assert bench.world.believe_losses() == ("none", "")
    bench.now = 30.0
    assert bench.world.believe_losses()[0] == "endpoints"
    bench.world.admit()
    assert bench.instances() == addresses(1, 7)
    assert (len(bench.guard), bench.world.problems(), bench.guard.next_due()) == (0, (), None)


def test_changes_meanwhile_do_not_prolong_it() -> None:
    bench = Bench()
    bench.give(service(1, 2, 3, 4, 5, 6))
    bench.give(service(1))
    bench.now = 20.0
    bench.give(service(9))
    assert bench.instances() == addresses(1, 2, 3, 4, 5, 6, 9)
    assert (bench.guard.next_due(), bench.guard.losses) == (30.0, 1)


def test_what_comes_back_is_not_missed() -> None:
    bench = Bench()
    bench.give(service(1, 2, 3, 4, 5, 6))
    bench.give(service())
    bench.give(service(1, 2, 3, 4))
    assert bench.instances() == addresses(1, 2, 3, 4)
    assert (len(bench.guard), bench.guard.next_due()) == (0, None)


def test_few_or_half_or_allowed_losses_are_taken_at_once() -> None:
    for before, after in (((1, 2, 3, 4), ()), (range(10, 20), range(10, 15))):
        bench = Bench()
        bench.give(service(*before))
        bench.give(service(*after))
        assert bench.instances() == addresses(*after)
    bench.give(service(*range(30)))
    bench.guard.allow(bench.world.objects)
    bench.give(service(1))
    assert bench.instances() == addresses(1)
    bench.give(service(*range(30)))
    bench.give(service(1))
    assert len(bench.instances()) == 30


def test_no_hold_believes_everything() -> None:
    bench = Bench(hold=0.0)
    bench.give(service(*range(30)))
    bench.give(service())
    assert bench.instances() == []


def test_workloads_that_vanish_together_stay_for_a_while() -> None:
    bench = Bench()
    selecting = service(workloadSelector={"labels": {"app": "a"}}, endpoints=[])
    workloads = [make("WorkloadEntry", f"w{n}", {"address": f"10.0.0.{n}", "labels": {"app": "a"}}) for n in range(6)]
    bench.give(selecting, *workloads)
    bench.give(selecting)
    assert len(bench.instances()) == 6
    bench.now = 31.0
    bench.world.believe_losses()
    bench.world.admit()
    assert bench.instances() == []
