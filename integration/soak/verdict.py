"""What a soak has to show, judged from its samples and from the stats at rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

GROWTH_SHARE = 0.02
GROWTH_MB = 1.0
"""Resident memory may grow by this much, plus ``GROWTH_SHARE``, from the third quarter of the run to the last."""
FDS_SHARE = 1.25
"""Open file descriptors in the last quarter against the third: the load is the same, but not at every moment."""
AT_REST_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The proxy at one moment, ``at`` seconds into the run."""

    at: float
    rss_mb: float
    fds: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The run: samples under load, file descriptors before it and at rest after it, stats at rest, log lines."""

    samples: Sequence[Sample]
    fds_before: int
    fds_after: int
    stats: Mapping[str, int]
    log_lines: int
    failed: Sequence[str]
    surprises: Sequence[str]


def quarters(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The third quarter of the run, and the last."""
    size = len(samples)
    return samples[size // 2 : size * 3 // 4], samples[size * 3 // 4 :]


def objections(outcome: Outcome) -> list[str]:
    """Everything that speaks against the run; empty if nothing does."""
    found = [f"steady load: {each}" for each in outcome.failed[:10]]
    found += [f"unexpected: {each}" for each in outcome.surprises[:10]]
    found += growth(outcome.samples)
    found += _rest(outcome)
    return found


def growth(samples: Sequence[Sample]) -> list[str]:
    """What grew from the third quarter of the run to the last, and should not have."""
    third, last = quarters(samples)
    if not third or not last:
        return ["the run was too short to say anything about memory"]
    found = []
    before, after = (median(sample.rss_mb for sample in part) for part in (third, last))
    if after > before * (1 + GROWTH_SHARE) + GROWTH_MB:
        found.append(f"resident memory grew from {before:.1f} MB to {after:.1f} MB in the second half of the run")
    before, after = (median(sample.fds for sample in part) for part in (third, last))
    if after > before * FDS_SHARE + 8:
        found.append(f"open file descriptors grew from {before:g} to {after:g} in the second half of the run")
    return found


def _rest(outcome: Outcome) -> list[str]:
    stats = outcome.stats
    found = [f"{name} is {value} at rest" for name, value in stats.items() if _must_be_zero(name) and value]
    pooled = sum(value for name, value in stats.items() if name.endswith(".upstream_cx_active"))
    pipes = 2 * stats.get("pipes.spare_size", 0)  # kept for the next large body
    if outcome.fds_after > outcome.fds_before + pooled + pipes + 2:
        kept = f"{pooled} pooled, {pipes} of spare pipes"
        found.append(f"{outcome.fds_after} file descriptors at rest; {outcome.fds_before} before, and {kept}")
    requests = stats["http.in.downstream_rq_total"]
    if outcome.log_lines + stats["access_log.dropped"] != requests:
        found.append(f"{requests} requests, but {outcome.log_lines} log lines")
    for name in ("http.in.downstream_cx", *_clusters(stats)):
        active = stats[f"{name}_total"] - stats[f"{name}_destroy"]
        if active != stats[f"{name}_active"]:
            found.append(f"{name}_total - {name}_destroy is {active}, but {name}_active {stats[f'{name}_active']}")
    return found


def _must_be_zero(name: str) -> bool:
    busy = (".upstream_rq_active", ".upstream_rq_pending_active", ".downstream_rq_active", ".downstream_cx_active")
    return name.endswith((*busy, ".downstream_cx_upgrades_active"))


def _clusters(stats: Mapping[str, int]) -> list[str]:
    end = ".upstream_cx_total"
    return [name.removesuffix("_total") for name in stats if name.startswith("cluster.") and name.endswith(end)]
