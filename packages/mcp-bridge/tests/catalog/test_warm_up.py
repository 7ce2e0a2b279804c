"""Weights that grow with an instance's age: in few steps, never falling, full in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.warm_up import STEPS, next_step_ms, share_percent
from isthmus_mcp_bridge.events import OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort, WarmUp

KEY = ServiceKey("d", "one")


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.integers(1, 100), st.integers(-(10**6), 10**7))
def test_the_share_grows_in_few_steps_and_the_next_step_is_foretold(
    start: int, duration: int, first: int, offset: int
) -> None:
    warm_up = WarmUp(start, duration, first)
    now = max(0, start + offset)
    seen = [share_percent(warm_up, now)]
    while (due := next_step_ms([None, warm_up], now)) is not None:
        assert due > now
        now = due
        seen.append(share_percent(warm_up, now))
    assert seen == sorted(seen)
    assert len(set(seen)) <= STEPS + 1
    assert all(1 <= one <= 100 for one in seen)
    assert seen[-1] == 100


def test_the_catalog_folds_again_at_each_step() -> None:
    catalog = Catalog(["a"], epoch_offset_s=1000)
    cold = EndpointClaim("http", "10.0.0.1", 1, warm_up=WarmUp(1_000_000, 50_000, 10))
    claim = ServiceClaim(KEY, (ServicePort("http", 80, "HTTP"),), (cold, EndpointClaim("http", "10.0.0.2", 1)))
    catalog.apply(SourceListed("a", {"x": OriginReport((claim,))}), 0.0)
    weights, now = [], 0.0
    while True:
        catalog.take_changes(10, now)
        weights.append(tuple(one.weight for one in catalog.services[KEY].workloads))
        due = catalog.next_tick()
        if due is None:
            break
        now = due
        assert catalog.tick(now) == {"a": {KEY}}
    assert weights == [(1, 10), (7, 25), (23, 50), (16, 25), (41, 50), (0, 0)]
    assert now == 50
