"""Runs one proxy from its start to its end: what begins in which order, signals, drain, hot upgrade."""

from __future__ import annotations

import logging
from functools import partial
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1
from typing import TYPE_CHECKING

import trio

from isthmus_proxy import resident_memory
from isthmus_proxy.admin.listening import open_admin
from isthmus_proxy.admin.server import admin_server
from isthmus_proxy.app import Options, Proxy
from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.errors import ConfigError

if TYPE_CHECKING:
    from isthmus_proxy.dynamic import DynamicConfiguration
    from isthmus_proxy.handover.upgrade import Upgrade
    from isthmus_proxy.workers.seat import Seat

_log = logging.getLogger(__name__)


async def serve(bootstrap: Bootstrap, options: Options) -> int:
    """Run the proxy until it is told to stop; the exit status. Raises ConfigError (in a group) if it cannot start."""
    upgrade = await _prepare_upgrade(bootstrap, options)
    proxy = Proxy(bootstrap, options, upgrade)
    async with trio.open_nursery() as nursery:
        proxy.lifecycle.on_quit = proxy.quit.set
        proxy.lifecycle.on_drain = lambda order: nursery.start_soon(proxy.drain, order)
        await nursery.start(proxy.reactor.run)
        await nursery.start(proxy.access_logs.run)
        await nursery.start(proxy.dns.run)
        await nursery.start(_watch_signals, proxy)
        proxy.trace_with(nursery)
        proxy.run_tasks(nursery)
        proxy.send_stats(nursery)
        proxy.log_to_services(nursery)
        if options.seat is None and not (upgrade is not None and upgrade.succeeding):
            await _start_admin(proxy, nursery)
        proxy.start_overload_manager()
        await proxy.load()
        proxy.report_loads(nursery)
        await proxy.serve_registry_api(nursery)
        if proxy.dynamic is not None:
            nursery.start_soon(_take_updates, proxy, proxy.dynamic)
        proxy.lifecycle.started = True
        proxy.freezer.start()
        resident_memory.release()
        _log.info("serving %d listeners of %s", len(proxy.listeners.active()), bootstrap.origin)
        if options.seat is not None:
            await _join_parent(proxy, options.seat, nursery)
        if upgrade is not None:
            await _succeed(proxy, upgrade, nursery)
        await proxy.quit.wait()
        proxy.listeners.close()
        proxy.monitoring.close()
        if upgrade is not None:
            await upgrade.finish()
        nursery.cancel_scope.cancel()
    return proxy.status


async def _prepare_upgrade(bootstrap: Bootstrap, options: Options) -> Upgrade | None:
    if options.handover_path is None:
        return None
    if bootstrap.registry_api is not None:
        reason = "what an application has published here cannot be handed over; leave the option out where the registry API is served"
        raise ConfigError("--handover-path", str(options.handover_path), reason)
    from isthmus_proxy.handover.upgrade import prepare  # noqa: PLC0415 - where it is asked for

    return await prepare(options.handover_path, required=options.must_succeed)


async def _succeed(proxy: Proxy, upgrade: Upgrade, nursery: trio.Nursery) -> None:
    """Take over from the process before this one, then wait for the next."""
    from isthmus_proxy.handover.upgrade import retire  # noqa: PLC0415 - where it is asked for

    if upgrade.succeeding:
        if not await upgrade.take_over(proxy, nursery, proxy.options.drain_seconds):
            return
        try:
            await _start_admin(proxy, nursery)
        except ConfigError as error:  # nobody else serves any more
            _log.error("%s; this process serves without an admin port: mend it, and upgrade once more", error)
            proxy.admin_closed.set()

    async def superseded() -> None:
        options = proxy.options
        _log.info(
            "superseded: %d connections end in at most %g s", proxy.listeners.connection_count, options.drain_seconds
        )
        await retire(proxy.listeners, options.drain_seconds, immediate=options.drain_at_once)
        proxy.quit.set()

    upgrade.await_successor(proxy, nursery, superseded)


async def _take_updates(proxy: Proxy, dynamic: DynamicConfiguration) -> None:
    with proxy.updates_scope:
        await dynamic.run()


async def _watch_signals(proxy: Proxy, task_status: trio.TaskStatus[None]) -> None:
    """SIGTERM drains and then quits, a second one and SIGINT quit at once, SIGUSR1 opens the access logs anew.

    SIGHUP starts a successor where there can be one.
    """
    upgrade = proxy.upgrade
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(SIGTERM, SIGINT, SIGUSR1, *([SIGHUP] if upgrade else [])) as signals:
            task_status.started()
            async for number in signals:
                if number == SIGUSR1:
                    proxy.access_logs.reopen()
                elif number == SIGHUP and upgrade is not None:
                    nursery.start_soon(upgrade.start_successor)
                elif number == SIGTERM and not proxy.lifecycle.draining:
                    nursery.start_soon(_drain_and_quit, proxy)
                else:
                    proxy.status = 130 if number == SIGINT else 0
                    proxy.quit.set()


async def _drain_and_quit(proxy: Proxy) -> None:
    proxy.lifecycle.draining = True
    if proxy.leave is not None:
        await proxy.leave()
    seconds = proxy.options.drain_seconds
    _log.info("draining %d connections for at most %g s", proxy.listeners.connection_count, seconds)
    if not await proxy.listeners.drain(trio.current_time() + seconds):
        _log.warning("%d connections did not end in time and are closed", proxy.listeners.connection_count)
    proxy.quit.set()


async def _join_parent(proxy: Proxy, seat: Seat, nursery: trio.Nursery) -> None:
    from isthmus_proxy.workers.worker_link import WorkerLink  # noqa: PLC0415 - one process alone has no parent

    gone = partial(nursery.start_soon, _drain_and_quit, proxy)
    link = WorkerLink(seat.sock, proxy.endpoints(), proxy.stats, proxy.refresh_stats, gone)
    await link.started()
    nursery.start_soon(link.run)


async def _start_admin(proxy: Proxy, nursery: trio.Nursery) -> None:
    options = proxy.options
    sock = open_admin(proxy.bootstrap, options.admin_address_path, allow_remote=options.allow_remote_admin)
    if sock is not None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        await nursery.start(_serve_admin, proxy, listener)


async def _serve_admin(proxy: Proxy, listener: trio.SocketListener, task_status: trio.TaskStatus[None]) -> None:
    try:
        with proxy.admin_scope:
            await admin_server(proxy.endpoints().answer).run([listener], task_status)
    finally:
        proxy.admin_closed.set()
