"""Compiled config.cluster.v3.Cluster.OriginalDstLbConfig."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OriginalDst:
    """config.cluster.v3.Cluster.OriginalDstLbConfig. ``header`` is empty if none is used; ``port`` 0 keeps the destination's."""

    header: bytes = b""
    port: int = 0
    cleanup_interval: float = 5.0
