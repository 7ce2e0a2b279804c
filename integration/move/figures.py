"""What the run shows, as numbers: requests and failures by consumer and way, and shares by second. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from move.consumers import Consumer

WAYS = ("native", "mesh", "unanswered")
KINDS = ("sdk", "mesh")


@dataclass(slots=True)
class Figures:
    """What is printed and written as JSON. Times are seconds since the load began."""

    instances: int
    seed: int
    seconds: float
    requests: int
    failed: int
    consumers: dict[str, dict[str, dict[str, int]]]
    """Consumer -> ``requests`` or ``failures`` -> way -> number."""
    reasons: dict[str, list[tuple[float, str]]]
    events: list[tuple[float, str]]
    moves: list[tuple[float, int, bool]]
    """When, which instance, whether to the mesh."""
    share_mesh: dict[str, list[float | None]]
    """Kind of consumer -> for each second the share of its requests that went through the callee's sidecar."""


def figures(
    consumers: Sequence[Consumer],
    instances: int,
    seed: int,
    seconds: float,
    events: list[tuple[float, str]],
    moves: list[tuple[float, int, bool]],
) -> Figures:
    """Everything counted."""
    return Figures(
        instances=instances,
        seed=seed,
        seconds=round(seconds, 1),
        requests=sum(one.tally.requests.total() for one in consumers),
        failed=sum(one.tally.failures.total() for one in consumers),
        consumers={
            one.name: {"requests": dict(one.tally.requests), "failures": dict(one.tally.failures)} for one in consumers
        },
        reasons={one.name: list(one.tally.reasons) for one in consumers if one.tally.reasons},
        events=events,
        moves=[(round(at, 1), instance, to_mesh) for at, instance, to_mesh in moves],
        share_mesh={kind: _shares([one for one in consumers if one.kind == kind], seconds) for kind in KINDS},
    )


def _shares(consumers: Sequence[Consumer], seconds: float) -> list[float | None]:
    counts: Counter[tuple[int, str]] = Counter()
    for one in consumers:
        counts.update(one.tally.by_second)
    found: list[float | None] = []
    for second in range(int(seconds)):
        total = sum(counts[second, way] for way in WAYS)
        found.append(round(counts[second, "mesh"] / total, 3) if total else None)
    return found


def table(found: Figures) -> str:
    """Requests and failures by consumer and way, for people."""
    lines = ["consumer".ljust(12) + "".join(f"{way:>12}{'failed':>8}" for way in WAYS)]
    for name, counts in found.consumers.items():
        cells = (f"{counts['requests'].get(way, 0):>12}{counts['failures'].get(way, 0):>8}" for way in WAYS)
        lines.append(name.ljust(12) + "".join(cells))
    lines.append(f"{found.requests} requests in {found.seconds:g} s, {found.failed} failed (seed {found.seed})")
    lines += [f"  {name} at {at:g} s: {why}" for name, all_ in found.reasons.items() for at, why in all_[:5]]
    return "\n".join(lines)
