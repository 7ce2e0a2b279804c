"""The last good configuration: bytes that survive, files that nobody else wrote, and a start without a control plane."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.testing import eventually
from isthmus_proxy.xds.last_good import ORDER, Owner, decode, encode
from isthmus_proxy.xds.last_good_file import LastGoodFile
from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SCOPE, Stored
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.testing import Proxy, Stamp, cluster, endpoints, extension, listener, live, routes

OWNER = Owner("sidecar", "web")
resources = st.dictionaries(
    st.text(max_size=20), st.builds(Stored, st.text(max_size=5), st.binary(max_size=50), st.just(0.0)), max_size=5
)
variants = pytest.mark.parametrize("variant", ["sotw", "delta"])


@given(st.dictionaries(st.sampled_from(ORDER), resources))
def test_what_is_written_is_read(accepted: dict[str, dict[str, Stored]]) -> None:
    saved = decode(encode(OWNER, 12.5, accepted.items()))
    assert (saved.owner, saved.saved_at) == (OWNER, 12.5)
    found = {
        response.type_url: {item.name: (item.version, item.resource.value) for item in response.resources}
        for response in saved.types
    }
    assert found == {
        url: {name: (stored.version, stored.body) for name, stored in accepted.get(url, {}).items()}
        for url in ORDER
        if accepted.get(url) or url not in (EXTENSION, SCOPE)
    }


@given(st.data())
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    good = encode(OWNER, 1.0, [(CLUSTER, {"a": Stored("1", b"x", 0.0)})])
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = data.draw(
        st.sampled_from([good[:at], good + b"x", good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], b""])
    )
    with pytest.raises(ValueError, match=r"format|checksum"):
        decode(damaged)


def kept(proxy: Proxy, path: Path) -> LastGoodFile:
    return LastGoodFile(path, OWNER, proxy.discovery, StatsStore(), lambda: 1_000.0)


async def save(proxy: Proxy, path: Path) -> LastGoodFile:
    """Write what ``proxy`` has, as its process does when it ends."""
    file = kept(proxy, path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run)
        file.changed()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return file


@variants
@pytest.mark.trio
async def test_a_new_process_serves_it_at_once_and_then_asks_for_all(variant: Variant, tmp_path: Path) -> None:
    await save(live(variant), tmp_path / "cache")
    proxy = Proxy(variant)
    proxy.discovery.start(proxy.cds, proxy.lds, (), ())
    assert kept(proxy, tmp_path / "cache").restore()
    assert proxy.discovery.initialized
    assert set(proxy.listeners.open) == set(live(variant).listeners.open)
    assert proxy.ports("A") == live(variant).ports("A") != []
    proxy.discovery.connected()
    said = proxy.said()
    # Versions of a control plane that may be another one by now are not told, names are: what is gone can be named as such.
    assert sorted(line.split()[0] for line in said) == ["cds", "eds", "lds", "rds"]
    assert not any("=1" in line or "v1" in line for line in said), said


@variants
@pytest.mark.trio
async def test_what_the_control_plane_no_longer_has_goes(variant: Variant, tmp_path: Path) -> None:
    await save(live(variant), tmp_path / "cache")
    proxy = Proxy(variant)
    proxy.discovery.start(proxy.cds, proxy.lds, (), ())
    kept(proxy, tmp_path / "cache").restore()
    proxy.discovery.connected()
    names = sorted(proxy.listeners.open)
    proxy.send(CLUSTER, "7", cluster("C"), removed=("A", "B"))
    proxy.send(ENDPOINT, "7", endpoints("C", 2))
    proxy.send(LISTENER, "7", listener("new", "r"), removed=tuple(names))
    proxy.send(ROUTE, "7", routes("r"))
    assert proxy.clusters.get("A") is None
    assert proxy.ports("C") == [2]
    assert set(proxy.listeners.open) == {"new"}


@variants
@pytest.mark.trio
async def test_a_cluster_without_saved_endpoints_holds_nothing_up(variant: Variant, tmp_path: Path) -> None:
    data = encode(OWNER, 1.0, [(CLUSTER, {"A": Stored("1", cluster("A").SerializeToString(), 0.0)})])
    (tmp_path / "cache").write_bytes(data)
    (tmp_path / "cache").chmod(0o600)
    proxy = Proxy(variant)
    proxy.discovery.start(proxy.cds, proxy.lds, (), ())
    assert kept(proxy, tmp_path / "cache").restore()
    assert proxy.discovery.initialized
    assert proxy.ports("A") == []


@variants
@pytest.mark.trio
async def test_filters_that_came_over_xds_are_kept(variant: Variant, tmp_path: Path) -> None:
    before = live(variant)
    before.send(LISTENER, "2", listener("L", "R+stamp"))
    before.send(EXTENSION, "2", extension("stamp", "one"))
    await save(before, tmp_path / "cache")
    proxy = Proxy(variant)
    proxy.discovery.start(proxy.cds, proxy.lds, (), ())
    assert kept(proxy, tmp_path / "cache").restore()
    assert proxy.discovery.initialized
    newest = proxy.extensions.current("stamp")
    assert newest is not None
    assert newest.config == Stamp("one")


@pytest.mark.trio
async def test_the_file_is_ours_alone_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    await save(live(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert await trio.to_thread.run_sync(os.listdir, tmp_path) == ["cache"]
    assert decode(path.read_bytes()).resource_count == 6


@pytest.mark.parametrize("harm", ["others may write", "damaged", "another node", "a directory"])
@pytest.mark.trio
async def test_a_file_that_cannot_be_trusted_is_left_alone(
    harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache"
    if harm == "a directory":
        path.mkdir()
    else:
        await save(live(), path)
    if harm == "others may write":
        path.chmod(0o622)
    elif harm == "damaged":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "another node":
        path.write_bytes(encode(Owner("other", "web"), 1.0, ()))
    proxy = Proxy()
    proxy.discovery.start(proxy.cds, proxy.lds, (), ())
    assert not kept(proxy, path).restore()
    assert not proxy.discovery.initialized
    assert "starting without it" in caplog.text


@pytest.mark.trio
async def test_a_disk_that_takes_nothing_is_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = live()
    stats = StatsStore()
    file = LastGoodFile(tmp_path / "absent" / "cache", OWNER, proxy.discovery, stats, lambda: 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run)
        failures = stats.scope("xds_cache").counter("write_failure")
        file.changed()
        await eventually(lambda: failures.value == 1)
        file.changed()
        await eventually(lambda: failures.value == 2)
        nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot be kept") == 1


@pytest.mark.trio
async def test_what_is_incomplete_does_not_replace_what_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    await save(live(), path)
    before = path.read_bytes()
    proxy = Proxy()
    proxy.start()
    proxy.send(CLUSTER, "2", cluster("z"))
    await save(proxy, path)
    assert path.read_bytes() == before
