"""The matrix: callers with an SDK and with a sidecar, callees shown at their own address and at their sidecar's, over four protocols.

Each cell: all calls succeed, and the sidecars' own counters tell which way they went. ``nox -s dualmode_matrix`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.eventually import eventually
from matrix.lanes import PROTOCOLS, Lane, lane
from matrix.world import World, running

pytestmark = pytest.mark.peer("zookeeper")
CALLS = 10
SETTLED_S = 60.0
CALLEES = {"SDK": "native", "mesh": "mesh"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("matrix")) as found:
        yield found


@pytest.fixture(scope="module", params=PROTOCOLS)
def over(request: pytest.FixtureRequest, world: World) -> Iterator[Lane]:
    with lane(world, request.param) as found:
        yield found


@pytest.fixture(scope="module", params=CALLEES)
def callee(request: pytest.FixtureRequest, world: World, over: Lane) -> str:
    """How the callee is shown, once both sides are shown nothing else."""
    address = CALLEES[request.param]
    world.show(over.host, address)
    only = [over.addresses[address]]
    eventually(lambda: world.shown(over.host) == (only, only), within=SETTLED_S, what=f"{only} for everybody")
    kind: str = request.param
    return kind


def counted(over: Lane, call: Callable[[], str]) -> tuple[set[str], int, int]:
    """What ten calls are answered, and how many requests the callee's and the mesh caller's sidecar counted meanwhile."""
    received, sent = over.received_by_callee(), over.sent_by_caller()
    answers = {call() for _ in range(CALLS)}
    return answers, over.received_by_callee() - received, over.sent_by_caller() - sent


@pytest.mark.parametrize("caller", ["SDK", "mesh"])
def test_cell(over: Lane, callee: str, caller: str, record_property: Callable[[str, object], None]) -> None:
    record_property("cell", (over.protocol, caller, callee))
    expected = {"ok callee hello"}, CALLS * (callee == "mesh"), CALLS * (caller == "mesh")

    def ten() -> tuple[set[str], int, int]:
        return counted(over, lambda: over.callers[caller].call("greet", "hello"))

    # The caller's registry client or sidecar learns of the policy after the bridge shows it.
    eventually(lambda: ten() == expected, within=SETTLED_S, what=f"calls that go {caller} -> {callee} alone")
    found = ten()
    record_property("seen", found[1:])
    assert found == expected
