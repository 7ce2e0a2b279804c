"""What one choice of an endpoint must regard."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.metadata import Criteria

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class LoadBalancerContext:
    """A retry avoids ``previous`` endpoints in up to ``attempts`` further draws, then takes any.

    ``hash_key`` is a number of 64 bits for ring hash and maglev, which draw one where there is none. ``criteria`` choose the
    subset; None where the route asks for nothing. After every ``priority_frequency`` of the ``attempted`` priorities these are
    excluded (0: never). ``destination`` is where an ORIGINAL_DST cluster goes.
    """

    previous: Container[Endpoint] = ()
    attempts: int = 1
    hash_key: int | None = None
    criteria: Criteria | None = None
    attempted: tuple[int, ...] = ()
    priority_frequency: int = 0
    destination: tuple[str, int] | None = None
