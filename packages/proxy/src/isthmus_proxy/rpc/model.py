"""Compiled configuration of an RPC proxy. Immutable; built by ``config.rpc_proxy``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PoolMode = Literal["MULTIPLEX", "PING_PONG", "BOUND"]
"""How requests share upstream connections: all of an endpoint's on few, one at a time on each, or one for each client connection."""


@dataclass(frozen=True, slots=True)
class HeartbeatConfig:
    """When idle upstream connections are asked whether they live. Seconds; ``interval`` 0 = never.

    After each answer the interval doubles up to ``max_interval``; a miss sets it back. ``max_failures`` in a row end the connection.
    """

    interval: float = 15.0
    max_interval: float = 90.0
    timeout: float = 1.0
    max_failures: int = 3


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds of one RPC proxy. ``idle_timeout`` in seconds, 0 = none: of client connections on which nothing comes in."""

    max_frame_bytes: int = 8 * 1024 * 1024
    idle_timeout: float = 90.0
    connections_per_endpoint: int = 1
