"""How long an address stays: the overlap is counted once, whoever lets it drain."""

from __future__ import annotations

import pytest

from isthmus_mcp_bridge.backsync.entry import SeenEntry
from isthmus_mcp_bridge.backsync.layouts import DUBBO, folder
from isthmus_mcp_bridge.backsync.ledger import Ledger
from isthmus_mcp_bridge.backsync.write_back import wanted_of
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.testing.writer_conformance import CLUSTER, INTERFACE, MESH, NATIVE, held

OVERLAP_S = 5.0
PLACE = folder("/dubbo", INTERFACE)


class Registry:
    """A ledger and what stands in its registry; every plan is carried out at once."""

    def __init__(self) -> None:
        self.ledger = Ledger(CLUSTER, OVERLAP_S)
        self.names: set[str] = set()

    def show(self, now: float, *addresses: Address, weight: str = "100") -> list[Address]:
        """Consumers shall be shown these addresses; returns those that stand then, sorted."""
        one = held(DUBBO, 1, weight=weight)
        self.ledger.want(PLACE, one.key, wanted_of(one, lambda _: addresses, DUBBO, CLUSTER))
        return self.at(now)

    def at(self, now: float) -> list[Address]:
        """What stands at a moment."""
        for transaction in self.ledger.plan(PLACE, self._seen(), now).transactions:
            self.names.difference_update(transaction.delete)
            if transaction.create:
                self.names.add(transaction.create)
            self.ledger.committed(PLACE, transaction)
        self.ledger.plan(PLACE, self._seen(), now)
        return sorted(one.address for one in self._seen())

    def _seen(self) -> list[SeenEntry]:
        return [one for name in sorted(self.names) if (one := DUBBO.read(name, INTERFACE)) is not None]


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    assert found.show(0.0, MESH) == [MESH]
    return found


def test_an_address_that_drained_as_long_as_the_policy_says_does_not_drain_again(registry: Registry) -> None:
    assert registry.show(100.0, NATIVE, MESH) == [MESH, NATIVE]
    assert registry.ledger.next_due() is None, "the policy says when it ends"
    assert registry.show(100.0 + OVERLAP_S, NATIVE) == [NATIVE]


def test_a_shorter_drain_of_the_policy_is_made_as_long_as_the_overlap(registry: Registry) -> None:
    assert registry.show(100.0, NATIVE, MESH) == [MESH, NATIVE]
    assert registry.show(102.0, NATIVE) == [MESH, NATIVE]
    assert registry.ledger.next_due() == (100.0 + OVERLAP_S, PLACE)
    assert registry.at(100.0 + OVERLAP_S - 0.1) == [MESH, NATIVE]
    assert registry.at(100.0 + OVERLAP_S) == [NATIVE]


def test_a_drain_goes_on_when_the_entry_is_written_in_another_form(registry: Registry) -> None:
    registry.show(100.0, NATIVE, MESH)
    assert registry.show(103.0, NATIVE, MESH, weight="50") == [MESH, NATIVE]
    assert registry.show(100.0 + OVERLAP_S, NATIVE, weight="50") == [NATIVE]


def test_an_address_that_comes_first_again_drains_anew(registry: Registry) -> None:
    registry.show(100.0, NATIVE, MESH)
    registry.show(101.0, MESH, NATIVE)
    assert registry.show(110.0, NATIVE) == [MESH, NATIVE]
    assert registry.at(114.9) == [MESH, NATIVE]
    assert registry.at(115.0) == [NATIVE]
