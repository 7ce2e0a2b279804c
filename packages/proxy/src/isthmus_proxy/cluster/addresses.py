"""In which order the addresses of one endpoint are tried (RFC 8305, 4; Envoy's happy eyeballs). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Address: TypeAlias = tuple[str, int]
"""An IP literal and a port."""


@dataclass(frozen=True, slots=True)
class HappyEyeballsConfig:
    """config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig. ``DEFAULT``: the family of the first address comes first."""

    first_family: Literal["DEFAULT", "V4", "V6"] = "DEFAULT"
    first_count: int = 1


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """config.core.v3.TcpKeepalive: probes without answer, idle seconds before the first, seconds between two; 0: the system's."""

    probes: int = 0
    idle: int = 0
    interval: int = 0


def attempt_order(addresses: Sequence[Address], config: HappyEyeballsConfig) -> list[Address]:
    """``addresses``, of which there is at least one, with the families in turn: ``first_count`` of the first, one of the other."""
    six = ":" in addresses[0][0] if config.first_family == "DEFAULT" else config.first_family == "V6"
    first = [address for address in addresses if (":" in address[0]) is six]
    other = [address for address in addresses if (":" in address[0]) is not six]
    order: list[Address] = []
    while first or other:
        order += first[: config.first_count] + other[:1]
        first, other = first[config.first_count :], other[1:]
    return order
