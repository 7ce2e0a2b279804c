"""The suite ``xds``: the vectors one by one, and the resource types that clients may ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from conformance.result import Outcome, failed, not_applicable, passed, verdict
from conformance.xds import delta_vectors, files, fleet_vectors, sotw_vectors, world
from conformance.xds.lab import Delta, running
from conformance.xds.vector import VECTORS, NotApplicableError, Vector
from isthmus_controlplane.snapshot.resource_type import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    TYPE_PREFIX,
    VIRTUAL_HOST,
)

NAME = "xds"
PEERS: tuple[str, ...] = ()
MODULES = (sotw_vectors, delta_vectors, fleet_vectors)  # imported for the vectors that they register
VECTOR_DEADLINE_S = 90.0
ANSWER_S = 3.0  # an absent name is answered at once, unless the type has no such answer

SERVED = {"CDS": (CLUSTER, "*"), "EDS": (ENDPOINT, "outbound|80||a.shop"), "LDS": (LISTENER, "*"), "RDS": (ROUTE, "80")}
OTHER_TYPES = {
    "VHDS": (VIRTUAL_HOST, "80/b.shop"),
    "SRDS": (SCOPED_ROUTE, "by-header"),
    "SDS": (SECRET, files.SECRET_NAME),
    "ECDS": (EXTENSION_CONFIG, "stamp"),
    "RTDS": (RUNTIME, "flags"),
}


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Ask our control plane."""
    del subject
    for name in ("isthmus_controlplane", "grpc", "asyncio"):  # streams end in every way here: that is no news
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for number in sorted(VECTORS):
        place = folder / str(number)
        place.mkdir()
        yield asyncio.run(_ask(VECTORS[number], place))
    yield from asyncio.run(_types(folder))


async def _ask(vector: Vector, folder: Path) -> Outcome:
    try:
        async with asyncio.timeout(VECTOR_DEADLINE_S), running(folder) as lab:
            await vector.check(lab)
    except NotApplicableError as reason:
        return not_applicable(NAME, vector.name, str(reason))
    except (AssertionError, TimeoutError, RuntimeError) as error:
        return failed(NAME, vector.name, str(error) or type(error).__name__)
    return passed(NAME, vector.name)


async def _types(folder: Path) -> list[Outcome]:
    """Which types a control plane with one service serves."""
    async with running(folder) as lab:
        options = await asyncio.to_thread(files.options, folder)
        plane = await lab.control_plane(world.store(folder, world.service("a.shop", 9001)), options=options)
        return [outcome async for outcome in _each_type(lab.delta(address=plane.grpc_address))]


async def _each_type(stream: Delta) -> AsyncIterator[Outcome]:
    for short, (type_url, name) in (SERVED | OTHER_TYPES).items():
        await stream.ask(type_url, [name])
        try:
            response = await stream.read(ANSWER_S)
        except AssertionError:
            found = False
        else:
            await stream.ack(response)
            found = bool(response.resources)
        problem = f"no resources of type {type_url.removeprefix(TYPE_PREFIX)} are served"
        yield verdict(NAME, f"type-{short}", [] if found else [problem])
