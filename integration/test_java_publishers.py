"""Java applications that register themselves in ZooKeeper, Dubbo's and SOFARPC's: the bridge sees them come, scale, restart and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.eventually import eventually
from harness.isthmus import Bridge
from harness.java import Provider
from harness.ports import free_port
from harness.zookeeper import ZooKeeper

pytestmark = pytest.mark.peer("zookeeper")
HOST = "mesh.isthmus.apps.greeter"
FRAMEWORKS = {"dubbo": ("DubboRegistryApp", "{}"), "sofarpc": ("SofaApp", "zookeeper://{}")}
ROOTS = {"dubbo": "/dubbo", "sofarpc": "/sofa-rpc"}


@pytest.fixture(scope="module")
def zookeeper() -> Iterator[ZooKeeper]:
    with ZooKeeper() as running:
        yield running


def served(bridge: Bridge) -> set[int]:
    """The ports at which the bridge publishes the service; SOFARPC registers an address of the machine, whichever it finds."""
    answer = bridge.admin(f"/entry?name=default/{HOST}")
    if answer.status != 200:
        return set()
    return {port for one in json.loads(answer.text)["spec"]["endpoints"] for port in one["ports"].values()}


@pytest.mark.parametrize("layout", FRAMEWORKS)
def test_publishers_come_scale_restart_and_go(zookeeper: ZooKeeper, layout: str, tmp_path: Path) -> None:
    main, address = FRAMEWORKS[layout]
    registry = {"servers": zookeeper.address, "layout": layout, "root": ROOTS[layout]}
    ports = free_port(), free_port()
    with ExitStack() as stack:
        bridge = stack.enter_context(Bridge([{"name": "zoo", "zookeeper": registry}], tmp_path))
        one, two = (
            stack.enter_context(Provider(main, f"provider-{port}", port, tmp_path, address.format(zookeeper.address)))
            for port in ports
        )
        eventually(lambda: served(bridge) == set(ports), what="both")
        one.stop()
        eventually(lambda: served(bridge) == {two.port}, what="the one that stays")
        one.start()
        eventually(lambda: served(bridge) == set(ports), what="the one that came back")
        two.stop()
        eventually(lambda: served(bridge) == {one.port}, what="scaled down")
