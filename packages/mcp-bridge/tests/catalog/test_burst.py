"""A registry that tells of very much at once: what is kept of it is bounded, others do not wait, and nothing is lost."""

from __future__ import annotations

import random

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.debounce import FairDebounce
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort

EVENTS, SERVICES = 20_000, 300
QUIET_S, LONGEST_S, STEP_S = 0.05, 1.0, 0.001


def report(service: int, *ports: int) -> OriginReport:
    key = ServiceKey("default", f"service-{service}")
    endpoints = tuple(EndpointClaim("http", "10.0.0.1", port) for port in ports)
    return OriginReport((ServiceClaim(key, (ServicePort("http", 80, "HTTP"),), endpoints),) if ports else ())


def test_twenty_thousand_events_are_folded_as_often_as_the_debounce_says_and_end_as_a_rebuild() -> None:
    source = random.Random(1)
    catalog, debounce = Catalog(["noisy", "quiet"]), FairDebounce(["noisy", "quiet"], QUIET_S, LONGEST_S)
    for name in ("noisy", "quiet"):
        catalog.apply(SourceListed(name, {}))
    last: dict[str, OriginReport] = {}
    said_at, waited, folds, largest = 0.0, [], 0, 0
    for number in range(EVENTS):
        now = number * STEP_S
        service = source.randrange(SERVICES)
        last[str(service)] = report(service, *source.sample(range(1, 6), source.randrange(4)))
        catalog.apply(OriginChanged("noisy", str(service), last[str(service)]), now)
        debounce.changed("noisy", now)
        if number % 5000 == 100:
            said_at = now
            catalog.apply(OriginChanged("quiet", "x", report(SERVICES, 1000 + number)), now)
            debounce.changed("quiet", now)
        largest = max(largest, catalog.pending)
        due = debounce.take_due(now)
        if due:
            catalog.take_changes(SERVICES + 1, now, due)
            folds += 1
        waited += [now - said_at] * ("quiet" in due)
    catalog.take_changes(SERVICES + 1, EVENTS * STEP_S)
    assert largest <= SERVICES + 1
    assert len(waited) == 4
    assert max(waited) <= QUIET_S + STEP_S
    assert folds <= EVENTS * STEP_S / LONGEST_S + 4
    rebuilt = Catalog(["noisy", "quiet"])
    rebuilt.apply(SourceListed("noisy", last))
    rebuilt.apply(SourceListed("quiet", {"x": report(SERVICES, 1000 + 15_100)}))
    rebuilt.take_changes(SERVICES + 1)
    assert dict(catalog.services) == dict(rebuilt.services)
