"""The etcd store against a real etcd: what was written is seen, whatever happens to the connection in between."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from harness.etcd import Etcd
from harness.eventually import eventually_async
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.stores.base import ConfigObject, ConflictError, ObjectKey, StoreState, config_object
from isthmus_controlplane.stores.etcd.store import EtcdStore

pytestmark = pytest.mark.asyncio

PREFIX = "/isthmus/config/"


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with Etcd() as running:
        yield running


class Follower:
    """A store that runs, and the states it published."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.states: list[StoreState] = []

    @property
    def state(self) -> StoreState:
        return self.states[-1]

    def hosts(self) -> list[str]:
        return [str(obj.spec.hosts[0]) for obj in self.state.objects.values() if isinstance(obj.spec, ServiceEntry)]

    async def until(self, check: Callable[[], object]) -> None:
        async def checked() -> bool:
            return bool(self.states) and bool(check())

        await eventually_async(checked)


@contextlib.asynccontextmanager
async def following(store: EtcdStore) -> AsyncIterator[Follower]:
    follower = Follower(store)
    task = asyncio.create_task(store.run(follower.states.append))
    try:
        await follower.until(lambda: follower.state.synced)
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def service(name: str, host: str) -> ConfigObject:
    spec = ServiceEntry(hosts=[host], resolution=ServiceEntry.STATIC)
    spec.ports.add(number=80, name="http", protocol="HTTP")
    spec.endpoints.add(address="127.0.0.1")
    return config_object(ObjectKey("ServiceEntry", "default", name), spec, origin="test")


async def test_what_one_replica_writes_another_sees_with_the_same_version(etcd: Etcd) -> None:
    url = f"etcd://{etcd.address}"
    async with following(EtcdStore(url)) as writer, following(EtcdStore(url)) as reader:
        written = [service("a", "a.shop"), service("b", "b.shop")]
        await writer.store.apply(written, {obj.key: None for obj in written})
        await reader.until(lambda: reader.hosts() == ["a.shop", "b.shop"])
        assert [obj.version for obj in reader.state.objects.values()] == [obj.version for obj in written]
        # one transaction is one state: nobody saw the first object without the second
        assert all(len(state.objects) in {0, 2} for state in reader.states)
        await reader.store.delete(written[0].key)
        await writer.until(lambda: writer.hosts() == ["b.shop"])


async def test_a_change_on_top_of_an_unseen_one_is_refused(etcd: Etcd) -> None:
    async with following(EtcdStore(f"etcd://{etcd.address}")) as follower:
        first = service("a", "a.shop")
        await follower.store.apply([first], {first.key: None})
        await follower.until(lambda: follower.hosts() == ["a.shop"])
        with pytest.raises(ConflictError, match=r"a is at version"):
            await follower.store.apply([service("a", "other.shop")], {first.key: "0000"})
        await follower.store.apply([service("a", "new.shop")], {first.key: first.version})
        await follower.until(lambda: follower.hosts() == ["new.shop"])


async def test_a_broken_value_keeps_the_last_good_one_and_is_named(etcd: Etcd) -> None:
    async with following(EtcdStore(f"etcd://{etcd.address}")) as follower:
        good = service("a", "a.shop")
        await follower.store.apply([good], {})
        await follower.until(lambda: follower.hosts() == ["a.shop"])
        key = f"{PREFIX}ServiceEntry/default/a"
        document = json.loads(etcd.ctl("get", "--print-value-only", key))
        document["spec"]["hosst"] = ["typo.shop"]
        etcd.ctl("put", key, json.dumps(document))
        await follower.until(lambda: follower.state.problems)
        assert follower.hosts() == ["a.shop"]
        assert key in follower.state.problems[0].origin
        assert follower.state.problems[0].path == "spec.hosst"
        etcd.ctl("put", f"{PREFIX}ServiceEntry/default/elsewhere", json.dumps(document | {"spec": {}}))
        await follower.until(lambda: len(follower.state.problems) > 1)


async def test_a_store_that_went_away_keeps_its_state_and_catches_up(etcd: Etcd) -> None:
    async with following(EtcdStore(f"etcd://{etcd.address}")) as follower:
        await follower.store.apply([service("a", "a.shop")], {})
        await follower.until(lambda: follower.hosts() == ["a.shop"])
        await asyncio.to_thread(etcd.stop)
        await follower.until(lambda: follower.state.problems)
        assert follower.hosts() == ["a.shop"]
        assert follower.state.synced
        await asyncio.to_thread(etcd.start)
        await follower.until(lambda: not follower.state.problems)
        await follower.store.apply([service("b", "b.shop")], {})
        await follower.until(lambda: follower.hosts() == ["a.shop", "b.shop"])


async def test_a_compaction_while_away_loses_nothing(etcd: Etcd) -> None:
    """The revision to continue from is gone: only a new list can tell what was deleted meanwhile."""
    url = f"etcd://{etcd.address}"
    async with following(EtcdStore(url)) as writer:
        objects = [service(name, f"{name}.shop") for name in "abc"]
        await writer.store.apply(objects, {})
        await writer.until(lambda: len(writer.hosts()) == 3)
        reader = EtcdStore(url)
        async with following(reader) as before:
            assert len(before.hosts()) == 3
        await writer.store.delete(objects[0].key)
        await writer.until(lambda: len(writer.hosts()) == 2)
        revision = json.loads(etcd.ctl("get", "--prefix", PREFIX, "-w", "json"))["header"]["revision"]
        etcd.ctl("compact", str(revision))
        async with following(reader) as after:
            await after.until(lambda: after.hosts() == ["b.shop", "c.shop"])
