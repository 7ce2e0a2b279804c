"""Where a resource type comes from, when not by the aggregated stream: config.core.v3.ApiConfigSource, compiled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ManagementServer:
    """A server of configuration: the static cluster of its addresses, and between which seconds pauses after failures grow."""

    cluster_name: str
    retry_base_interval: float = 0.5
    retry_max_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class ApiSource:
    """A stream of GRPC (state of the world) or DELTA_GRPC. ``servers`` are in order of preference.

    With ``path`` (PathConfigSource) it is a file, and there are no servers.
    """

    servers: tuple[ManagementServer, ...]
    delta: bool = False
    set_node_on_first_message_only: bool = False
    path: str = ""
