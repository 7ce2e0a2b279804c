"""The memory store, and which store a URL means."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.testing import service
from isthmus_controlplane.stores.base import ConflictError, StoreState, WritableStore
from isthmus_controlplane.stores.directory import DirectoryStore
from isthmus_controlplane.stores.etcd.store import EtcdStore
from isthmus_controlplane.stores.memory import MemoryStore
from isthmus_controlplane.stores.open import open_store
from isthmus_controlplane.xds.testing import eventually


@pytest.mark.asyncio
async def test_publishes_what_is_applied_and_deleted() -> None:
    store, states, one, two = MemoryStore(), list[StoreState](), service("a.shop"), service("b.shop")
    await store.apply([one], {one.key: None})
    task = asyncio.create_task(store.run(states.append))
    await eventually(lambda: bool(states))
    await store.apply([two, service("a.shop")], {})
    assert states[-1].objects == {one.key: one, two.key: two}
    assert states[-1].objects[one.key] is one
    with pytest.raises(ConflictError):
        await store.apply([one], {one.key: "other"})
    await store.delete(one.key)
    assert list(states[-1].objects) == [two.key]
    with pytest.raises(KeyError):
        await store.delete(one.key)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_urls(tmp_path: Path) -> None:
    assert isinstance(open_store(f"dir:{tmp_path}"), DirectoryStore)
    assert isinstance(open_store("memory:"), MemoryStore)
    assert isinstance(open_store("etcd://127.0.0.1:2379"), EtcdStore)
    assert isinstance(open_store("memory:"), WritableStore)


@pytest.mark.parametrize("url", ["", "dir:", "dir", "memory", "consul://x", "/etc"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not dir:PATH, memory: or etcd://"):
        open_store(url)
