"""Runs groups on both sides, several at a time, and compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from differential import side
from differential.bootstrap import build, listener_names, upstream_names
from differential.case import STATS, Case, Group
from differential.observation import Difference, compare, compare_stats
from differential.upstream import Recorder, Upstreams
from harness.ports import free_port

AT_A_TIME = 3
"""Groups that run at once. A side mostly waits: for time-outs, and for the client to read."""


@dataclass(slots=True)
class Result:
    """Differences by full name of the case; a group that could not be run has its failure under every case."""

    differences: dict[str, list[Difference]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def run(chosen: Mapping[str, tuple[Group, Sequence[Case]]], directory: Path) -> Result:
    """Run the chosen cases of each group."""
    result = Result()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = {name: pool.submit(_run_group, *each, directory / name) for name, each in chosen.items()}
        for name, future in runs.items():
            try:
                result.differences |= future.result()
            except Exception as error:  # noqa: BLE001 - each group reports its own failure
                group, cases = chosen[name]
                named = [*(case.full_name for case in cases), f"{group.name}/{STATS}"]
                result.failures |= dict.fromkeys(named, f"{type(error).__name__}: {error}")
    return result


def _run_group(group: Group, cases: Sequence[Case], directory: Path) -> dict[str, list[Difference]]:
    directory.mkdir(parents=True)
    names = {case.name for case in cases}
    group = group.filled()
    cases = [case for case in group.cases if case.name in names]
    recorder = Recorder()
    with Upstreams(sorted(upstream_names(group)), recorder) as upstreams:
        listeners = {name: free_port() for name in listener_names(group)}
        ports = side.Ports(listeners, upstreams.ports, free_port())
        bootstrap = directory / "bootstrap.json"
        bootstrap.write_text(json.dumps(build(group, ports.upstreams, ports.listeners, ports.admin), indent=1))
        ours, envoys = (side.run(name, group, cases, bootstrap, ports, recorder) for name in side.SIDES)
    for seen in (ours, envoys):
        if seen.failure:
            raise RuntimeError(seen.failure)
    compared = {
        case.full_name: compare(case, ours.observations[case.name], envoys.observations[case.name], ports.upstreams)
        for case in cases
    }
    return {**compared, f"{group.name}/{STATS}": compare_stats(ours.stats, envoys.stats)}
