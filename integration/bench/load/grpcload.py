"""gRPC streams as a closed-loop load, by a small Go program of ours (``peers/grpcload``), which is the origin, too."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.peers import go_program
from harness.ports import accepts, free_port
from harness.process import Process


@dataclass(frozen=True, slots=True)
class GrpcloadReport:
    """Messages that came back, and how long they took in microseconds; ``errors`` are streams that ended early."""

    messages: int
    p50_us: float
    p99_us: float
    errors: int
    first_error: str


def grpcload(port: int, connections: int, streams: int, seconds: float, *, cpus: str) -> GrpcloadReport:
    """Keep one message of 100 B in flight on each stream for ``seconds``. Raises RuntimeError with the program's own words."""
    flags = [f"-target=127.0.0.1:{port}", f"-connections={connections}", f"-streams={streams}", f"-seconds={seconds}"]
    command = ["taskset", "-c", cpus, str(go_program("grpcload")), "-warmup=0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(f"grpcload failed: {done.stderr}")
    raw = json.loads(done.stdout)
    return GrpcloadReport(raw["messages"], raw["p50_us"], raw["p99_us"], raw["errors"], raw["first_error"])


@contextmanager
def echo_server(cpus: str) -> Iterator[int]:
    """A gRPC server that sends every message back; gives its port."""
    port = free_port()
    argv = ["taskset", "-c", cpus, str(go_program("grpcload")), f"-listen=127.0.0.1:{port}"]
    with Process("grpc-origin", argv) as process:
        process.wait_until(lambda: accepts("127.0.0.1", port), what="listening")
        yield port
