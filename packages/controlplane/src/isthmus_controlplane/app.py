"""Composition root: stores -> world -> publisher -> xDS server, with the admin server beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from isthmus_controlplane.admin.server import AdminServer
from isthmus_controlplane.config import HostPort, ServerTls, Settings
from isthmus_controlplane.configuration import Configuration
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.heap import settle
from isthmus_controlplane.model.loss_guard import LossGuard
from isthmus_controlplane.model.scope import scope_of, scope_of_one
from isthmus_controlplane.model.world import World
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.stores.base import Store, StoreState
from isthmus_controlplane.stores.mcp_sink import McpSink
from isthmus_controlplane.stores.open import open_store
from isthmus_controlplane.supplement.source import SupplementSource
from isthmus_controlplane.xds.rest import RestServer
from isthmus_controlplane.xds.server import IDENTIFIER, ServerSettings, XdsServer

log = logging.getLogger(__name__)

STOP_GRACE_S = 2.0


class App:
    """One running control plane."""

    def __init__(self, settings: Settings) -> None:
        """Make all parts.

        Raises:
            ConfigError: a setting cannot be used.
        """
        self._settings = settings
        store = open_store(settings.store)
        node_id = f"isthmus-controlplane~{socket.gethostname()}"
        self._stores: Sequence[Store] = (store, *(McpSink(url, node_id=node_id) for url in settings.mcp))
        sources = [each.source for each in self._stores]
        if len(set(sources)) != len(sources):
            raise ConfigError(f"the same source is given twice: {', '.join(sorted(sources))}; remove one")
        self._supplement = SupplementSource(settings.resources, settings.secrets)
        self._synced = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self._served = asyncio.Event()
        self._publisher = Publisher(
            World(sources, settings.mesh, LossGuard(settings.loss_hold, time.monotonic)), settings.techniques
        )
        self._xds = XdsServer(
            str(settings.grpc),
            on_scope_needed=self._publisher.scope_needed,
            scope_of=scope_of if settings.techniques.precompute_per_scope else scope_of_one,
            techniques=settings.techniques,
            settings=ServerSettings(load_report_interval=settings.load_report_interval),
            credentials=server_credentials(settings.tls) if settings.tls is not None else None,
        )
        self._rest = RestServer(self._xds.fetch, IDENTIFIER, self._xds.settings.max_request_bytes)
        self._publisher.attach(self._xds)
        self._admin = AdminServer(self._publisher, self._xds, Configuration(store, self._publisher, self._served))

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if self._supplement.used:
            self._publisher.take_supplement(await asyncio.to_thread(self._supplement.read))
        addresses = await self._listen()
        try:
            if self._settings.address_path:
                await asyncio.to_thread(write_addresses, Path(self._settings.address_path), addresses)
            await self._run_parts(stop)
        finally:
            log.info("stopping")
            self._publisher.stop()
            if self._settling is not None:
                self._settling.cancel()
            await self._admin.stop()
            await self._rest.stop()
            await self._xds.stop(STOP_GRACE_S)

    async def _listen(self) -> dict[str, str]:
        grpc = await self._xds.start()
        try:
            admin = await self._admin.start(self._settings.admin)
            rest = await self._listen_rest()
        except ConfigError:
            await self._admin.stop()
            await self._xds.stop(0)
            raise
        if not self._settings.admin.is_loopback:
            log.warning("the admin endpoints at %s can be reached from other machines, without authentication", admin)
        log.info("serving xDS at %s, admin at %s", grpc, admin)
        return {"grpc": grpc, "admin": str(admin), **rest}

    async def _listen_rest(self) -> dict[str, str]:
        wanted = self._settings.rest
        if wanted is None:
            return {}
        return {"rest": str(HostPort(wanted.host, await self._rest.start(wanted.host, wanted.port)))}

    async def _run_parts(self, stop: asyncio.Event) -> None:
        """Run the stores until told to stop; a store that ends by itself is a defect and ends everything."""
        tasks = [asyncio.create_task(store.run(self._take), name=store.source) for store in self._stores]
        if self._supplement.used:
            following = self._supplement.run(self._publisher.take_supplement)
            tasks.append(asyncio.create_task(following, name="resources and secrets"))
        waiting = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(self._start_serving())
        try:
            done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, waiting, starting):
                task.cancel()
            await asyncio.gather(*tasks, waiting, starting, return_exceptions=True)

    def _take(self, state: StoreState) -> None:
        self._publisher.take(state)
        if self._publisher.world.synced:
            self._synced.set()

    async def _start_serving(self) -> None:
        """Serve once every store was read, or after the deadline with what there is."""
        try:
            await asyncio.wait_for(self._synced.wait(), self._settings.sync_deadline)
        except TimeoutError:
            late = ", ".join(state.source for state in self._publisher.world.states if not state.synced)
            log.warning("no answer from %s in %.0f s: serving without", late, self._settings.sync_deadline)
        self._publisher.start()
        self._served.set()
        self._settling = asyncio.create_task(settle(lambda: self._xds.metrics.total("streams"), lambda: len(self._xds)))
        log.info("ready: %d objects in use", len(self._publisher.world.admission.in_use))


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Read what TLS needs.

    Raises:
        ConfigError: a file cannot be read.
    """
    chain, key = _file(tls.certificate, "--grpc-certificate"), _file(tls.key, "--grpc-key")
    authorities = _file(tls.client_authorities, "--grpc-client-ca") if tls.client_authorities else None
    return grpc.ssl_server_credentials(
        [(key, chain)], root_certificates=authorities, require_client_auth=authorities is not None
    )


def _file(name: str, option: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {name}: cannot be read: {error.strerror}") from error


def write_addresses(path: Path, addresses: dict[str, str]) -> None:
    """Write the bound addresses as JSON, atomically.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(addresses, file)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(f"--address-path {path}: cannot be written: {error.strerror}") from error


def run_app(settings: Settings) -> None:
    """Run a control plane in an event loop of its own; see `App`."""

    async def main() -> None:
        await App(settings).run()

    asyncio.run(main())


__all__ = ["App", "HostPort", "run_app", "write_addresses"]
