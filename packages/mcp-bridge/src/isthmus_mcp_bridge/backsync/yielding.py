"""A replica that has lost a registry gives its leases to another one, while what it wrote still stands there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from isthmus_mcp_bridge.backsync.writer import Writer

CHECK_S = 0.25

log = logging.getLogger(__name__)


async def yield_leases(writers: Mapping[str, Writer], move_away: Callable[[], None]) -> None:
    """Call ``move_away`` once for each time that a registry is lost for ``yield_after_s``; until cancelled.

    Once only: when every replica has lost it, the sidecars go round once, and then stay where they are.
    """
    yielded: set[str] = set()
    while True:
        await asyncio.sleep(CHECK_S)
        for name, writer in writers.items():
            lost_s = writer.lost_for()
            if lost_s == 0:
                yielded.discard(name)
            elif lost_s >= writer.settings.yield_after_s and name not in yielded:
                yielded.add(name)
                log.warning("registry %s is lost for %.1f s: sidecars are sent to another replica", name, lost_s)
                move_away()
