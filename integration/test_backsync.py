"""Write-back with real ZooKeeper, two replicas of the bridge, and sidecars that register through the SDKs' registry APIs."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_plus, unquote_plus

import pytest
from kazoo.client import KazooClient

from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, Proxy
from harness.ports import free_port
from harness.zookeeper import ZooKeeper
from test_registry_api_java import with_registry_api
from test_rpc_java import bootstrap, cluster, listener, to

pytestmark = pytest.mark.peer("zookeeper")
INTERFACE = "com.shop.Reviews"
DUBBO = f"/dubbo/{INTERFACE}/providers"
SOFA = f"/sofa-rpc/{INTERFACE}/providers"


class Watcher:
    """Reads a folder at every change that ZooKeeper tells of, and keeps all that it read."""

    def __init__(self, client: KazooClient, folder: str) -> None:
        self._client = client
        self._folder = folder
        self._fired: queue.Queue[None] = queue.Queue()
        self.states: list[frozenset[str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        client.ensure_path(folder)

    def __enter__(self) -> Self:
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._fired.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            self._fired.get()
            if self._stop.is_set():
                return
            self._read()

    def _read(self) -> None:
        names = self._client.get_children(self._folder, watch=lambda _: self._fired.put(None))
        self.states.append(frozenset(map(unquote_plus, names)))

    @property
    def now(self) -> list[str]:
        """What stands there, as ``scheme host:port`` in order."""
        return addresses(self.states[-1])


def addresses(names: frozenset[str]) -> list[str]:
    return sorted(f"{name.partition('://')[0]} {name.partition('://')[2].partition('/')[0]}" for name in names)


def epochs(names: frozenset[str]) -> list[int]:
    return sorted(int(name.partition("isthmus.epoch=")[2].partition("&")[0]) for name in names if "isthmus." in name)


def owners(client: KazooClient, folder: str) -> set[int]:
    """The sessions that the entries belong to."""
    stats = [client.exists(f"{folder}/{name}") for name in client.get_children(folder)]
    return {stat.ephemeralOwner for stat in stats if stat is not None}


@contextmanager
def application() -> Iterator[int]:
    """Something that takes connections, as an application does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Sidecar:
    """A proxy whose application publishes a Bolt and a Dubbo service, of which it is told over both registry APIs."""

    def __init__(self, number: int, bridges: list[Bridge], native: int, home: Path) -> None:
        self.port, self.sofa, self.dubbo = free_port(), free_port(), free_port()
        self.native = native
        clusters = [cluster("app", native)]
        for index, bridge in enumerate(bridges):
            one = cluster(f"bridge{index}", int(bridge.mcp_address.rpartition(":")[2]))
            clusters.append({**one, "http2_protocol_options": {}})
        config = bootstrap([listener("in", self.port, "bolt", [to("app")])], clusters)
        config = with_registry_api(
            config,
            sofa_port=self.sofa,
            dubbo_port=self.dubbo,
            inbound_port=self.port,
            native_port=native,
            keep_alive="1s",
            stall_timeout="10s",
            registration_clusters=[f"bridge{index}" for index in range(len(bridges))],
        )
        config["node"]["id"] = f"sidecar{number}"
        self.proxy = Proxy(config, home, name=f"sidecar{number}")

    def publish(self) -> None:
        """What the SDKs do."""
        eventually(lambda: fetch(f"127.0.0.1:{self.sofa}", "/services").status == 200, what="the registry API")
        self._post(self.sofa, "/configs/application", {"appName": "shop"})
        info = {"protocol": "1", "version": "4.0", "serializeType": "hessian2", "appName": "shop"}
        bolt = {"serviceName": f"{INTERFACE}:1.0", "protocolType": "bolt", "providerMetaInfo": info}
        self._post(self.sofa, "/services/publish", bolt)
        self._post(self.dubbo, "/pub", {"application": "shop", "service": {"interface": INTERFACE, "methods": ["get"]}})

    def _post(self, port: int, path: str, body: dict[str, Any]) -> None:
        response = fetch(f"127.0.0.1:{port}", path, method="POST", body=json.dumps(body).encode())
        answer = json.loads(response.text)
        assert answer.get("success", answer.get("err_no") == 0), answer


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    with ZooKeeper() as running:
        yield running


@pytest.fixture
def client(server: ZooKeeper) -> Iterator[KazooClient]:
    one = KazooClient(hosts=server.address)
    one.start(20)
    for root in ("/dubbo", "/sofa-rpc"):
        if one.exists(root):
            one.delete(root, recursive=True)
        one.ensure_path(root)
    yield one
    one.stop()
    one.close()


