"""The origin of the HTTP suites: an nginx that serves files of the sizes a suite asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.http_plan import origin_config
from harness import peers
from harness.ports import accepts, free_port
from harness.process import Process

BODIES = {"100b": 100, "10k": 10_000, "1m": 1_000_000}


@contextmanager
def origin(folder: Path, cpus: str = "") -> Iterator[int]:
    """Run the origin; gives its port. ``/100b``, ``/10k`` and ``/1m`` answer bodies of those sizes."""
    for name, size in BODIES.items():
        (folder / name).write_bytes(b"x" * size)
    folder.chmod(0o755)  # nginx drops root and must still read its files
    port = free_port()
    config = folder / "origin.conf"
    config.write_text(origin_config(port, folder, BODIES))
    pin = ["taskset", "-c", cpus] if cpus else []
    with Process("origin", [*pin, peers.command("nginx", "nginx-light"), "-c", config, "-p", folder]) as process:
        process.wait_until(lambda: accepts("127.0.0.1", port), what="listening")
        yield port
