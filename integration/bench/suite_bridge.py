"""Suite ``bridge``: up to 100,000 services x 10 endpoints, one in a thousand of 20,000; one endpoint of one service changes at a time.
In the case ``1k-of-20k`` it is always the one service of 20,000 endpoints.

``p50_us`` and ``p99_us`` are the times from a change to its delta response at the sink, less the debounce. ``extra`` has the times
from the start of the program until everything is served (``full_sync_s``) and, restarted from its warm-start file with a registry that
does not answer yet, until everything is served again (``warm_start_s``). A response that holds another service than the
changed one is an error. The registry is synthetic and in the bridge's process (see ``bridge_program``).
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from bench.bridge_program import BIG_AT, BIG_EVERY
from bench.procstat import cpu_seconds, memory
from bench.result import Sample, percentile
from harness.ports import free_port

NAME = "bridge"
TYPE_URL = "networking.istio.io/v1/ServiceEntry"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
QUIET_MS = 20
READY_S = 900.0
CHANGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """How many services; ``big`` endpoints for every thousandth, and whether only those change."""

    services: int
    big: int = 0
    only_big: bool = False

    def changing(self, number: int) -> int:
        """The service that the change of that number concerns."""
        if self.only_big:
            return (number * BIG_EVERY + BIG_AT) % self.services
        return number * 37 % self.services


CASES = {
    "1k": Case(1000),
    "1k-of-20k": Case(1000, 20_000, only_big=True),
    "10k": Case(10_000),
    "100k": Case(100_000),
    "100k-big": Case(100_000, 20_000),
}


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(CASES)


def subjects() -> tuple[str, ...]:
    """The bridge alone: no other program merges registries."""
    return ("isthmus",)


def gap(_subject: str, _case: str) -> str:
    """Nothing is missing."""
    return ""


def measure(_subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round, the bridge started anew for each case."""
    for case in wanted:
        place = folder / case
        place.mkdir()
        yield case, _measure_case(CASES[case], seconds, place)


def _measure_case(case: Case, seconds: float, place: Path) -> Sample:
    warm = place / "warm"
    with program(case, place, "--warm", str(warm)) as (process, port, ready_s):
        changes = _changes(case, process, port, seconds)
        after = memory([process.pid])
        written = _wait_written(warm)
    with program(case, place, "--warm", str(warm), "--delay", "3600") as (again, _, warm_s):
        warm_memory = memory([again.pid])
    delays = sorted(delay for delay, _ in changes.delays)
    extra = {
        "full_sync_s": ready_s,
        "first_delta_s": changes.first_s,
        "warm_start_s": warm_s,
        "warm_start_mb": written / 1e6,
        "warm_rss_mb": warm_memory.rss_mb,
        "changes": float(len(delays)),
        "bytes_per_push": sum(size for _, size in changes.delays) / max(1, len(delays)),
    }
    return Sample(
        cpu_us_per_request=changes.cpu_s / max(1, len(delays)) * 1e6,
        p50_us=percentile(delays, 0.5) * 1e6,
        p99_us=percentile(delays, 0.99) * 1e6,
        rss_mb=after.rss_mb,
        errors=changes.wrong,
        extra=extra,
    )


@dataclass(slots=True)
class _Changes:
    first_s: float
    cpu_s: float
    delays: list[tuple[float, int]]
    wrong: int = 0


def _changes(case: Case, process: subprocess.Popen[str], port: int, seconds: float) -> _Changes:
    """Follow the bridge with one delta sink and change one service at a time, every thousandth one among them."""
    with Sink.on(port) as stream:
        start = time.monotonic()
        stream.take_all(case.services)
        made = _Changes(time.monotonic() - start, 0.0, [])
        cpu, end, number = cpu_seconds([process.pid]), time.monotonic() + seconds, 0
        assert process.stdin is not None
        while number < 3 or time.monotonic() < end:
            service = case.changing(number)
            at = time.monotonic()
            process.stdin.write(f"change {service} {20_000 + number % 40_000}\n")
            process.stdin.flush()
            response = stream.take()
            made.delays.append((max(0.0, time.monotonic() - at - QUIET_MS / 1000), response.ByteSize()))
            names = [one.name for one in response.resources]
            made.wrong += names != [f"bench/svc-{service:06d}.bench.local"]
            number += 1
        made.cpu_s = cpu_seconds([process.pid]) - cpu
        return made


class Sink:
    """One delta stream, each response acknowledged at once."""

    @classmethod
    @contextmanager
    def on(cls, port: int, within_s: float = READY_S) -> Iterator[Sink]:
        """A sink of the bridge at that port, for so long at most."""
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as channel:
            sink = cls(channel, within_s)
            yield sink
            sink.close()

    def __init__(self, channel: grpc.Channel, within_s: float) -> None:
        import queue

        self._requests: queue.Queue[Any] = queue.Queue()
        call: Any = channel.stream_stream(
            METHOD, DeltaDiscoveryRequest.SerializeToString, DeltaDiscoveryResponse.FromString
        )
        self._call = call(iter(self._requests.get, None), timeout=within_s)
        self._requests.put(DeltaDiscoveryRequest(type_url=TYPE_URL))

    def take(self) -> Any:
        """The next response."""
        response = next(self._call)
        self._requests.put(DeltaDiscoveryRequest(type_url=TYPE_URL, response_nonce=response.nonce))
        return response

    def take_all(self, count: int) -> dict[str, str]:
        """Responses until so many services are there; their versions by name."""
        held: dict[str, str] = {}
        while len(held) < count:
            held.update({one.name: one.version for one in self.take().resources})
        return held

    def close(self) -> None:
        """End the stream."""
        self._requests.put(None)
        self._call.cancel()


@contextmanager
def program(case: Case, place: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """The running program, its MCP port, and the seconds until it was ready."""
    port, admin = free_port(), free_port()
    size = ["--services", str(case.services), "--big", str(case.big), "--quiet-ms", str(QUIET_MS)]
    where = ["--port", str(port), "--admin-port", str(admin), "--addresses", str(place / "addresses")]
    argv = [sys.executable, "-m", "bench.bridge_program", *size, *where, *more]
    start = time.monotonic()
    log = (place / "bridge.log").open("a")
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, text=True)
    try:
        _wait(lambda: _ready(admin), process, READY_S)
        yield process, port, time.monotonic() - start
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _wait(holds: Callable[[], bool], process: subprocess.Popen[str], within: float) -> None:
    end = time.monotonic() + within
    while not holds():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the bridge ended with {process.poll()} or was not ready within {within} s")
        time.sleep(0.02)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait_written(path: Path) -> int:
    """The size of the warm-start file once it no longer grows."""
    before, size = -1, path.stat().st_size if path.exists() else 0
    end = time.monotonic() + CHANGE_S
    while (size != before or not size) and time.monotonic() < end:
        time.sleep(2)
        before, size = size, path.stat().st_size if path.exists() else 0
    return size