def replica(server: ZooKeeper, home: Path, name: str, *, warm: bool = False, **backsync: Any) -> Bridge:
    layouts = (("zoo", "dubbo"), ("sofa", "sofarpc"))
    registries = [
        {"name": one, "zookeeper": {"servers": server.address, "layout": layout, "session_timeout_s": 10}}
        for one, layout in layouts
    ]
    more = {
        "registration": {"grace_s": 2},
        "backsync": {"cluster": "east", "registries": ["zoo", "sofa"], "overlap_s": 1, **backsync},
        "debounce": {"quiet_ms": 10, "longest_ms": 100},
        **({"warm_start": {"path": str(home / "warm")}} if warm else {}),
    }
    return Bridge(registries, home, name=name, more=more)


def leases(bridge: Bridge) -> dict[str, str]:
    return {one["node"]: one["state"] for one in json.loads(bridge.admin("/leases").text)["leases"]}


def collection(bridge: Bridge) -> Any:
    return json.loads(bridge.admin("/collection").text)["services"]


def test_an_application_is_shown_whose_sidecar_dies_with_the_only_bridge(
    server: ZooKeeper, client: KazooClient, tmp_path: Path
) -> None:
    """It did not register itself: the bridge that comes back knows its address from before."""
    with ExitStack() as stack:
        bridge = stack.enter_context(replica(server, tmp_path, "one", warm=True))
        native = stack.enter_context(application())
        dubbo = stack.enter_context(Watcher(client, DUBBO))
        sidecar = Sidecar(0, [bridge], native, tmp_path)
        stack.enter_context(sidecar.proxy)
        sidecar.publish()
        eventually(lambda: dubbo.now == [f"dubbo 127.0.0.1:{sidecar.port}"], what="the sidecar's entry")
        kept = tmp_path / "warm.leases"
        eventually(lambda: kept.is_file() and INTERFACE in kept.read_text(), what="the lease on disk")
        sidecar.proxy.kill()
        bridge.kill()
        bridge.restart()
        eventually(lambda: dubbo.now == [f"dubbo 127.0.0.1:{native}"], what="the application's own address")
        assert leases(bridge) == {"sidecar0": "over"}


