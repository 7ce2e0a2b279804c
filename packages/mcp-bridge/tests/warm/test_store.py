"""What was claimed is on disk, comes back after a restart, and a damaged file harms nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.vips import VipRange, VipTable
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceState, SourceSuspected
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Side, WarmUp
from isthmus_mcp_bridge.warm.lines import decode, encode, origin_entry, read_claims
from isthmus_mcp_bridge.warm.store import Restored, WarmStore

texts = st.text(max_size=8)
pairs = st.lists(st.tuples(texts, texts), max_size=2).map(tuple)
endpoints = st.builds(
    EndpointClaim,
    service_port=texts,
    address=texts,
    port=st.integers(0, 65535),
    raw_id=texts,
    network=texts,
    presence=st.sampled_from(Presence),
    weight=st.none() | st.integers(1, 100),
    labels=pairs,
    locality=texts,
    service_account=texts,
    warm_up=st.none() | st.builds(WarmUp, st.integers(0, 9), st.integers(0, 9), st.integers(1, 100)),
    side=st.sampled_from(Side),
    instance=texts,
)
claims = st.builds(
    ServiceClaim,
    key=st.builds(ServiceKey, texts, texts),
    ports=st.lists(st.builds(ServicePort, texts, st.integers(1, 9), texts, st.booleans()), max_size=2).map(tuple),
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
    addresses=st.lists(texts, max_size=2).map(tuple),
    raw_names=st.lists(texts, max_size=2).map(tuple),
    created_ms=st.none() | st.integers(),
    raw_labels=pairs,
)


@given(st.lists(claims, max_size=3, unique_by=lambda one: one.key))
def test_claims_come_back_as_they_were(found: list[ServiceClaim]) -> None:
    by_key = {one.key: one for one in found}
    kind, source, origin, values = decode(encode(origin_entry("a", "x", by_key)))
    assert (kind, source, origin) == ("origin", "a", "x")
    assert read_claims(values) == by_key


@given(st.binary(max_size=80))
def test_a_line_that_nobody_wrote_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(line)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_line_that_was_damaged_is_refused(place: int, change: int) -> None:
    line = bytearray(encode(["origin", "a", "x", []]))
    line[place % len(line)] ^= change
    with pytest.raises(ValueError, match=r".*"):
        decode(bytes(line))


def report(host: str, *ports: int) -> OriginReport:
    found = tuple(EndpointClaim("http", "10.0.0.1", port) for port in ports)
    return OriginReport((ServiceClaim(ServiceKey("d", host), (ServicePort("http", 80, "HTTP"),), found),))


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def write(catalog: Catalog, path: Path, clock: Clock) -> None:
    """Run a store until it has written what the catalog holds."""
    task = asyncio.create_task(WarmStore(path, 3600, 0.01, clock).run(catalog))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])


def load(path: Path, clock: Clock, max_age_s: float = 3600) -> Restored | None:
    return WarmStore(path, max_age_s, 1, clock).load()


def sockets(catalog: Catalog) -> dict[str, list[int]]:
    catalog.take_changes(1000)
    return {
        key.host: sorted(port for one in merged.workloads for _, port in one.ports)
        for key, merged in catalog.services.items()
    }


def restored(found: Restored | None) -> Catalog:
    catalog = Catalog(["a", "b"])
    assert found is not None
    for name, origins in found.origins.items():
        catalog.restore(name, origins, found.ages_s[name])
    return catalog


def two_sources() -> Catalog:
    catalog = Catalog(["a", "b"])
    catalog.apply(SourceListed("a", {"x": report("one", 1, 2), "y": report("two", 3)}))
    catalog.apply(SourceListed("b", {"x": report("one", 2, 4)}))
    return catalog


@pytest.mark.asyncio
async def test_a_restarted_bridge_knows_what_it_knew(tmp_path: Path) -> None:
    catalog, path, clock = two_sources(), tmp_path / "warm", Clock()
    await write(catalog, path, clock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = restored(load(path, clock))
    assert sockets(again) == sockets(catalog) == {"one": [1, 2, 4], "two": [3]}
    assert again.sources["a"].state is SourceState.SYNCING
    assert again.sources["a"].restored
    again.apply(SourceListed("a", {"x": report("one", 1)}))
    assert sockets(again) == {"one": [1, 2, 4]}


@pytest.mark.asyncio
async def test_what_changes_later_is_appended_and_what_went_does_not_come_back(tmp_path: Path) -> None:
    catalog, path, clock = two_sources(), tmp_path / "warm", Clock()
    store = WarmStore(path, 3600, 0.01, clock)
    task = asyncio.create_task(store.run(catalog))
    await asyncio.sleep(0.05)
    before = path.read_bytes()
    catalog.apply(OriginChanged("a", "y", OriginReport()))
    catalog.apply(OriginChanged("a", "x", report("one", 9)))
    catalog.apply(SourceSuspected("b", "gone"))
    task.cancel()
    await asyncio.wait([task])
    assert path.read_bytes().startswith(before)
    clock.now += 50
    found = load(path, clock)
    assert sockets(restored(found)) == {"one": [2, 4, 9]}
    assert found is not None
    assert {name: round(age) for name, age in found.ages_s.items()} == {"a": 50, "b": 50}


@pytest.mark.asyncio
async def test_a_file_that_was_read_whole_is_gone_on_with(tmp_path: Path) -> None:
    path, clock = tmp_path / "warm", Clock()
    await write(two_sources(), path, clock)
    before = path.read_bytes()
    store = WarmStore(path, 3600, 0.01, clock)
    catalog = restored(store.load())
    store.adopt(catalog)
    catalog.apply(SourceListed("a", {"x": report("one", 9), "y": report("two", 3)}))
    task = asyncio.create_task(store.run(catalog))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    after = path.read_bytes()
    assert after.startswith(before)
    assert b'"y"' not in after[len(before) :]
    assert sockets(restored(load(path, clock))) == sockets(catalog) == {"one": [2, 4, 9], "two": [3]}


@pytest.mark.asyncio
async def test_every_single_damage_costs_no_more_than_one_line(tmp_path: Path) -> None:
    path, clock = tmp_path / "warm", Clock()
    await write(two_sources(), path, clock)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for number in range(1, len(lines)):
        broken = [*lines]
        broken[number] = b"#" + broken[number][1:]
        path.write_bytes(b"".join(broken))
        os.utime(path, (clock.now, clock.now))
        found = load(path, clock)
        assert found is not None
        assert found.damaged == 1
    path.write_bytes(whole[:-7])
    os.utime(path, (clock.now, clock.now))
    torn = load(path, clock)
    assert torn is not None
    assert torn.damaged == 1


@pytest.mark.asyncio
async def test_an_old_file_and_a_foreign_one_are_not_believed(tmp_path: Path) -> None:
    path, clock = tmp_path / "warm", Clock()
    assert load(path, clock) is None
    await write(two_sources(), path, clock)
    clock.now += 61
    assert load(path, clock, max_age_s=60) is None
    path.write_bytes(b"something else\n")
    assert load(path, clock) is None


@pytest.mark.asyncio
async def test_a_disk_that_refuses_stops_nothing(tmp_path: Path) -> None:
    catalog, clock = two_sources(), Clock()
    store = WarmStore(tmp_path / "missing" / "warm", 3600, 0.01, clock)
    task = asyncio.create_task(store.run(catalog))
    await asyncio.sleep(0.05)
    assert not task.done()
    assert store.failures > 0
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.asyncio
async def test_virtual_addresses_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "warm", Clock()
    settings = VipRange(ipaddress.ip_network("240.240.0.0/16"))
    catalog = Catalog(["a"], vips=VipTable(settings))
    catalog.apply(SourceListed("a", {"x": report("one", 1)}))
    catalog.take_changes(10)
    await write(catalog, path, clock)
    found = load(path, clock)
    assert found is not None
    assert catalog.vips is not None
    key = ServiceKey("d", "one")
    assert found.vips == ((key, catalog.vips.addresses[key], 0),)


live = st.lists(st.sampled_from(["a", "b"]), unique=True)
held = st.lists(st.integers(1, 5), max_size=4, unique=True)


@given(held, held, live, held, held)
def test_no_restart_loses_an_endpoint_that_a_live_source_still_claims(
    before_a: list[int], before_b: list[int], order: list[str], after_a: list[int], after_b: list[int]
) -> None:
    """Whatever was restored, and whichever source is listed first."""
    old = Catalog(["a", "b"])
    old.apply(SourceListed("a", {"x": report("one", *before_a)}))
    old.apply(SourceListed("b", {"x": report("one", *before_b)}))
    again = Catalog(["a", "b"])
    for name, source in old.sources.items():
        again.restore(name, {origin: dict(source.origins_claims(origin)) for origin in source.origins}, 5.0)
    now = {"a": after_a, "b": after_b}
    listed: set[str] = set()
    for name in order:
        again.apply(SourceListed(name, {"x": report("one", *now[name])}))
        listed.add(name)
        shown = set(sockets(again).get("one", []))
        assert {port for one in listed for port in now[one]} <= shown
        unheard = {"a": before_a, "b": before_b}
        assert {port for one, ports in unheard.items() if one not in listed for port in ports} <= shown
