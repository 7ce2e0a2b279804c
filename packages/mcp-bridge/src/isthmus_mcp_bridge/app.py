"""The composition root: builds the parts from the configuration, runs them, and takes them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Any

import grpc

from isthmus_mcp_bridge.admin.server import AdminServer
from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import Debounce
from isthmus_mcp_bridge.config.model import Address, BridgeConfig
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.mcp.service import (
    REFUSED_METRIC,
    REQUESTS_METRIC,
    RESPONSES_METRIC,
    McpSource,
    SourceSettings,
)
from isthmus_mcp_bridge.observe.metrics import Metrics, Sample
from isthmus_mcp_bridge.publisher import EVENTS_METRIC, PUBLISHED_METRIC, Publisher
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.build import build_registry

STOP_GRACE_S = 1.0
"""How long open streams may go on after the order to stop; sinks reconnect to another replica."""

COUNTERS = {
    EVENTS_METRIC: "Events of registries.",
    PUBLISHED_METRIC: "Snapshots published.",
    REQUESTS_METRIC: "Requests of sinks by what they meant.",
    RESPONSES_METRIC: "Responses sent to sinks.",
    REFUSED_METRIC: "Streams refused because there were too many.",
}
GAUGES = {
    "isthmus_bridge_source_state": "1 for the state in which a registry is.",
    "isthmus_bridge_source_problems": "Entries of a registry that cannot be used.",
    "isthmus_bridge_source_held_deletions": "Deletions not believed because the registry was not LIVE.",
    "isthmus_bridge_source_held_origins": "Origins whose loss is doubted, so that what they held stays published.",
    "isthmus_bridge_source_holds": "How often a mass removal was held.",
    "isthmus_bridge_services": "Services merged from all registries.",
    "isthmus_bridge_streams": "Open streams of sinks.",
    "isthmus_bridge_ready": "1 once services are served.",
}

log = logging.getLogger(__name__)


async def run(config: BridgeConfig, address_path: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT. Raises BridgeError when it cannot listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    random_source = random.Random()
    registries = [build_registry(one, random_source.random) for one in config.registries]
    async with serve(config, registries) as addresses:
        if address_path is not None:
            write_addresses(address_path, addresses)
        log.info("listening: %s", ", ".join(f"{name} {address}" for name, address in addresses.items()))
        await stop.wait()
        log.info("stopping")


@contextlib.asynccontextmanager
async def serve(config: BridgeConfig, registries: Iterable[Registry]) -> AsyncIterator[dict[str, str]]:
    """Run all parts for the length of the block, which gets the addresses bound: ``mcp`` and ``admin``.

    A part that fails for a reason nobody foresaw takes the block down with it rather than leave half a bridge.
    """
    loop = asyncio.get_running_loop()
    metrics = Metrics(COUNTERS, GAUGES)
    settings = SourceSettings(config.mcp.max_streams, max_response_bytes=config.mcp.max_response_bytes)
    source = McpSource(settings, metrics, secrets.token_hex(4))
    publisher = Publisher(
        Catalog(
            [one.name for one in config.registries],
            {one.name: one.removal_guard for one in config.registries if one.removal_guard is not None},
        ),
        Barrier({one.name: loop.time() + one.sync_deadline_s for one in config.registries}),
        Debounce(config.debounce.quiet_ms / 1000, config.debounce.longest_ms / 1000),
        source.publish,
        metrics,
        loop.time,
    )
    metrics.collect_from(lambda: _samples(publisher, source))
    async with (
        _listening(config, publisher, source, settings, metrics) as addresses,
        _background([publisher.run(), *(one.run(publisher.take) for one in registries)]),
    ):
        yield addresses


@contextlib.asynccontextmanager
async def _listening(
    config: BridgeConfig, publisher: Publisher, source: McpSource, settings: SourceSettings, metrics: Metrics
) -> AsyncIterator[dict[str, str]]:
    admin = AdminServer(publisher, source, metrics)
    server = grpc.aio.server(options=settings.channel_options())
    server.add_generic_rpc_handlers((source.handlers(),))
    try:
        mcp_port = _bind(server, config.mcp.address)
        admin_port = await admin.start(config.admin.host, config.admin.port)
        await server.start()
        yield {
            "mcp": str(Address(config.mcp.address.host, mcp_port)),
            "admin": str(Address(config.admin.host, admin_port)),
        }
    finally:
        await server.stop(STOP_GRACE_S)
        await admin.stop()


def _bind(server: grpc.aio.Server, address: Address) -> int:
    """Bind the MCP server. Raises BridgeError."""
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise BridgeError(f"mcp.address {address}: cannot listen; choose another one or stop what holds it") from error
    if port == 0:
        raise BridgeError(f"mcp.address {address}: cannot listen; choose another one or stop what holds it")
    return port


@contextlib.asynccontextmanager
async def _background(coroutines: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run the coroutines beside the block and cancel them after it; an error of the block comes out as it is."""
    failed: BridgeError | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in coroutines]
        try:
            yield
        except BridgeError as error:
            failed = error
        finally:
            for task in tasks:
                task.cancel()
    if failed is not None:
        raise failed


def write_addresses(path: Path, addresses: dict[str, str]) -> None:
    """Write the addresses as a JSON object, atomically: who sees the file sees all of it. Raises BridgeError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps(addresses) + "\n")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise BridgeError(f"--address-path {path}: cannot be written ({error.strerror or error})") from error


def _samples(publisher: Publisher, source: McpSource) -> Iterable[Sample]:
    """The gauges at this moment."""
    for one in publisher.catalog.sources.values():
        for state in SourceState:
            yield Sample("isthmus_bridge_source_state", one.state is state, {"source": one.name, "state": state})
        yield Sample("isthmus_bridge_source_problems", len(one.problems()), {"source": one.name})
        yield Sample("isthmus_bridge_source_held_deletions", one.held_deletions, {"source": one.name})
        yield Sample("isthmus_bridge_source_held_origins", len(one.held), {"source": one.name})
        yield Sample("isthmus_bridge_source_holds", one.guard.holds, {"source": one.name})
    yield Sample("isthmus_bridge_services", len(publisher.catalog.services))
    yield Sample("isthmus_bridge_streams", len(source.streams))
    yield Sample("isthmus_bridge_ready", publisher.ready)
