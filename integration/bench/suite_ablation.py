"""Suite ``ablation``: what each technique of the control plane brings, by switching it off.

The load is that of the suite ``push``: 1,000 services x 10 endpoints, one endpoint changing at a time, clients that subscribe to the
endpoints of 20 services by name (``named``) or to all of everything (``wildcard``). ``all-on`` is the control plane as it is; ``sotw`` has
everything on but clients that speak state of the world; the others have one technique off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.push_plan import PushPlan
from bench.result import Sample
from bench.subjects.push import isthmus
from bench.suite_push import SERVER_CPU, Case, measure_case
from harness.ports import free_port

NAME = "ablation"
CASES = {"named": Case(300), "wildcard": Case(50, wildcard=True)}
OFF = ("serialise-once", "precompute-per-scope", "affected-only", "incremental")


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(CASES)


def subjects() -> tuple[str, ...]:
    """Everything on, SotW, and each technique off."""
    return ("all-on", "sotw", *(f"no-{name}" for name in OFF))


def gap(subject: str, case: str) -> str:
    """Every subject has every case."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject, started anew for each case."""
    options = ["--without", subject.removeprefix("no-")] if subject.startswith("no-") else []
    for case in wanted:
        place = folder / case
        place.mkdir()
        plan = PushPlan(place, free_port(), free_port())
        running = isthmus(plan, SERVER_CPU, *options)
        load = CASES[case]
        if subject == "sotw":
            load = Case(load.clients, mode="sotw", wildcard=load.wildcard)
        try:
            yield case, measure_case(running, plan, load, seconds)
        finally:
            running.process.stop()
