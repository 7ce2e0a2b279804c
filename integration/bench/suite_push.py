"""Suite ``push``: 1,000 services x 10 endpoints, 1,000 to 10,000 mock clients; one endpoint of one service changes at a time.

Each client subscribes by name to the endpoints of 20 services, so that a change concerns 2% of them. ``wildcard`` cases are
Envoy's own way: all clusters, then the endpoints of all of them. ``p50_us`` and ``p99_us`` are the times from the change until a
client that subscribes to the service acknowledged it, over all changes and such clients; ``cpu_us_per_request`` is the control
plane's processor time per response that it pushed. A client that missed a change or lost its stream is an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.load.xdsload import Delivery, FirstConfig, MockClients, mock_clients
from bench.procstat import Memory, cpu_seconds, memory
from bench.push_plan import NAME_FORMAT, PushPlan, marker_of
from bench.result import Sample, percentile
from bench.subjects.push import SUBJECTS, ControlPlane
from harness.ports import free_port

NAME = "push"
SERVER_CPU, LOAD_CPU = "0", "1"
FIRST_CONFIG_S = 150.0
DELIVERY_S = 15.0
POLLS_PER_S = 100.0  # what one worker of Sovereign answers, with room; the interval of its clients follows from it
GAP_S = 0.05
NAMED = "polled over REST, it is asked for names: the case has no meaning beyond that of the same number of clients"


@dataclass(frozen=True, slots=True)
class Case:
    """How many clients there are, and how they subscribe. ``shared`` clients have one connection together."""

    clients: int
    mode: str = "delta"
    wildcard: bool = False
    shared: int = 1


CASES = {
    "1k": Case(1000),
    "3k": Case(3000),
    "10k": Case(10_000),
    "1k-sotw": Case(1000, mode="sotw"),
    "10k-multiplexed": Case(10_000, shared=100),
    "100-wildcard": Case(100, wildcard=True),
}


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(CASES)


def subjects() -> tuple[str, ...]:
    """All control planes."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case; empty when it has."""
    return NAMED if subject == "sovereign" and CASES[case] != Case(CASES[case].clients) else ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one control plane, started anew for each case."""
    for case in wanted:
        place = folder / case
        place.mkdir()
        plan = PushPlan(place, free_port(), free_port())
        running = SUBJECTS[subject](plan, SERVER_CPU)
        try:
            yield case, measure_case(running, plan, CASES[case], seconds)
        finally:
            running.process.stop()


def _flags(running: ControlPlane, plan: PushPlan, case: Case) -> list[str]:
    mode = "rest" if running.polled else case.mode
    named = {"address": f"127.0.0.1:{plan.port}", "mode": mode, "name": NAME_FORMAT, "clients": case.clients}
    sized = {"services": plan.services, "streams-per-connection": case.shared, "deadline": f"{FIRST_CONFIG_S}s"}
    flags = [f"-{key}={value}" for key, value in (named | sized | {"poll": f"{_interval(case)}s"}).items()]
    return [*flags, *(["-wildcard"] if case.wildcard else [])]


def _interval(case: Case) -> float:
    return case.clients / POLLS_PER_S


def measure_case(running: ControlPlane, plan: PushPlan, case: Case, seconds: float) -> Sample:
    before = memory(running.pids)
    with ExitStack() as stack:
        clients = stack.enter_context(mock_clients(_flags(running, plan, case), LOAD_CPU))
        first = clients.first_config()
        if first.ready < first.clients:
            error = (
                f"{first.ready} of {first.clients} clients were configured in {FIRST_CONFIG_S} s: {first.first_error}"
            )
            raise RuntimeError(error)
        wait_s = DELIVERY_S + (2 * _interval(case) if running.polled else 0)
        if not running.polled:
            _deliver(running, clients, plan, 0, wait_s)  # warm-up; polling has none, and takes minutes
        cpu = cpu_seconds(running.pids)
        deliveries: list[Delivery] = []
        end = time.monotonic() + seconds
        while not deliveries or time.monotonic() < end:
            deliveries.append(_deliver(running, clients, plan, len(deliveries) + 1, wait_s))
        cpu = cpu_seconds(running.pids) - cpu
        return _sample(first, deliveries, cpu, before, memory(running.pids))


def _deliver(running: ControlPlane, clients: MockClients, plan: PushPlan, number: int, wait_s: float) -> Delivery:
    time.sleep(GAP_S)
    marker, service = marker_of(number), number * 37 % plan.services
    clients.arm(service, marker)
    since = time.time_ns()
    running.change(service, marker)
    return clients.wait(since, wait_s)


def _sample(first: FirstConfig, deliveries: list[Delivery], cpu: float, before: Memory, after: Memory) -> Sample:
    delays = sorted(delay for delivery in deliveries for delay in delivery.delays_ms)
    last = sorted(max(delivery.delays_ms, default=0.0) for delivery in deliveries)
    pushes = max(1, sum(delivery.responses for delivery in deliveries))
    missed = sum(delivery.expected - len(delivery.delays_ms) for delivery in deliveries)
    extra = {
        "first_config_s": first.seconds,
        "first_client_p99_ms": first.p99_ms,
        "last_ack_p50_ms": percentile(last, 0.5),
        "last_ack_p99_ms": percentile(last, 0.99),
        "changes": float(len(deliveries)),
        "clients_concerned": sum(d.expected for d in deliveries) / len(deliveries),
        "clients_touched": sum(d.touched for d in deliveries) / len(deliveries),
        "bytes_per_push": sum(d.bytes for d in deliveries) / pushes,
        "cpu_ms_per_change": cpu / len(deliveries) * 1e3,
        "kb_per_client": (after.rss_mb - before.rss_mb) * 1024 / first.clients,
        "load_cpu_pct": max(d.load_cpu_share for d in deliveries) * 100,
        "load_cpu_first_pct": first.load_cpu_share * 100,
        "load_lag_p99_ms": max(d.load_lag_p99_ms for d in deliveries),
    }
    return Sample(
        cpu_us_per_request=cpu / pushes * 1e6,
        p50_us=percentile(delays, 0.5) * 1e3,
        p99_us=percentile(delays, 0.99) * 1e3,
        rss_mb=after.rss_mb,
        errors=missed + max(d.failed for d in deliveries),
        extra=extra,
    )
