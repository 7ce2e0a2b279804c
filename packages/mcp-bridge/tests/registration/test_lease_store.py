"""The file of leases: what it says is there again, what is damaged or old is not believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.lease_store import FORMAT, LeaseStore
from isthmus_mcp_bridge.registration.leases import LeaseLimits
from isthmus_mcp_bridge.registration.model import InstanceKey, Offer, SdkService
from isthmus_mcp_bridge.registration.registrations import Naming, Registrations
from isthmus_mcp_bridge.testing.eventually import eventually
from isthmus_mcp_bridge.warm.lines import encode

MAX_AGE_S = 600.0
OFFER = Offer(
    InstanceKey(SdkService("dubbo", "com.x.Foo", "g", "1.0"), "pod-7"),
    Address("10.0.0.1", 20881),
    Address("fe80::1", 20880),
    "shop",
    (("methods", "a,b"), ("weight", "50")),
)


async def nobody(_: Address) -> bool:
    return False


def registrations() -> Registrations:
    return Registrations(Naming(), LeaseLimits(), nobody, lambda: 0.0)


def say(found: Registrations, stream: int = 1) -> None:
    found.leases.begin(stream, "node", "zone", 10 + stream, 0.0)
    found.leases.say(stream, {OFFER.key: OFFER})
    found.changed()


async def write(path: Path, found: Registrations, at: float = 1000.0) -> None:
    """Run the store of these until it has written."""
    task = asyncio.create_task(LeaseStore(path, found, MAX_AGE_S, lambda: at).run())
    await eventually(path.exists, lambda: path)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path, first, second = tmp_path / "leases", registrations(), registrations()
    say(first)
    await write(path, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert LeaseStore(path, second, MAX_AGE_S, lambda: 1000.0 + MAX_AGE_S).load()
    assert second.leases.kept() == first.leases.kept() != []
    assert second.leases.kept()[0].offers == (OFFER,)
    assert second.instances == {}, "nothing is claimed yet"


@pytest.mark.asyncio
async def test_the_last_change_is_written_at_the_end(tmp_path: Path) -> None:
    path, first = tmp_path / "leases", registrations()
    task = asyncio.create_task(LeaseStore(path, first, MAX_AGE_S, lambda: 1000.0).run())
    await eventually(path.exists, lambda: path)
    say(first)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    second = registrations()
    assert LeaseStore(path, second, MAX_AGE_S, lambda: 1000.0).load()
    assert second.leases.instances == [OFFER.key]


@pytest.mark.asyncio
async def test_an_old_or_damaged_file_is_not_believed(tmp_path: Path) -> None:
    path, first = tmp_path / "leases", registrations()
    say(first)
    await write(path, first)
    good = path.read_bytes()
    late = LeaseStore(path, registrations(), MAX_AGE_S, lambda: 1000.1 + MAX_AGE_S)
    assert not late.load()
    second = registrations()
    store = LeaseStore(path, second, MAX_AGE_S, lambda: 1000.0)
    for bad in (b"", good[:-5], good.replace(b"pod-7", b"pod-8"), FORMAT + b"\n" + encode([1000.0, [["node"]]])):
        path.write_bytes(bad)
        assert not store.load()
        assert second.leases.leases == {}
    path.unlink()
    assert not store.load()
    path.write_bytes(good)
    assert store.load()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    found = registrations()
    say(found)
    store = LeaseStore(tmp_path / "missing" / "leases", found, MAX_AGE_S, lambda: 1000.0)
    task = asyncio.create_task(store.run())
    await eventually(lambda: store.failures == 1, lambda: store.failures)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_what_another_replica_has_written_since_ends_a_restored_lease(tmp_path: Path) -> None:
    path, first, second = tmp_path / "leases", registrations(), registrations()
    say(first)
    await write(path, first)
    assert LeaseStore(path, second, MAX_AGE_S, lambda: 1000.0).load()
    say(first, stream=5)
    second.learn("zoo", "/dubbo/com.x.Foo", [*first.instances.values()])
    assert second.leases.leases == {}
