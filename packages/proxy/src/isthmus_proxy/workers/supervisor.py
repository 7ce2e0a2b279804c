"""The parent process: forks the workers, starts again those that crash, passes signals on and shows all as one.

It forks outside of trio's loop and without a thread, so a child begins with nothing but memory (see docs/adr): the loop ends
whenever a worker is to be forked, and begins anew behind it. The admin port stays open meanwhile.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import trio

from isthmus_proxy import app
from isthmus_proxy.admin.listening import open_admin
from isthmus_proxy.admin.server import admin_server
from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.workers.admin import WorkersAdmin
from isthmus_proxy.workers.back_off import BackOff
from isthmus_proxy.workers.ports import Ports
from isthmus_proxy.workers.seat import Seat
from isthmus_proxy.workers.worker import Worker

_log = logging.getLogger(__name__)

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_GRACE_S = 5.0
"""How long after the drain time a worker may take to end before it is killed."""


class Supervisor:
    """``run`` answers the exit status: 0 after a drain, 130 after SIGINT, 1 when a worker cannot start."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        options: app.Options,
        count: int,
        serve: Callable[[Bootstrap, app.Options], int],
    ) -> None:
        """``serve`` runs one worker in the child process and answers its exit status. Raises ConfigError."""
        self.wanted = count
        self.draining = False
        self._options = options
        self._serve = serve
        if bootstrap.stats_sinks:
            reason = "each worker would send its own gauges under the same names; use --concurrency 1, or scrape /stats/prometheus"
            raise ConfigError("stats_sinks", f"--concurrency {count}", reason)
        self._settings = bootstrap.stats_settings
        self._ports = Ports(bootstrap)
        self._admin = open_admin(bootstrap, options.admin_address_path, allow_remote=options.allow_remote_admin)
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)  # when to fork the worker of a slot
        self._back_off = {slot: BackOff() for slot in range(count)}
        self._status: int | None = None
        self._kill_at = float("inf")
        self._change = trio.Event()

    def run(self) -> int:
        """Fork and supervise until all workers have ended for good."""
        gc.collect()
        gc.freeze()
        while True:
            self._fork_due()
            status = trio.run(self._supervise, restrict_keyboard_interrupt_to_checkpoints=True)
            if status is not None:
                self._ports.close()
                return status

    def serving(self) -> list[Worker]:
        """The workers that run, by number."""
        return [worker for _, worker in sorted(self._workers.items()) if worker.started]

    def quit(self) -> None:
        """End all at once."""
        self._end(signal.SIGINT, 0)

    # ---- forking, outside of trio ----

    def _fork_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, at in self._due.items() if at <= now]:
            del self._due[slot]
            self._fork(slot)

    def _fork(self, slot: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_a_worker(ours, theirs)
        theirs.close()
        self._workers[slot] = Worker(slot, pid, os.pidfd_open(pid), ours, time.monotonic())
        _log.info("worker %d runs as process %d", slot, pid)

    def _be_a_worker(self, ours: socket.socket, theirs: socket.socket) -> None:
        """In the child: serve, and end without running anything of the parent's."""
        status = 1
        try:
            ours.close()
            for worker in self._workers.values():
                worker.close()
                os.close(worker.pidfd)
            if self._admin is not None:
                self._admin.close()
            seat = Seat(theirs, self.wanted, self._ports.shared)
            status = self._serve(self._ports.bootstrap, self._options.as_worker(seat))
        except BaseException:  # noqa: BLE001 - the child must not go on as a second parent
            _log.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(status)

    # ---- supervising ----

    async def _supervise(self) -> int | None:
        """Until a worker is to be forked (None) or all have ended (the exit status)."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._take_signals)
            for worker in self._workers.values():
                worker.forget_questions()
                nursery.start_soon(self._watch, worker)
            if self._admin is not None:
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._admin.dup()))
                nursery.start_soon(admin_server(WorkersAdmin(self, self._settings).answer).run, [listener])
            while not self._over():
                self._change = trio.Event()
                with trio.move_on_after(self._wait_for()):
                    await self._change.wait()
                self._kill_the_late()
            nursery.cancel_scope.cancel()
        return self._status if not self._workers and self._status is not None else None

    def _over(self) -> bool:
        if self._status is not None:
            return not self._workers
        return any(at <= time.monotonic() for at in self._due.values())

    def _wait_for(self) -> float:
        return max(0.0, min([self._kill_at, *self._due.values()]) - time.monotonic())

    async def _take_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*_PASSED_ON) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGUSR1:
                    self._send(number)
                else:
                    self._end(signal.Signals(number), 130 if number == signal.SIGINT else 0)

    def _end(self, number: signal.Signals, status: int) -> None:
        """Pass the signal on; no worker is started any more."""
        self.draining = True
        self._status = status if self._status is None or number == signal.SIGINT else self._status
        self._due.clear()
        self._kill_at = time.monotonic() + self._options.drain_seconds + _GRACE_S
        self._send(number)
        self._change.set()

    def _send(self, number: int) -> None:
        for worker in self._workers.values():
            signal.pidfd_send_signal(worker.pidfd, number)

    def _kill_the_late(self) -> None:
        if time.monotonic() >= self._kill_at:
            self._kill_at = float("inf")
            _log.warning("%d workers did not end in time and are killed", len(self._workers))
            self._send(signal.SIGKILL)

    async def _watch(self, worker: Worker) -> None:
        """Take its messages, and see it end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.receive)
            await trio.lowlevel.wait_readable(worker.pidfd)
            nursery.cancel_scope.cancel()
        _, wait_status = os.waitpid(worker.pid, 0)  # noqa: ASYNC222 - it has ended: this returns at once
        os.close(worker.pidfd)
        worker.close()
        del self._workers[worker.slot]
        self._ended(worker, os.waitstatus_to_exitcode(wait_status))
        self._change.set()

    def _ended(self, worker: Worker, code: int) -> None:
        if self._status is not None:
            return
        if not worker.started and code == 1:
            self._end(signal.SIGINT, 1)  # it has said why: the others would fail alike
            return
        wait = self._back_off[worker.slot].ended(time.monotonic() - worker.started_at)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        _log.error("worker %d (process %d) %s; it is started again in %g s", worker.slot, worker.pid, how, wait)
        self._due[worker.slot] = time.monotonic() + wait
