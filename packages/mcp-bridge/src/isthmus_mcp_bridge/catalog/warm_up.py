"""Weights that grow after an instance's start, in coarse steps, so that what is published changes rarely. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus_mcp_bridge.model import WarmUp

STEPS = 5
"""A warm-up is published in this many steps; each costs the service one push."""


def share_percent(warm_up: WarmUp | None, now_ms: int) -> int:
    """The share of its weight that an instance has at ``now_ms`` (Unix epoch), from ``first_percent`` to 100.

    An instance whose start lies in the future (its clock is wrong) counts as just started.
    """
    if warm_up is None or warm_up.duration_ms <= 0:
        return 100
    passed = max(0, now_ms - warm_up.start_ms)
    if passed >= warm_up.duration_ms:
        return 100
    step = passed * STEPS // warm_up.duration_ms
    return max(1, warm_up.first_percent + (100 - warm_up.first_percent) * step // STEPS)


def next_step_ms(warm_ups: Iterable[WarmUp | None], now_ms: int) -> int | None:
    """When the share of one of them changes next (ms since the epoch); None when all are warm."""
    return min((due for one in warm_ups if (due := _next(one, now_ms)) is not None), default=None)


def _next(warm_up: WarmUp | None, now_ms: int) -> int | None:
    if warm_up is None or share_percent(warm_up, now_ms) == 100:
        return None
    passed = max(0, now_ms - warm_up.start_ms)
    step = passed * STEPS // warm_up.duration_ms + 1
    return max(now_ms + 1, warm_up.start_ms + -(-step * warm_up.duration_ms // STEPS))
