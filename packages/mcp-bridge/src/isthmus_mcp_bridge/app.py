"""The composition root: builds the parts from the configuration, runs them, and takes them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import logging
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import grpc

from isthmus_mcp_bridge.admin.server import AdminServer
from isthmus_mcp_bridge.backsync.build import GAUGES as WRITE_GAUGES
from isthmus_mcp_bridge.backsync.build import Parts, build_parts
from isthmus_mcp_bridge.backsync.yielding import yield_leases
from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import FairDebounce
from isthmus_mcp_bridge.catalog.vips import VipTable
from isthmus_mcp_bridge.config.model import Address, BridgeConfig, McpConfig, WarmStartConfig
from isthmus_mcp_bridge.dualmode.build import build_policies
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.dualmode.report import GAUGES as DUAL_MODE_GAUGES
from isthmus_mcp_bridge.dualmode.report import policies as policies_report
from isthmus_mcp_bridge.dualmode.report import samples as dual_mode_samples
from isthmus_mcp_bridge.dualmode.report import services as services_report
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.mcp.dialler import dial
from isthmus_mcp_bridge.mcp.service import (
    REFUSED_METRIC,
    REQUESTS_METRIC,
    RESPONSES_METRIC,
    McpSource,
    SourceSettings,
)
from isthmus_mcp_bridge.mcp.tls import server_credentials
from isthmus_mcp_bridge.observe.metrics import Metrics, Sample
from isthmus_mcp_bridge.publisher import EVENTS_METRIC, POLICIES, PUBLISHED_METRIC, Publisher
from isthmus_mcp_bridge.registration.lease_store import LeaseStore
from isthmus_mcp_bridge.registration.model import NAME as REGISTRATION
from isthmus_mcp_bridge.registration.registrations import Registrations
from isthmus_mcp_bridge.registration.service import REQUESTS_METRIC as REGISTRATION_REQUESTS_METRIC
from isthmus_mcp_bridge.registration.service import STREAMS_METRIC, RegistrationService
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.build import build_registry
from isthmus_mcp_bridge.warm.store import WarmStore

STOP_GRACE_S = 1.0
"""How long open streams may go on after the order to stop; sinks reconnect to another replica."""

GC_THRESHOLD = (50_000, 20, 100)
"""Claims and resources live long and hold no cycles; with Python's own threshold a first listing of a million endpoints
spends a third of its time on looking for some."""

REGISTRATION_SLACK_S = 1.0
"""How long beyond their grace registered instances hold up the first snapshot."""

COUNTERS = {
    EVENTS_METRIC: "Events of registries.",
    PUBLISHED_METRIC: "Snapshots published.",
    REQUESTS_METRIC: "Requests of sinks by what they meant.",
    RESPONSES_METRIC: "Responses sent to sinks.",
    REFUSED_METRIC: "Streams refused because there were too many.",
    REGISTRATION_REQUESTS_METRIC: "Requests of sidecars by how far they were taken.",
    STREAMS_METRIC: "Streams of sidecars by whether they got a lease.",
}
GAUGES = {
    "isthmus_bridge_source_state": "1 for the state in which a registry is.",
    "isthmus_bridge_source_problems": "Entries of a registry that cannot be used.",
    "isthmus_bridge_source_held_deletions": "Deletions not believed because the registry was not LIVE.",
    "isthmus_bridge_source_held_origins": "Origins whose loss is doubted, so that what they held stays published.",
    "isthmus_bridge_source_holds": "How often a mass removal was held.",
    "isthmus_bridge_source_drifts": "Services that a full re-list found otherwise than the watch had told.",
    "isthmus_bridge_source_listings": "Full listings of a registry.",
    "isthmus_bridge_source_dampings": "How often a flapping endpoint began to be damped.",
    "isthmus_bridge_source_damping_overflows": "Losses not counted for damping because there were too many.",
    "isthmus_bridge_vip_collisions": "How often a service did not get its first choice of a virtual address.",
    "isthmus_bridge_warm_start_failures": "Writes of the warm-start file that failed.",
    "isthmus_bridge_lease_store_failures": "Writes of the file of leases that failed.",
    "isthmus_bridge_services": "Services merged from all registries.",
    "isthmus_bridge_streams": "Open streams of sinks.",
    "isthmus_bridge_ready": "1 once services are served.",
}

log = logging.getLogger(__name__)


async def run(config: BridgeConfig, address_path: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT. Raises BridgeError when it cannot listen."""
    gc.set_threshold(*GC_THRESHOLD)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    random_source = random.Random()
    parts = build_parts(config, loop.time, random_source.random)
    registries = [build_registry(one, random_source.random, parts.own.get(one.name)) for one in config.registries]
    async with serve(config, registries, parts) as addresses:
        if address_path is not None:
            write_addresses(address_path, addresses)
        log.info("listening: %s", ", ".join(f"{name} {address}" for name, address in addresses.items()))
        await stop.wait()
        log.info("stopping")


