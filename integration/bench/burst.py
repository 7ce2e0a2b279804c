"""``python -m bench.burst``: a registry that tells of 500,000 changes at once, before a real bridge with one delta sink.

One event in five or so takes a service away or brings it back, the others move an endpoint. Printed are how long the bridge took
to hear them and until the sink had the last state, its memory and processor time, and how many responses it sent; and whether what
the sink has is what a new catalog makes of the last word about each service. The exit status is 1 when it is not. Removal guard
and flap damping are off: they would hold and damp what comes and goes so often, as they shall.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from bench.bridge_program import claim
from bench.procstat import cpu_seconds, memory
from bench.suite_bridge import QUIET_MS, Case, Sink, program
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.convert.publication import Publication
from isthmus_mcp_bridge.events import OriginReport, SourceListed

ENDPOINTS = 10
GONE = -1
WITHIN_S = 900.0
"""A sink that lacks something after so long will not get it."""


def changes(services: int, events: int, seed: int = 1) -> Iterator[tuple[int, int]]:
    """Which service changes, and the new port of its first endpoint; ``GONE`` takes it away."""
    source, gone = random.Random(seed), set[int]()
    for number in range(events):
        service = source.randrange(services)
        if service in gone:
            gone.discard(service)
        elif source.randrange(8) == 0:
            gone.add(service)
            yield service, GONE
            continue
        yield service, 20_000 + number % 40_000


def report(service: int, marker: int) -> OriginReport:
    """What the registry then says of the service."""
    return OriginReport() if marker == GONE else OriginReport((claim(service, ENDPOINTS, marker),))


def expected(services: int, events: int) -> dict[str, str]:
    """Names and versions of what a new catalog publishes of the last word about each service."""
    last = dict.fromkeys(range(services), 8080) | dict(changes(services, events))
    catalog, publication = Catalog(["bench"]), Publication()
    catalog.apply(SourceListed("bench", {str(number): report(number, mark) for number, mark in last.items()}))
    publication.take(catalog.take_changes(services))
    return {one.name: one.version for one in publication.collection().ordered}


def measure(services: int, events: int, folder: Path) -> dict[str, float | bool]:
    """Run it once."""
    wanted = expected(services, events)
    with program(Case(services), folder, "--believe") as (process, port, _), Sink.on(port, WITHIN_S) as sink:
        held = sink.take_all(services)
        before, cpu, start = memory([process.pid]).rss_mb, cpu_seconds([process.pid]), time.monotonic()
        assert process.stdin is not None
        process.stdin.write(f"burst {services} {events}\n")
        process.stdin.flush()
        heard = folder / "burst"
        responses, peak = 0, before
        while held != wanted:
            try:
                response = sink.take()
            except grpc.RpcError:  # the time is over
                break
            responses += 1
            for name in response.removed_resources:
                held.pop(name, None)
            held.update({one.name: one.version for one in response.resources})
            peak = max(peak, memory([process.pid]).rss_mb)
        took = time.monotonic() - start
        return {
            "services": services,
            "events": events,
            "heard_s": round(float(heard.read_text()), 1) if heard.exists() else -1.0,
            "converged_s": round(took, 1),
            "cpu_s": round(cpu_seconds([process.pid]) - cpu, 1),
            "responses": responses,
            "rss_before_mb": round(before, 1),
            "rss_peak_mb": round(peak, 1),
            "rss_after_mb": round(memory([process.pid]).rss_mb, 1),
            "quiet_ms": QUIET_MS,
            "equals_rebuild": held == wanted,
        }


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.burst", description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=500_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.services, options.events, Path(folder))
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["equals_rebuild"] else 1)


if __name__ == "__main__":
    main()
