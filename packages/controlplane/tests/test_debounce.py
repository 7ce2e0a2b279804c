"""Bursts of changes become one flush."""

from __future__ import annotations

import asyncio

import pytest

from isthmus_controlplane.debounce import Debounce
from isthmus_controlplane.xds.testing import eventually

pytestmark = pytest.mark.asyncio


async def test_a_burst_is_flushed_once() -> None:
    flushes: list[None] = []
    debounce = Debounce(lambda: flushes.append(None), quiet=0.02, most=60)
    for _ in range(50):
        debounce.touch()
    await eventually(lambda: bool(flushes))
    assert len(flushes) == 1
    assert debounce.merged == 49


async def test_an_endless_burst_is_flushed_at_the_bound() -> None:
    flushes: list[None] = []
    debounce = Debounce(lambda: flushes.append(None), quiet=60, most=0.05)
    debounce.touch()
    await eventually(lambda: bool(flushes))


async def test_a_change_just_before_the_bound_does_not_move_it() -> None:
    flushes: list[None] = []
    debounce = Debounce(lambda: flushes.append(None), quiet=0.05, most=0.1)
    async with asyncio.timeout(20):
        while not flushes:
            debounce.touch()
            await asyncio.sleep(0)


async def test_flush_ends_the_burst_and_cancel_forgets_it() -> None:
    flushes: list[None] = []
    debounce = Debounce(lambda: flushes.append(None), quiet=0.01, most=1)
    debounce.touch()
    debounce.flush()
    assert len(flushes) == 1
    debounce.touch()
    debounce.cancel()
    debounce.touch()
    debounce.flush()
    assert len(flushes) == 2
