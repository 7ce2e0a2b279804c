"""One of the two programs, run on a group's bootstrap file: plays all cases and gathers what it logs and counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from differential.bootstrap import LOG_FILE, SOURCE
from differential.case import Case, Group
from differential.client import Player
from differential.observation import Observation
from differential.upstream import Recorder
from harness.envoy import envoy_binary
from harness.eventually import eventually
from harness.http import fetch
from harness.process import Process

SIDES = ("isthmus", "envoy")
SETTLE_S = 2.0


@dataclass(slots=True)
class Seen:
    """A group on one side: observations by case name, stats at the end; ``failure`` if it could not be run."""

    observations: dict[str, Observation] = field(default_factory=dict)
    stats: dict[str, int] = field(default_factory=dict)
    failure: str = ""


def command(side: str, bootstrap: Path) -> list[str | Path]:
    """The command line of a side."""
    if side == "envoy":
        options = ["--disable-hot-restart", "--concurrency", "1", "-l", "error"]
        return [envoy_binary(), "-c", bootstrap, *options]
    return [sys.executable, "-m", "isthmus_proxy", "run", "-c", bootstrap, "--log-level", "warning"]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a group's listeners, upstreams and admin server are; the same on both sides, which run one after the other."""

    listeners: Mapping[str, int]
    upstreams: Mapping[str, int]
    admin: int


def run(side: str, group: Group, cases: Sequence[Case], bootstrap: Path, ports: Ports, recorder: Recorder) -> Seen:
    """Start the program, play the cases in turn, stop it."""
    directory = bootstrap.parent / side
    directory.mkdir()
    admin = f"127.0.0.1:{ports.admin}"
    seen = Seen()
    process = Process(f"{side} of {group.name}", command(side, bootstrap), log=directory / "output.log", cwd=directory)
    with process:
        process.wait_until(lambda: fetch(admin, "/ready").status == 200)
        for number, case in enumerate(cases):
            seen.observations[case.name] = _play(case, source(number), ports, recorder)
        recorder.begin(None)
        _wait_idle(admin)
        seen.stats = _stats(admin, group.stats)
        if not process.running:
            seen.failure = process.describe("ended")
    logs = _read_log(directory / LOG_FILE)
    for number, case in enumerate(cases):
        observed = seen.observations[case.name]
        log = tuple(logs.get(source(number), ()))
        seen.observations[case.name] = Observation(observed.heard, observed.forwarded, log)
    return seen


def source(number: int) -> str:
    """The address from which the client of a case connects."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def _play(case: Case, address: str, ports: Ports, recorder: Recorder) -> Observation:
    recorder.begin(case)
    listener = ("127.0.0.1", ports.listeners[case.listener])
    admin = f"127.0.0.1:{ports.admin}"
    heard = Player(
        case, listener, address, recorder, lambda name: _stats(admin, (name,)), partial(_order, admin)
    ).play()
    return Observation(tuple(heard), tuple(recorder.seen(case.forwards)))


def _wait_idle(admin: str) -> None:
    """Wait until every downstream connection has ended, so that all is logged and counted."""

    def idle() -> bool:
        stats = _stats(admin, ("http.*.downstream_cx_active", "tcp.*.downstream_cx_active"))
        return not sum(value for name, value in stats.items() if not name.startswith("http.admin"))

    eventually(idle, within=SETTLE_S * 5, what="no downstream connections")


def _order(admin: str, path: str) -> None:
    answer = fetch(admin, path, method="POST")
    if answer.status != 200:
        raise RuntimeError(f"POST {path}: {answer.status} {answer.text}")


def _stats(admin: str, patterns: Sequence[str]) -> dict[str, int]:
    stats: dict[str, int] = {}
    for line in fetch(admin, "/stats").text.splitlines():
        name, _, value = line.partition(": ")
        wanted = any(fnmatchcase(name, pattern) for pattern in patterns) and ".admin." not in name
        if wanted and value.isdecimal():
            stats[name] = int(value)
    return stats


def _read_log(path: Path) -> dict[str, list[Mapping[str, str]]]:
    """Lines by the address of the client."""
    lines: dict[str, list[Mapping[str, str]]] = {}
    if path.is_file():
        for text in path.read_text(errors="replace").splitlines():
            line = json.loads(text)
            key = line.pop(SOURCE)
            lines.setdefault(key, []).append({name: str(value) for name, value in line.items()})
    return lines