@contextlib.asynccontextmanager
async def serve(
    config: BridgeConfig, registries: Iterable[Registry], parts: Parts | None = None
) -> AsyncIterator[dict[str, str]]:
    """Run all parts for the length of the block, which gets the addresses bound: ``mcp`` and ``admin``.

    A part that fails for a reason nobody foresaw takes the block down with it rather than leave half a bridge.
    """
    loop = asyncio.get_running_loop()
    parts = parts or Parts()
    metrics = Metrics(COUNTERS, {**GAUGES, **DUAL_MODE_GAUGES, **WRITE_GAUGES})
    settings = SourceSettings(config.mcp.max_streams, max_response_bytes=config.mcp.max_response_bytes)
    source = McpSource(settings, metrics, secrets.token_hex(4), config.mcp.sinks)
    names = source_names(config)
    publisher = Publisher(
        build_catalog(config, time.time() - loop.time()),
        Barrier(_deadlines(config, loop.time())),
        FairDebounce(names, config.debounce.quiet_ms / 1000, config.debounce.longest_ms / 1000),
        source.publish,
        metrics,
        loop.time,
    )
    metrics.collect_from(lambda: _samples(publisher, source))
    dual_mode = build_policies(
        config, f"bridge~{socket.gethostname()}", publisher.take_policies, time.time, random.Random().random
    )
    publisher.on_sdk_view.append(functools.partial(dual_mode.sdk_view_changed, publisher.catalog))
    metrics.collect_from(dual_mode.samples)
    metrics.collect_from(lambda: dual_mode_samples(publisher.catalog.dual_modes, dual_mode.book, time.time()))
    metrics.collect_from(parts.samples)
    parts.use(publisher.catalog)
    publisher.on_changes = parts.changed
    if parts.write_back is not None:
        publisher.on_sdk_view.append(parts.write_back.show_again)
    runs: list[Callable[[], Coroutine[Any, Any, None]]] = [publisher.run, *dual_mode.runs]
    runs += [functools.partial(one.run, publisher.take) for one in registries]
    if parts.registrations is not None:
        runs.append(functools.partial(parts.registrations.run, publisher.take))
    runs += parts.runs
    runs += [functools.partial(dial, target, source.serve_classic) for target in config.mcp.dial]
    if config.warm_start is not None:
        store = WarmStore(config.warm_start.path, config.warm_start.max_age_s, config.warm_start.flush_s, time.time)
        metrics.collect_from(lambda: [Sample("isthmus_bridge_warm_start_failures", store.failures)])
        restored = await asyncio.to_thread(store.load)
        if restored is not None:
            publisher.restore(restored)
            if not restored.damaged and set(restored.origins) <= set(names):
                store.adopt(publisher.catalog)
        runs.append(functools.partial(store.run, publisher.catalog))
        if parts.registrations is not None:
            leases = _lease_store(config.warm_start, parts.registrations)
            metrics.collect_from(lambda: [Sample("isthmus_bridge_lease_store_failures", leases.failures)])
            await asyncio.to_thread(leases.load)
            runs.append(leases.run)
    registration = RegistrationService(parts.registrations, metrics) if parts.registrations is not None else None
    if registration is not None and parts.write_back is not None:
        runs.append(functools.partial(yield_leases, parts.write_back.writers, registration.move_away))
    admin = AdminServer(publisher, source, metrics, functools.partial(_dual_mode, publisher, dual_mode.book), parts)
    async with (
        _listening(config, admin, source, settings, registration) as addresses,
        _background(runs),
        _handing_over(registration, parts),
    ):
        yield addresses


