"""Suite ``memory``: resident and private memory idle, with many clusters, and with 10,000 idle connections."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import origin
from bench.http_plan import HttpPlan
from bench.load.wrk import wrk
from bench.procstat import memory
from bench.result import Sample
from bench.subjects.http import SUBJECTS, Running
from harness.eventually import eventually
from harness.ports import free_port

NAME = "memory"
CLUSTERS = {"idle": 0, "clusters-10": 10, "clusters-1000": 1000, "clusters-10000": 10_000, "idle-connections-10000": 0}
IDLE_CONNECTIONS = 10_000


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(CLUSTERS)


def subjects() -> tuple[str, ...]:
    """Every proxy; ``direct`` has no process to weigh."""
    return tuple(name for name in SUBJECTS if name != "direct")


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """Weigh one subject in each case, each in a fresh process, after a little traffic."""
    with origin.origin(folder) as port:
        for case in wanted:
            plan = HttpPlan(free_port(), free_port(), port, folder, clusters=CLUSTERS[case])
            started = time.monotonic()
            running = SUBJECTS[subject](plan, "")
            try:
                yield case, _weigh(running, case, time.monotonic() - started, seconds)
            finally:
                running.stop()


def _weigh(running: Running, case: str, start_s: float, seconds: float) -> Sample:
    wrk(f"http://127.0.0.1:{running.port}/100b", 8, 1)
    connections = _idle_connections(running.port) if case.startswith("idle-connections") else []
    try:
        time.sleep(min(seconds, 2.0))  # let allocators and timers come to rest
        weight = memory(running.pids)
    finally:
        for connection in connections:
            connection.close()
    return Sample(rss_mb=weight.rss_mb, extra={"private_mb": weight.private_mb, "start_s": start_s})


def _idle_connections(port: int) -> list[socket.socket]:
    """Open keep-alive connections that each made one request and then stay silent."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = []
    for number in range(IDLE_CONNECTIONS):
        # a source address of its own per 5,000 connections, so that ports do not run out
        source = (f"127.0.0.{2 + number // 5000}", 0)
        connection = eventually(partial(socket.create_connection, ("127.0.0.1", port), 20, source))
        connection.sendall(b"GET /100b HTTP/1.1\r\nHost: bench\r\n\r\n")
        _read_response(connection)
        connections.append(connection)
    return connections


def _read_response(connection: socket.socket) -> None:
    received = b""
    while not received.endswith(b"x" * 100):
        chunk = connection.recv(4096)
        if not chunk:
            raise RuntimeError(f"connection closed after {received!r}")
        received += chunk