def test_a_killed_bridge_leaves_no_hole_and_no_ghost(server: ZooKeeper, client: KazooClient, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(replica(server, tmp_path, "one"))
        two = stack.enter_context(replica(server, tmp_path, "two"))
        natives = [stack.enter_context(application()) for _ in range(2)]
        dubbo = stack.enter_context(Watcher(client, DUBBO))
        sofa = stack.enter_context(Watcher(client, SOFA))
        sidecars = [Sidecar(number, [one, two], port, tmp_path) for number, port in enumerate(natives)]
        for sidecar in sidecars:
            stack.enter_context(sidecar.proxy)
            sidecar.publish()
        shown = sorted(sidecar.port for sidecar in sidecars)
        everything = {
            "dubbo": sorted(f"dubbo 127.0.0.1:{port}" for port in shown),
            "bolt": sorted(f"bolt 127.0.0.1:{port}" for port in shown),
        }
        eventually(lambda: dubbo.now == everything["dubbo"] and sofa.now == everything["bolt"], what="all entries")
        assert leases(one) == {"sidecar0": "open", "sidecar1": "open"}
        eventually(lambda: len(collection(two) or ()) == 1, what="what the other replica learns")
        eventually(lambda: collection(one) == collection(two), what="replicas that publish the same")
        first = len(dubbo.states), len(sofa.states)
        before = epochs(dubbo.states[-1])
        dead = owners(client, DUBBO) | owners(client, SOFA)
        assert len(dead) == 2
        one.kill()
        eventually(lambda: leases(two) == {"sidecar0": "open", "sidecar1": "open"}, what="the move of the leases")
        eventually(
            lambda: all(new > max(before) for new in epochs(dubbo.states[-1])) and dubbo.now == everything["dubbo"],
            what="the take-over of all entries",
        )
        eventually(lambda: "bolt" in sofa.now[0] and sofa.now == everything["bolt"], what="the same for Bolt")
        # What belongs to nobody's dead session does not go when that ends: neither a hole nor a ghost can follow.
        for place in (DUBBO, SOFA):
            assert not owners(client, place) & dead
        for names in dubbo.states[first[0] - 1 :]:
            assert set(everything["dubbo"]) <= set(addresses(names)), "a hole"
        for names in sofa.states[first[1] - 1 :]:
            assert set(everything["bolt"]) <= set(addresses(names)), "a hole"
        # A sidecar that is killed: its application itself is shown, and goes when it does.
        sidecars[0].proxy.kill()
        native = f"dubbo 127.0.0.1:{natives[0]}"
        eventually(lambda: dubbo.now == sorted([native, f"dubbo 127.0.0.1:{sidecars[1].port}"]), what="the fall-back")
        eventually(lambda: f"bolt 127.0.0.1:{natives[0]}" in sofa.now, what="the fall-back for Bolt")
        # One that is told to stop says so first.
        last = len(dubbo.states)
        sidecars[1].proxy.stop()
        eventually(lambda: dubbo.now == sorted(f"dubbo 127.0.0.1:{port}" for port in natives), what="the way back")
        both = {f"dubbo 127.0.0.1:{port}" for port in (sidecars[1].port, natives[1])}
        assert all(both & set(addresses(names)) for names in dubbo.states[last - 1 :]), "a hole"
        two.kill()


def bridge_of(server: ZooKeeper, home: Path, name: str, cluster_name: str, source: str, target: str) -> Bridge:
    """A bridge that mirrors one registry into the other one."""
    registries = [
        {
            "name": one,
            "zookeeper": {"servers": server.address, "root": f"/{one}", "session_timeout_s": 10},
            "removal_guard": "off",
            "flap_damping": "off",
        }
        for one in (source, target)
    ]
    backsync = {
        "cluster": cluster_name,
        "registries": [target],
        "overlap_s": 1,
        "mirror": [{"from": [source], "to": target}],
    }
    return Bridge(registries, home, name=name, more={"backsync": backsync})


def contents(client: KazooClient, folder: str) -> dict[str, tuple[bytes, int, int]]:
    """Everything that stands there, as it was written: data and the transactions that created and changed it."""
    found = {}
    for name in client.get_children(folder):
        data, stat = client.get(f"{folder}/{name}")
        found[unquote_plus(name)] = (data, stat.czxid, stat.mzxid)
    return found


def created(bridge: Bridge) -> int:
    (writer,) = json.loads(bridge.admin("/backsync").text)["writers"]
    return int(writer["counts"]["created"])


def test_a_ring_of_two_registries_comes_to_rest(server: ZooKeeper, client: KazooClient, tmp_path: Path) -> None:
    folders = {one: f"/{one}/{INTERFACE}/providers" for one in ("north", "south")}
    foreign = {}
    for number, (one, folder) in enumerate(folders.items()):
        if client.exists(f"/{one}"):
            client.delete(f"/{one}", recursive=True)
        url = f"dubbo://10.0.0.{number}:20880/{INTERFACE}?application=shop&interface={INTERFACE}&weight=50"
        client.create(f"{folder}/{quote_plus(url)}", b"theirs", makepath=True)
        foreign[one] = contents(client, folder)
    north, south = "dubbo 10.0.0.0:20880", "dubbo 10.0.0.1:20880"
    with ExitStack() as stack:
        watchers = {one: stack.enter_context(Watcher(client, folder)) for one, folder in folders.items()}
        east = stack.enter_context(bridge_of(server, tmp_path, "east", "east", "north", "south"))
        west = [
            stack.enter_context(bridge_of(server, tmp_path, f"west{number}", "west", "south", "north"))
            for number in range(2)
        ]
        eventually(lambda: all(one.now == [north, south] for one in watchers.values()), what="both in both")
        paths = {path_of(name) for one in watchers.values() for name in one.states[-1]}
        assert paths == {"", "east", "west"}
        # A third service, which only the west has seen come, goes round at most once.
        url = f"dubbo://10.0.0.2:20880/{INTERFACE}?interface={INTERFACE}"
        client.create(f"{folders['north']}/{quote_plus(url)}", b"theirs", ephemeral=True)
        third = "dubbo 10.0.0.2:20880"
        eventually(lambda: all(one.now == [north, south, third] for one in watchers.values()), what="the third one")
        client.delete(f"{folders['north']}/{quote_plus(url)}")
        eventually(lambda: all(one.now == [north, south] for one in watchers.values()), what="its end everywhere")
        assert created(east) == 2
        assert sum(map(created, west)) <= 2  # the third one may be seen to go in one registry before the other
        leaders = [one for one in west if json.loads(one.admin("/backsync").text)["mirrors"][0]["leader_epoch"]]
        first = len(watchers["north"].states)
        leaders[0].kill()
        survivor = next(one for one in west if one is not leaders[0])
        eventually(lambda: created(survivor) >= 1, what="a successor")
        eventually(lambda: watchers["north"].now == [north, south], what="its entries")
        for names in watchers["north"].states[first - 1 :]:
            assert south in addresses(names), "a hole"
        for bridge in (east, survivor):
            bridge.kill()
        for one, folder in folders.items():
            found = contents(client, folder)
            assert {name: found[name] for name in foreign[one]} == foreign[one]


def path_of(name: str) -> str:
    return name.partition("isthmus.path=")[2].partition("&")[0]