def _lease_store(config: WarmStartConfig, registrations: Registrations) -> LeaseStore:
    path = config.path.with_name(f"{config.path.name}.leases")
    return LeaseStore(path, registrations, config.max_age_s, time.time)


@contextlib.asynccontextmanager
async def _handing_over(registration: RegistrationService | None, parts: Parts) -> AsyncIterator[None]:
    """After the block, and before our sessions end, let other replicas take over."""
    yield
    if registration is not None:
        registration.close()
    await parts.hand_over()


def source_names(config: BridgeConfig) -> list[str]:
    """The sources of the catalog in order of precedence."""
    return [*(one.name for one in config.registries), *([REGISTRATION] if config.registration is not None else [])]


def _deadlines(config: BridgeConfig, now: float) -> dict[str, float]:
    """Until when services wait for what."""
    deadlines = {one.name: now + one.sync_deadline_s for one in config.registries}
    if config.registration is not None:
        deadlines[REGISTRATION] = now + config.registration.limits.grace_s + REGISTRATION_SLACK_S
    if config.dual_mode is not None:
        deadlines[POLICIES] = now + config.dual_mode.wait_s
    return deadlines


def build_catalog(config: BridgeConfig, epoch_offset_s: float) -> Catalog:
    """The catalog that a configuration asks for; ``epoch_offset_s`` is the Unix time of the monotonic time 0."""
    return Catalog(
        source_names(config),
        {one.name: one.limits for one in config.registries},
        config.rules,
        VipTable(config.vips) if config.vips is not None else None,
        epoch_offset_s,
    )


@contextlib.asynccontextmanager
async def _listening(
    config: BridgeConfig,
    admin: AdminServer,
    source: McpSource,
    settings: SourceSettings,
    registration: RegistrationService | None,
) -> AsyncIterator[dict[str, str]]:
    server = grpc.aio.server(options=settings.channel_options())
    server.add_generic_rpc_handlers((source.handlers(), source.classic_handlers()))
    if registration is not None:
        server.add_generic_rpc_handlers((registration.handlers(),))
    try:
        mcp_port = _bind(server, config.mcp)
        admin_port = await admin.start(config.admin.host, config.admin.port)
        await server.start()
        yield {
            "mcp": str(Address(config.mcp.address.host, mcp_port)),
            "admin": str(Address(config.admin.host, admin_port)),
        }
    finally:
        await server.stop(STOP_GRACE_S)
        await admin.stop()


def _dual_mode(publisher: Publisher, book: PolicyBook | None, host: str) -> dict[str, Any]:
    """The page of dual mode."""
    modes = publisher.catalog.dual_modes
    return {"policies": policies_report(book, time.time()), "services": services_report(modes, host, publisher.now())}


def _bind(server: grpc.aio.Server, mcp: McpConfig) -> int:
    """Bind the MCP server. Raises BridgeError."""
    address = mcp.address
    credentials = server_credentials(mcp.tls) if mcp.tls is not None else None
    try:
        bound = str(address)
        port = server.add_secure_port(bound, credentials) if credentials else server.add_insecure_port(bound)
    except RuntimeError as error:
        raise BridgeError(f"mcp.address {address}: cannot listen; choose another one or stop what holds it") from error
    if port == 0:
        raise BridgeError(f"mcp.address {address}: cannot listen; choose another one or stop what holds it")
    return port


@contextlib.asynccontextmanager
async def _background(runs: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """Run all of them beside the block and cancel them after it; an error of the block comes out as it is."""
    failed: BridgeError | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run()) for run in runs]
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
        yield Sample("isthmus_bridge_source_drifts", one.drifts, {"source": one.name})
        yield Sample("isthmus_bridge_source_listings", one.listings, {"source": one.name})
        yield Sample("isthmus_bridge_source_dampings", one.damper.damped, {"source": one.name})
        yield Sample("isthmus_bridge_source_damping_overflows", one.damper.overflows, {"source": one.name})
    if publisher.catalog.vips is not None:
        yield Sample("isthmus_bridge_vip_collisions", publisher.catalog.vips.collisions)
    yield Sample("isthmus_bridge_services", len(publisher.catalog.services))
    yield Sample("isthmus_bridge_streams", len(source.streams))
    yield Sample("isthmus_bridge_ready", publisher.ready)
