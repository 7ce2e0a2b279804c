"""Thousands of mock xDS clients in one Go program of ours (``peers/xdsload``), driven over its standard input."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from bench.peers import go_program


@dataclass(frozen=True, slots=True)
class FirstConfig:
    """How the clients came up: all of ``clients`` should be ``ready`` and none ``failed``."""

    clients: int
    ready: int
    failed: int
    first_error: str
    seconds: float
    p50_ms: float
    p99_ms: float
    bytes: int
    load_cpu_share: float
    load_lag_p99_ms: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One change: when each of the clients that subscribe to the service had acknowledged it, ms from the change.

    ``touched`` counts the clients that were sent anything at all meanwhile. ``load_cpu_share`` is the share of one core that
    the clients took, ``load_lag_p99_ms`` how late they woke from short sleeps: both show whether they were the bottleneck.
    """

    delays_ms: tuple[float, ...]
    expected: int
    touched: int
    responses: int
    bytes: int
    failed: int
    first_error: str
    load_cpu_share: float
    load_lag_p99_ms: float


class MockClients:
    """The running program."""

    def __init__(self, stdin: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr

    def first_config(self) -> FirstConfig:
        """Wait until all clients have their first configuration, or the program's deadline."""
        raw = self._read()
        return FirstConfig(
            raw["clients"],
            raw["ready"],
            raw["failed"],
            raw["first_error"],
            raw["first_config_s"],
            raw["first_p50_ms"],
            raw["first_p99_ms"],
            raw["bytes"],
            raw["load_cpu_share"],
            raw["load_lag_p99_ms"],
        )

    def arm(self, service: int, marker: str) -> int:
        """Watch for ``marker`` in the endpoints of a service; the number of clients that should see it."""
        self._write({"op": "arm", "service": service, "marker": marker})
        return int(self._read()["expected"])

    def wait(self, since_ns: int, timeout_s: float) -> Delivery:
        """Wait until all of them acknowledged it; ``since_ns`` is the time of the change (``time.time_ns()``)."""
        self._write({"op": "wait", "since_ns": since_ns, "timeout_s": timeout_s})
        raw = self._read()
        return Delivery(
            tuple(raw["delays_ms"] or ()),
            raw["expected"],
            raw["touched"],
            raw["responses"],
            raw["bytes"],
            raw["failed"],
            raw["first_error"],
            raw["load_cpu_share"],
            raw["load_lag_p99_ms"],
        )

    def _write(self, command: dict[str, object]) -> None:
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()

    def _read(self) -> dict[str, Any]:
        line = self._stdout.readline()
        if not line:
            raise RuntimeError(f"xdsload ended: {self._stderr.read()[:2000]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def mock_clients(flags: list[str], cpus: str) -> Iterator[MockClients]:
    """Start the program; it ends with the context."""
    command = ["taskset", "-c", cpus, str(go_program("xdsload")), *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield MockClients(process.stdin, process.stdout, process.stderr)
        finally:
            process.kill()
