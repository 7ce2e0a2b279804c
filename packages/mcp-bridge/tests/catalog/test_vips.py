"""Virtual addresses: one each, stable, the same whatever the order, and not re-used too early."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.vips import NoAddressLeft, VipRange, VipTable
from isthmus_mcp_bridge.events import OriginReport, SourceListed
from isthmus_mcp_bridge.model import ServiceClaim, ServiceKey, ServicePort

SMALL = VipRange(ipaddress.ip_network("240.240.0.0/27"), quarantine_s=100)
KEYS = [ServiceKey("d", f"s{number}") for number in range(12)]


def settle(table: VipTable, wanted: list[tuple[ServiceKey, int]]) -> None:
    """Give every service an address, those that lose theirs another one."""
    created = dict(wanted)
    waiting = [key for key, _ in wanted]
    while waiting:
        waiting += table.take(waiting[0], created[waiting[0]])[1]
        del waiting[0]


services = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 3)), unique_by=lambda one: one[0])


@given(services, st.randoms(use_true_random=False))
def test_every_order_gives_the_same_addresses_each_to_one(wanted: list[tuple[ServiceKey, int]], random: object) -> None:
    first, second = VipTable(SMALL), VipTable(SMALL)
    settle(first, wanted)
    shuffled = list(wanted)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    settle(second, shuffled)
    assert first.addresses == second.addresses
    assert len(set(first.addresses.values())) == len(wanted)


@given(services, st.lists(st.integers(0, 11), max_size=20))
def test_an_address_stays_and_is_not_given_to_another_one_too_early(
    wanted: list[tuple[ServiceKey, int]], goings: list[int]
) -> None:
    table = VipTable(SMALL)
    settle(table, wanted)
    now = 0.0
    for number in goings:
        now += 7
        table.tick(now)
        gone = KEYS[number]
        before = dict(table.addresses)
        table.release(gone, now)
        assert {key: one for key, one in before.items() if key != gone} == table.addresses
        for address, (key, until) in table.resting.items():
            assert until > now
            assert table.addresses.get(key) != address
            assert address not in table.addresses.values()


def test_a_service_that_comes_back_gets_its_address_back() -> None:
    table = VipTable(SMALL)
    address, _ = table.take(KEYS[0], 1)
    table.release(KEYS[0], 10)
    assert table.next_tick() == 110
    assert table.take(KEYS[0], 99) == (address, [])
    assert table.next_tick() is None


def test_after_the_quarantine_an_address_is_free() -> None:
    table = VipTable(SMALL)
    table.take(KEYS[0], 1)
    table.release(KEYS[0], 10)
    table.tick(109)
    assert table.resting
    table.tick(110)
    assert not table.resting


def test_a_full_network_is_an_error_that_says_what_to_do() -> None:
    table = VipTable(VipRange(ipaddress.ip_network("240.0.0.0/30")))
    with pytest.raises(NoAddressLeft, match=r"vips\.network"):
        settle(table, [(key, 0) for key in KEYS])


def test_addresses_survive_a_restart() -> None:
    table, again = VipTable(SMALL), VipTable(SMALL)
    settle(table, [(key, 0) for key in KEYS])
    table.release(KEYS[3], 0)
    for address, (key, until) in table.take_unsaved():
        again.restore(address, key, until, 0.0)
    assert table.take_unsaved() == []
    settle(again, [(key, 0) for key in reversed(KEYS) if key != KEYS[3]])
    assert again.addresses == table.addresses
    assert again.resting.keys() == table.resting.keys()


def test_the_catalog_gives_them_to_services_without_addresses() -> None:
    catalog = Catalog(["a"], vips=VipTable(SMALL))
    port = (ServicePort("http", 80, "HTTP"),)
    claims = (ServiceClaim(KEYS[0], port), ServiceClaim(KEYS[1], port, addresses=("10.9.9.9",)))
    catalog.apply(SourceListed("a", {"x": OriginReport(claims)}))
    catalog.take_changes(10)
    assert catalog.vips is not None
    assert catalog.services[KEYS[0]].addresses == (catalog.vips.addresses[KEYS[0]],)
    assert catalog.services[KEYS[1]].addresses == ("10.9.9.9",)
    catalog.apply(SourceListed("a", {}))
    catalog.take_changes(10)
    assert list(catalog.vips.resting.values()) == [(KEYS[0], 100.0)]


def test_a_full_network_costs_a_service_its_address_only() -> None:
    catalog = Catalog(["a"], vips=VipTable(VipRange(ipaddress.ip_network("240.0.0.0/30"))))
    claims = tuple(ServiceClaim(key, (ServicePort("http", 80, "HTTP"),)) for key in KEYS)
    catalog.apply(SourceListed("a", {"x": OriginReport(claims)}))
    while catalog.pending:
        catalog.take_changes(100)
    assert len(catalog.services) == len(KEYS)
    assert sum(bool(one.addresses) for one in catalog.services.values()) == 2
    assert any(one.conflicts for one in catalog.services.values())
