"""The suite of writers against a real etcd in Dubbo's layout, and a bridge that writes there and reads what others wrote."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from harness.etcd import Etcd
from harness.eventually import eventually
from harness.isthmus import Bridge
from harness.relay import Relay
from isthmus_mcp_bridge.backsync.etcd_store import EtcdStore
from isthmus_mcp_bridge.backsync.layouts import DUBBO, folder
from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.testing.eventually import eventually as eventually_async
from isthmus_mcp_bridge.testing.writer_conformance import INTERFACE as SUITE_INTERFACE
from isthmus_mcp_bridge.testing.writer_conformance import MESH, Hand, WriterConformance, held, running

SESSION_S = 4.0
INTERFACE = "com.shop.Reviews"
FOLDER = f"/dubbo/{INTERFACE}/providers"


class EtcdSubject:
    """Each test below a root of its own. The client under test reaches etcd over a relay that can be cut."""

    layout = DUBBO

    def __init__(self, server: Etcd, relay: Relay, root: str) -> None:
        self.root = root
        self._server = server
        self._relay = relay

    def store(self) -> EntryStore:
        return EtcdStore([self._relay.address], SESSION_S, lambda: 0.5)

    async def names(self, place: str) -> frozenset[str]:
        said = await self._ctl("get", "--prefix", "--keys-only", f"{place}/")
        return frozenset(line.removeprefix(f"{place}/") for line in said.splitlines() if line)

    async def put(self, place: str, name: str, data: bytes) -> None:
        await self._ctl("put", f"{place}/{name}", data.decode())

    async def read(self, place: str, name: str) -> tuple[bytes, int]:
        (found,) = json.loads(await self._ctl("get", f"{place}/{name}", "-w", "json"))["kvs"]
        return found.get("value", "").encode(), found["mod_revision"]

    async def entry(self) -> tuple[str, int]:
        """The only entry of the suite's interface."""
        place = folder(self.root, SUITE_INTERFACE)
        (name,) = await self.names(place)
        return name, (await self.read(place, name))[1]

    async def remove(self, place: str, name: str) -> None:
        await self._ctl("del", f"{place}/{name}")

    async def lose_session(self, store: EntryStore) -> None:
        """As its expiry does: etcd revokes the lease."""
        assert isinstance(store, EtcdStore)
        await self._ctl("lease", "revoke", f"{(await store.wait(0)).session:x}")

    async def cut(self, seconds: float) -> None:
        """Nothing reaches etcd for a while."""
        await self._relay.cut()
        await asyncio.sleep(seconds)
        await self._relay.open()

    async def _ctl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._server.ctl, *arguments)


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    running = Etcd()
    yield running
    running.stop()


@pytest_asyncio.fixture
async def subject(server: Etcd, request: pytest.FixtureRequest) -> AsyncIterator[EtcdSubject]:
    relay = Relay(server.address)
    await relay.open()
    yield EtcdSubject(server, relay, f"/{request.node.name}")
    await relay.cut()


@pytest.mark.asyncio
class TestEtcd(WriterConformance):
    """Over grpc and a real server."""

    async def test_a_session_outlives_a_connection(self, subject: EtcdSubject) -> None:
        """Where the lease is renewed in time, nothing has to be written again."""
        async with running(Hand(subject)) as hand:
            hand.want(held(subject.layout, 1))
            await self.stands(subject, (MESH, 1))
            before = await subject.entry()
            await subject.cut(0.3)
            hand.want(held(subject.layout, 1, weight="50"))
            await eventually_async(lambda: hand.writer.counts.deleted == 1, hand.writer.status)
            await self.stands(subject, (MESH, 1))
            assert await subject.entry() != before
            assert (hand.writer.counts.sessions, hand.writer.held) == (1, 1)


def test_bridges_mirror_into_etcd_and_read_it(server: Etcd, tmp_path: Path) -> None:
    """What a file says is written by the first bridge; another cluster's bridge reads it, and the first one takes it for no news."""
    instances = [{"address": "10.1.2.3", "ports": {"dubbo": 20880}}]
    ports = [{"name": "dubbo", "number": 20880, "protocol": "TCP"}]
    service = {"host": "reviews.shop", "ports": ports, "instances": instances}
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(yaml.safe_dump({"services": [service]}))
    etcd = {"name": "etcd", "etcd": {"servers": server.address, "session_timeout_s": SESSION_S}}
    named = {"reviews.shop": {"interface": INTERFACE, "protocol": "dubbo"}}
    mirror = [{"from": ["files"], "to": "etcd", "services": named}]
    backsync = {"backsync": {"cluster": "here", "registries": ["etcd"], "mirror": mirror}}
    source = {"name": "files", "file": {"path": str(files)}, "removal_guard": "off", "flap_damping": "off"}
    first = Bridge([source, etcd], tmp_path, name="first", more=backsync)
    second = Bridge([etcd], tmp_path, name="second")
    with first, second:
        eventually(lambda: f"dubbo%3A%2F%2F10.1.2.3%3A20880%2F{INTERFACE}" in server.ctl("get", "--prefix", FOLDER))
        eventually(lambda: "10.1.2.3" in second.admin("/services").text, what="the other bridge")
        eventually(lambda: 'isthmus_bridge_own_entries_ignored{source="etcd"} 1' in first.admin("/metrics").text)
        assert "com.shop.reviews" not in first.admin("/services").text
        (files / "shop.yaml").write_text("services: []\n")
        eventually(lambda: not server.ctl("get", "--prefix", FOLDER), what="withdrawn")
        (files / "shop.yaml").write_text(yaml.safe_dump({"services": [service]}))
        eventually(lambda: server.ctl("get", "--prefix", FOLDER), what="back")
        first.kill()
        eventually(lambda: not server.ctl("get", "--prefix", FOLDER), what="gone with the lease of a killed bridge")
