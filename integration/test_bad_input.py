"""What is wrong is named by file, path and value, and changes nothing that already works."""

import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import bootstraps, pushes, rules
from demo.registries import ZooKeeperRegistry
from demo.shop import REVIEWS, ClientSpec, Shop
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy, write_atomically
from harness.load import Load, Target
from harness.origin import Origin
from harness.ports import free_port
from harness.process import run

AUTHORITY = f"{REVIEWS}:9080"
CLIENTS = (ClientSpec("isthmus", "isthmus"), ClientSpec("envoy", "envoy"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop(tmp_path_factory.mktemp("shop"), with_zookeeper=False, clients=CLIENTS) as shop:
        shop.wait_until_served()
        before = pushes.newest(shop.control_plane)
        shop.split({"v1": 100, "v2": 0})
        pushes.wait_converged(shop.control_plane, before)
        yield shop


@pytest.fixture
def undisturbed(shop: Shop) -> Iterator[None]:
    """Load on all clients: all of it must be answered by v1, before, during and after what the test does."""
    loads = [
        Load(Target(client.address, "/", AUTHORITY, connections=2, rate=200), name)
        for name, client in shop.clients.items()
    ]
    for load in loads:
        load.start()
    yield
    for load in loads:
        load.sample("after", 100)
        total = load.stop()
        assert (total.failed, set(total.versions)) == (0, {"v1"}), list(total.failures)[:3]


def refused(shop: Shop, directory: Path, *documents: Mapping[str, Any]) -> str:
    """What isthmusctl says when it refuses these documents."""
    path = directory / "wrong.yaml"
    path.write_text(rules.dump(*documents))
    done = shop.control_plane.ctl("apply", "-f", path, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


@pytest.mark.usefixtures("undisturbed")
def test_broken_yaml_in_a_registry_file_keeps_its_last_good_state(shop: Shop) -> None:
    path = shop.files.directory / "shop.yaml"
    good = path.read_text()
    try:
        write_atomically(path, "services: [")
        eventually(lambda: files_source(shop)["problems"] == 1)
        assert "shop.yaml: line 1" in shop.bridge.process.tail()
    finally:
        write_atomically(path, good)
    eventually(lambda: files_source(shop)["problems"] == 0)


@pytest.mark.usefixtures("undisturbed")
def test_unknown_field_in_a_registry_file_is_named_by_path(shop: Shop) -> None:
    path = shop.files.directory / "extra.yaml"
    service = {"host": "extra.shop", "ports": [{"number": 80, "protocol": "HTTP", "colour": "red"}]}
    write_atomically(path, yaml.safe_dump({"services": [service]}))
    try:
        eventually(
            lambda: "services[0].ports[0].colour" in shop.bridge.process.tail(), what="the bridge names the field"
        )
    finally:
        path.unlink()
    eventually(lambda: files_source(shop)["problems"] == 0)


def files_source(shop: Shop) -> Any:
    return next(source for source in shop.bridge.admin("/sources").json()["sources"] if source["name"] == "files")


@pytest.mark.usefixtures("undisturbed")
def test_broken_yaml_in_the_store_keeps_the_last_good_rules(shop: Shop) -> None:
    path = next(iter(sorted(shop.rules_directory.rglob("*irtual*ervice*.yaml"))), None) or next(
        shop.rules_directory.rglob("*.yaml")
    )
    good = path.read_text()
    try:
        write_atomically(path, "kind: [")
        eventually(lambda: any(path.name in problem["origin"] for problem in shop.control_plane.status()["problems"]))
    finally:
        write_atomically(path, good)
    eventually(lambda: not shop.control_plane.status()["problems"])


@pytest.mark.usefixtures("undisturbed")
def test_unknown_kind_is_refused(shop: Shop, tmp_path: Path) -> None:
    said = refused(shop, tmp_path, {**rules.split(REVIEWS, {"v1": 100}), "kind": "VirtualServcie"})
    assert "wrong.yaml" in said
    assert "VirtualServcie" in said


@pytest.mark.usefixtures("undisturbed")
def test_unknown_field_is_refused(shop: Shop, tmp_path: Path) -> None:
    document = rules.split(REVIEWS, {"v1": 100})
    document["spec"]["http"][0]["route"][0]["wieght"] = 3
    said = refused(shop, tmp_path, document)
    assert "wrong.yaml" in said
    assert "wieght" in said


@pytest.mark.usefixtures("undisturbed")
def test_route_to_a_missing_subset_is_named_and_not_used(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "missing.yaml"
    path.write_text(rules.dump(rules.split(REVIEWS, {"v9": 100})))
    try:
        done = shop.control_plane.ctl("apply", "-f", path, check=False)
        said = done.stdout + done.stderr + shop.control_plane.admin("/problems").text
        assert "spec.http[0].route[0].destination.subset" in said
        assert "v9" in said
        for client in shop.clients.values():
            assert fetch(client.address, "/", headers={"host": AUTHORITY}).json()["version"] == "v1"
    finally:
        shop.split({"v1": 100, "v2": 0})


@pytest.mark.usefixtures("undisturbed")
def test_a_client_whose_port_is_taken_says_so_and_disturbs_nobody(shop: Shop, tmp_path: Path) -> None:
    """The listener that the control plane sends cannot be opened: a NACK, shown by status, with nothing else lost."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bootstrap = bootstraps.client_sidecar("conflicted", port, shop.control_plane.grpc_address)
        with Proxy(bootstrap, tmp_path) as proxy:
            eventually(
                lambda: f"127.0.0.1:{port}" in rejections(shop, "conflicted"), what="the NACK in isthmusctl status"
            )
            assert proxy.process.running
            clusters = proxy.admin("/clusters").text
            assert f"outbound|9080|v1|{REVIEWS}" in clusters


def rejections(shop: Shop, name: str) -> str:
    """What the client of that name has rejected, and why."""
    clients = [client for client in shop.control_plane.status()["clients"] if f"~{name}." in client["node_id"]]
    return " ".join(kind["nack"]["message"] for client in clients for kind in client["types"] if kind["nack"])


def test_static_listener_on_a_taken_port_is_refused_at_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = start_proxy(bootstraps.service_sidecar("a", address, "127.0.0.1:1"), tmp_path)
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_bootstrap_with_an_unsupported_field_is_refused_by_path_and_value(tmp_path: Path) -> None:
    bootstrap = bootstraps.service_sidecar("a", "127.0.0.1:0", "127.0.0.1:1")
    bootstrap["static_resources"]["clusters"][0]["preconnect_policy"] = {"per_upstream_preconnect_ratio": 2.0}
    done = start_proxy(bootstrap, tmp_path, command="validate")
    assert done.returncode == 1
    assert "bootstrap.json: static_resources.clusters[0].preconnect_policy" in done.stderr
    assert "Traceback" not in done.stderr


def start_proxy(bootstrap: Mapping[str, Any], directory: Path, command: str = "run") -> Any:
    from harness.envoy import write_bootstrap

    path = write_bootstrap(bootstrap, directory)
    return run([sys.executable, "-m", "isthmus_proxy", command, "-c", path], within=30)


def test_unreachable_control_plane_keeps_static_listeners_serving(tmp_path: Path) -> None:
    with Origin("static", "v1", tmp_path) as origin:
        port = free_port()
        bootstrap = bootstraps.client_sidecar("lonely", free_port(), f"127.0.0.1:{free_port()}")
        static = bootstraps.service_sidecar("lonely", f"127.0.0.1:{port}", origin.address)["static_resources"]
        bootstrap["static_resources"]["listeners"] = static["listeners"]
        bootstrap["static_resources"]["clusters"] += static["clusters"]
        with Proxy(bootstrap, tmp_path) as proxy:
            served = eventually(lambda: fetch(f"127.0.0.1:{port}", "/"))
            assert served.json()["service"] == "static"
            assert proxy.process.running
            assert proxy.stop() == 0


def test_taken_admin_port_of_the_control_plane_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = ["run", "--store", "memory:", "--grpc", "127.0.0.1:0", "--admin", address]
        done = run([sys.executable, "-m", "isthmus_controlplane", *command], within=30)
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_junk_in_zookeeper_is_named_and_the_rest_is_served(tmp_path: Path) -> None:
    with Shop(tmp_path, with_zookeeper=True, clients=CLIENTS[:1]) as shop:
        shop.wait_until_served()
        assert isinstance(shop.nodes, ZooKeeperRegistry)
        shop.nodes.client.create("/dubbo/shop.Reviews/providers/junk")
        shop.nodes.client.create("/dubbo/shop.Junk/providers", makepath=True)
        eventually(lambda: "'junk': is not a URL" in shop.bridge.process.tail(), what="the bridge names the node")
        shop.add_instance("ratings-b", "shop.ratings", "v1")
        eventually(lambda: served_by(shop, "shop.ratings", "ratings-b"), what="a later change arrives all the same")


def served_by(shop: Shop, host: str, instance: str) -> bool:
    client = shop.clients["isthmus"]
    return fetch(client.address, "/", headers={"host": host}).header("x-instance") == instance
