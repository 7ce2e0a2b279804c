"""Vectors 31 to 34, and 35 of our own: restarts, slow readers, bursts, and the sudden loss of everything."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import yaml
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from conformance.xds import world
from conformance.xds.lab import Delta, Lab, running
from conformance.xds.vector import expect, vector
from harness.eventually import eventually_async, patience
from harness.isthmus import Bridge, ControlPlane
from harness.ports import free_port
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, ROUTE
from isthmus_controlplane.xds.server import ServerSettings
from isthmus_controlplane.xds.session import Limits
from isthmus_controlplane.xds.stream import Deadlines
from isthmus_controlplane.xds.testing import cluster, endpoints, names_in

NAME = "outbound|80||a.shop"
BURST = 1000
MOST_PUSHES = 12  # a second of changes, a debounce of 0.1 s to 1 s, and a slow machine


@vector(31, "nothing-is-served-before-the-stores-are-read")
async def _(lab: Lab) -> None:
    port, store = free_port(), world.store(lab.folder, world.service("a.shop", 9001))
    (lab.folder / "registry").mkdir()
    (lab.folder / "registry" / "one.yaml").write_text(yaml.safe_dump({"services": []}))
    before = await lab.control_plane(store, name="before")
    known = {each.name: each.version for each in (await lab.delta(address=before.grpc_address).get(CLUSTER)).resources}
    await asyncio.to_thread(before.kill)
    after = await lab.control_plane(store, mcp=[f"127.0.0.1:{port}"], name="after")
    stream = lab.delta(address=after.grpc_address)
    await stream.ask(CLUSTER, initial=known | {"gone": "1"})
    await stream.silent()
    registries = [{"name": "files", "file": {"path": str(lab.folder / "registry")}}]
    bridge = await asyncio.to_thread(lambda: Bridge(registries, lab.folder, mcp=f"127.0.0.1:{port}"))
    try:
        response = await stream.read()
    finally:
        await asyncio.to_thread(bridge.stop)
    seen = (names_in(response), list(response.removed_resources))
    expect(seen == ([], ["gone"]), f"after the restart, sent and removed {seen}")


@vector(32, "client-that-never-reads")
async def _(lab: Lab) -> None:
    settings = ServerSettings(deadlines=Deadlines(write=2.0), limits=Limits(response_bytes=64 << 20))
    async with running(lab.folder, settings) as strict:
        big = [cluster(f"cluster-{'x' * 1000}-{number}") for number in range(2000)]
        strict.publish(*big, endpoints("e", 1))
        deaf, lively = strict.delta(), strict.delta()
        await deaf.ask(CLUSTER)
        await lively.get(ENDPOINT, ["e"])
        for port in range(2, 30):
            strict.publish(*big, endpoints("e", port))
            response = await lively.read()
            expect(names_in(response) == ["e"], f"the lively client got {names_in(response)}")
            await lively.ack(response)
        await eventually_async(lambda: _only_one(strict), what="the deaf client is cut off")


async def _only_one(lab: Lab) -> bool:
    return len(lab.server.clients()) == 1


@vector(33, "a-thousand-changes-in-a-second")
async def _(lab: Lab) -> None:
    plane = await lab.control_plane(world.store(lab.folder, world.service("a.shop", 10000), _timeout(0)))
    stream = lab.delta(address=plane.grpc_address)
    await stream.get(ROUTE, ["80"])
    pushes = await _burst(lab, plane, stream, _timeout, _read_timeout)
    expect(pushes <= MOST_PUSHES, f"{BURST} changes made {pushes} pushes, wanted at most {MOST_PUSHES}")


@vector(35, "a-thousand-changes-of-endpoints-in-a-second")
async def _(lab: Lab) -> None:
    # Endpoints go out without waiting for the end of a burst, so the store's own pace is the bound.
    plane = await lab.control_plane(world.store(lab.folder, _moved(0)))
    stream = lab.delta(address=plane.grpc_address)
    await stream.get(ENDPOINT, [NAME])
    pushes = await _burst(lab, plane, stream, _moved, lambda raw: _ports(raw)[0] - 10000)
    expect(pushes <= BURST // 4, f"{BURST} changes made {pushes} pushes, wanted at most {BURST // 4}")


def _timeout(number: int) -> dict[str, Any]:
    return world.routes("a.shop", {"route": [world.to("a.shop")], "timeout": f"{number + 1}s"})


def _read_timeout(raw: bytes) -> int:
    for host in RouteConfiguration.FromString(raw).virtual_hosts:
        if host.routes[0].route.timeout.seconds:
            return int(host.routes[0].route.timeout.seconds) - 1
    return -1


def _moved(number: int) -> dict[str, Any]:
    return world.service("a.shop", 10000 + number)


async def _burst(
    lab: Lab,
    plane: ControlPlane,
    stream: Delta,
    document: Callable[[int], dict[str, Any]],
    number_in: Callable[[bytes], int],
) -> int:
    """Write the document a thousand times, wait until the client has the last one, and count the pushes."""
    before = await _metric(plane, "isthmus_xds_pushes_total")
    writing = asyncio.create_task(_write_all(lab, document))
    seen = -1
    async with asyncio.timeout(patience()):
        while seen != BURST:
            response = await stream.read()
            await stream.ack(response)
            seen = number_in(response.resources[0].resource.value)
    await writing
    return await _metric(plane, "isthmus_xds_pushes_total") - before


async def _write_all(lab: Lab, document: Callable[[int], dict[str, Any]]) -> None:
    for number in range(1, BURST + 1):
        others = [] if document is _moved else [world.service("a.shop", 10000)]
        await asyncio.to_thread(world.write, lab.folder, *others, document(number))


def _ports(raw: bytes) -> list[int]:
    assignment = ClusterLoadAssignment.FromString(raw)
    return [
        endpoint.endpoint.address.socket_address.port_value
        for locality in assignment.endpoints
        for endpoint in locality.lb_endpoints
    ]


@vector(34, "sudden-loss-of-most-endpoints")
async def _(lab: Lab) -> None:
    ports = range(10000, 10020)
    plane = await lab.control_plane(world.store(lab.folder, world.service("a.shop", *ports)))
    stream = lab.delta(address=plane.grpc_address)
    response = await stream.get(ENDPOINT, [NAME])
    expect(len(_ports(response.resources[0].resource.value)) == len(ports), "not all endpoints were there")
    added = 10050
    world.write(lab.folder, world.service("a.shop", ports[0], added))
    left = _ports((await stream.read()).resources[0].resource.value)
    text = (await asyncio.to_thread(plane.admin, "/metrics")).text
    guarded = re.search(r"^isthmus\w*guard_held (\d+)", text, re.MULTILINE)
    expect(added in left, "the instance that came with the loss is not there")
    expect(
        len(left) == len(ports) + 1 and guarded and int(guarded[1]) == len(ports) - 1,
        f"{len(ports) - 1} of {len(ports)} endpoints went at once and the clients were left with {len(left)}: "
        "no guard holds back a sudden loss, or no metric tells of one",
    )


async def _metric(plane: ControlPlane, name: str) -> int:
    text = (await asyncio.to_thread(plane.admin, "/metrics")).text
    match = re.search(rf"^{name} (\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0
