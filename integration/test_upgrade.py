"""Hot upgrade of a sidecar that has everything from the control plane: under load, and while the control plane is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.xds import world
from demo.bootstraps import ApiType, client_sidecar
from harness.eventually import eventually
from harness.isthmus import ControlPlane, Proxy, module
from harness.load import Load, Target
from harness.origin import Origin
from harness.ports import free_port
from harness.process import Process

HOST = "reviews.example"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with Origin("reviews", "v1", tmp_path / "origin") as started:
        yield started


def sidecar(port: int, plane: int, api_type: ApiType) -> dict[str, Any]:
    """One that waits for the control plane only half a second at its start."""
    config = client_sidecar("client", port, f"127.0.0.1:{plane}", api_type, reconnect_soon=True)
    for name in ("cds_config", "lds_config"):
        config["dynamic_resources"][name]["initial_fetch_timeout"] = "0.5s"
    return config


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_a_sidecar_is_succeeded_once_the_control_plane_has_told_the_next_one(
    api_type: ApiType, origin: Origin, tmp_path: Path
) -> None:
    port, plane_port = free_port(), free_port()
    store = world.store(tmp_path, world.service(HOST, origin.port, protocol="HTTP"))
    plane = ControlPlane(store, tmp_path, grpc=f"127.0.0.1:{plane_port}")
    options = ["--handover-path", str(tmp_path / "handover"), "--drain-time-s", "1"]
    config = sidecar(port, plane_port, api_type)
    with plane, Proxy(config, tmp_path / "first", options=options) as first:
        first.wait_ready()
        with (
            Load(Target(f"127.0.0.1:{port}", authority=HOST, connections=8, rate=200)) as load,
            Proxy(config, tmp_path / "second", options=options) as second,
        ):
            second.wait_ready()
            eventually(lambda: not first.process.running)
            load.phase("away")
            plane.kill()
            log = tmp_path / "third.log"
            with Process(
                "third", [*module("isthmus_proxy"), "upgrade", "-c", second.bootstrap, *options], log=log
            ) as third:
                eventually(
                    lambda: log.is_file() and "serves on until the control plane has answered" in log.read_text()
                )
                assert second.ready()
                plane.restart()
                eventually(lambda: not second.process.running)
                load.sample("third", 50)
                assert third.running
                load.stop()
    total = load.total()
    assert (total.failed, dict(total.statuses)) == (0, {200: total.requests}), load.failures()
