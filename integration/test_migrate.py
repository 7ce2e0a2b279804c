"""``isthmusctl migrate`` on a live mesh: registry, bridge, control plane, sidecars that report, and a client under load.

A good service reaches its mesh addresses and comes back without a failed request, an interruption included; one of whose sidecars
injects faults is gone back from, with figures.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.bootstraps import client_sidecar, static_cluster
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, ControlPlane, Proxy, module
from harness.load import Load, Target
from harness.origin import Origin
from harness.ports import free_ports
from harness.process import Process

GOOD, BAD = "good.shop", "bad.shop"
INSTANCES = 4
FAULTY = 2  # the instance of BAD whose sidecar answers 500 itself; by the hash of its name the third that is moved
FILTERS = "type.googleapis.com/envoy.extensions.filters"


def listener(name: str, port: int, cluster: str, *, faulty: bool) -> dict[str, Any]:
    """A sidecar's inbound listener."""
    abort = {
        "@type": f"{FILTERS}.http.fault.v3.HTTPFault",
        "abort": {"http_status": 500, "percentage": {"numerator": 50}},
    }
    faults = [{"name": "fault", "typed_config": abort}] if faulty else []
    router = {"name": "router", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "in", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*faults, router],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "address": address,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


class Mesh:
    """Two services of the same four applications: each application has one sidecar port for each service."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._parts: list[Any] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        directory = self.directory
        origins = [self._add(Origin("app", "v1", directory, instance=f"app-{n}")) for n in range(INSTANCES)]
        first = free_ports(2 * INSTANCES + 3)
        self.mesh_ports = {
            GOOD: list(range(first, first + INSTANCES)),
            BAD: list(range(first + INSTANCES, first + 2 * INSTANCES)),
        }
        grpc, mcp, proxy_port = (first + 2 * INSTANCES + n for n in range(3))
        inbound = [
            listener(f"{host}-{n}", port, f"app-{n}", faulty=host == BAD and n == FAULTY)
            for host, ports in self.mesh_ports.items()
            for n, port in enumerate(ports)
        ]
        clusters = [static_cluster(f"app-{n}", origin.address) for n, origin in enumerate(origins)]
        sidecars = {
            "node": {"id": "sidecars", "cluster": "sidecars"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {"listeners": inbound, "clusters": clusters},
        }
        self._add(Proxy(sidecars, directory, name="sidecars")).wait_ready()
        registry = directory / "registry"
        registry.mkdir()
        services = [self._service(host, [origin.port for origin in origins]) for host in (GOOD, BAD)]
        (registry / "shop.yaml").write_text(yaml.safe_dump({"services": services}))
        self.control_plane = self._add(
            ControlPlane(
                "memory:", directory, mcp=[f"127.0.0.1:{mcp}"], grpc=f"127.0.0.1:{grpc}",
                options=["--load-report-interval-s", "0.4"],
            )
        )  # fmt: skip
        files = {"name": "files", "file": {"path": str(registry)}}
        options = {"dual_mode": {"control_plane": f"xds://127.0.0.1:{grpc}"}}
        self.bridge = self._add(DualModeBridge([files], directory, options, mcp=f"127.0.0.1:{mcp}"))
        bootstrap = client_sidecar("client", proxy_port, f"127.0.0.1:{grpc}", reconnect_soon=True)
        server = {"envoy_grpc": {"cluster_name": "xds"}}
        bootstrap["cluster_manager"] = {
            "load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [server]}
        }
        self.client = self._add(Proxy(bootstrap, directory, name="client")).wait_ready()
        self.address = f"127.0.0.1:{proxy_port}"

    def _service(self, host: str, native: list[int]) -> dict[str, Any]:
        instances: list[dict[str, Any]] = []
        for n, port in enumerate(native):
            one = {"address": "127.0.0.1", "instance": f"app-{n}"}
            instances += [{**one, "port": port}, {**one, "port": self.mesh_ports[host][n], "side": "mesh"}]
        return {"host": host, "ports": [{"name": "http", "number": 80, "protocol": "HTTP"}], "instances": instances}

    def _add(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def stop(self) -> None:
        """Stop everything, the last one first."""
        while self._parts:
            self._parts.pop().stop()

    def apply(self, host: str) -> None:
        """A policy that shows everybody native addresses."""
        native = {"prefer": ["native", "mesh"]}
        policy = {
            "apiVersion": "isthmus.io/v1alpha1",
            "kind": "DualMode",
            "metadata": {"name": host.partition(".")[0]},
            "spec": {"host": host, "sdk": native, "mesh": native, "overlap": "0.5s"},
        }
        path = self.directory / f"{host}.yaml"
        path.write_text(json.dumps(policy))
        self.control_plane.ctl("apply", "-f", path)
        eventually(lambda: self.share(host) == 0.0, what=f"{host} by native addresses")

    def arguments(self, host: str, *more: str) -> list[str]:
        """The command line of a migration."""
        return ["migrate", host, "--bridge", f"http://{self.bridge.admin_address}", "--json", *more]

    def migrate(self, host: str, *more: str) -> tuple[int, list[Any]]:
        """Run one to its end: the exit status, and what it said."""
        done = self.control_plane.ctl(*self.arguments(host, *more), check=False)
        assert done.returncode in (0, 3, 4), done.stdout + done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def start_migration(self, host: str, *more: str) -> Process:
        """Begin one, in a process of its own."""
        server = f"http://{self.control_plane.admin_address}"
        argv = [*module("isthmus_controlplane.ctl"), "--server", server, *self.arguments(host, *more)]
        return Process("migrate", argv, log=self.directory / "migrate.log")

    def record(self, host: str) -> Any:
        """What ``migrate status`` says; None when it says nothing."""
        rows = json.loads(self.control_plane.ctl("migrate", "status", "--json").stdout or "[]")
        return next((row for row in rows if row["service"] == host), None)

    def share(self, host: str) -> float:
        """The share of instances that mesh consumers are shown by their mesh address."""
        page = self.bridge.admin(f"/dualmode?host={host}").json()
        found: float = page["services"][f"default/{host}"]["mesh_share_mesh"]
        return found


class DualModeBridge(Bridge):
    """A bridge with more in its configuration."""

    def __init__(self, registries: list[dict[str, Any]], directory: Path, more: dict[str, Any], *, mcp: str) -> None:
        self._more = more
        super().__init__(registries, directory, mcp=mcp)

    def _start(self) -> Process:
        configuration = yaml.safe_load(self.config.read_text())
        self.config.write_text(yaml.safe_dump(configuration | self._more))
        return super()._start()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("migrate"))
    try:
        for host in (GOOD, BAD):
            mesh.apply(host)
            eventually(lambda host=host: fetch(mesh.address, "/", headers={"host": host}).status == 200)  # type: ignore[misc]
        yield mesh
    finally:
        mesh.stop()


def events(said: list[Any], kind: str) -> list[Any]:
    return [each for each in said if each["event"] == kind]


def test_a_good_migration_reaches_all_and_comes_back_and_nobody_notices(mesh: Mesh) -> None:
    with Load(Target(mesh.address, "/", GOOD, connections=4, rate=200)) as load:
        load.sample("before", 100)
        walk = ["--to", "mesh", "--step", "50%", "--interval", "5m", "--min-requests", "50"]
        running = mesh.start_migration(GOOD, *walk)
        eventually(lambda: (record := mesh.record(GOOD)) is not None and record["percent"] == 50, what="50 %")
        eventually(lambda: mesh.share(GOOD) == 0.5, what="two of four")
        refused = mesh.control_plane.ctl(*mesh.arguments(GOOD, *walk), check=False)
        assert (refused.returncode, "runs a migration of good.shop to mesh" in refused.stderr) == (1, True)
        running.send_signal(signal.SIGTERM)  # as Ctrl-C, which a shell makes its background jobs ignore
        assert running.wait() == 4
        stands = mesh.record(GOOD)
        assert (stands["status"], stands["percent"]) == ("interrupted", 50)
        status, said = mesh.migrate(GOOD, "--resume", "--interval", "1s")
        assert status == 0, said
        assert [each["percent"] for each in events(said, "held")] == [50, 100]
        for held in events(said, "held"):
            assert held["told_apart"]
            assert held["judged"]["succeeded"] >= 50, "by the client's own reports"
            assert (held["judged"]["failed"], held["beside"]["failed"]) == (0, 0)
        assert (mesh.share(GOOD), mesh.record(GOOD)["status"]) == (1.0, "completed")
        load.sample("at mesh addresses", 100)
        status, said = mesh.migrate(GOOD, "--to", "sdk", "--step", "50%", "--interval", "1s")
        assert (status, [each["percent"] for each in events(said, "held")]) == (0, [50, 0])
        assert mesh.share(GOOD) == 0.0
        load.sample("after", 100)
        total = load.stop()
    assert total.failed == 0, list(total.failures)[:3]
    assert total.requests > 1000


def test_a_fault_behind_mesh_addresses_is_gone_back_from_with_figures(mesh: Mesh) -> None:
    with Load(Target(mesh.address, "/", BAD, connections=4, rate=200)) as load:
        load.sample("before", 100)
        walk = [
            "--to",
            "mesh",
            "--step",
            "25%",
            "--interval",
            "1s",
            "--abort-on",
            "error-rate>5%",
            "--min-requests",
            "100",
        ]
        status, said = mesh.migrate(BAD, *walk)
        assert status == 3, said
        looks = itertools.count()
        eventually(lambda: load.sample(f"after-{next(looks)}", 100).failed == 0, what="everybody at native addresses")
        assert len(load.failures()) > 0
    [back] = events(said, "going-back")
    assert (back["cause"], back["max_error_rate"], back["percent"]) == ("breach", 0.05, 0)
    assert back["failed_at"] == 75, "the step that moves the faulty instance"
    assert back["judged"]["error_rate"] > 0.05
    assert back["beside"]["failed"] == 0
    [worst] = back["worst"]
    assert worst["address"] == f"127.0.0.1:{mesh.mesh_ports[BAD][FAULTY]}"
    assert 5 < worst["failed"] == back["judged"]["failed"]
    assert f"at {back['failed_at']:g} %" in back["message"]
    assert [each["percent"] for each in events(said, "held")] == [25, 50]
    [ended] = events(said, "back")
    assert ended["message"].endswith("confirmed by all")
    assert mesh.share(BAD) == 0.0
    record = mesh.record(BAD)
    assert (record["status"], record["percent"]) == ("gone-back", 0)
    assert record["message"].startswith("breach: ")
    shown = mesh.control_plane.ctl("migrate", "status", BAD).stdout
    assert "gone-back" in shown
    assert "error rate above 5 %" in shown


def test_without_traffic_nothing_goes_on_in_silence(mesh: Mesh) -> None:
    status, said = mesh.migrate(GOOD, "--to", "mesh", "--step", "50%", "--interval", "1s")
    assert status == 4
    [back] = events(said, "going-back")
    assert (back["cause"], back["failed_at"]) == ("no-data", 50)
    assert mesh.share(GOOD) == 0.0
