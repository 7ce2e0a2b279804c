"""Bolt proxies, each started from the same plan, and ``direct``: the load on the origin without a proxy.

``isthmus-busy-poll`` never sleeps between events that follow each other within 1 ms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.bolt_plan import BoltPlan, isthmus_bootstrap, mosn_config
from bench.peers import go_program
from bench.subjects.http import Running, start
from harness.compiled import compiled_proxy
from harness.envoy import write_bootstrap
from harness.isthmus import module


def _isthmus(plan: BoltPlan, cpus: str) -> Running:
    return _start_isthmus("isthmus", plan, cpus, {"PYTHONPATH": str(compiled_proxy())})


def _isthmus_pure(plan: BoltPlan, cpus: str) -> Running:
    return _start_isthmus("isthmus-pure", plan, cpus, None)


def _isthmus_busy_poll(plan: BoltPlan, cpus: str) -> Running:
    env = {"PYTHONPATH": str(compiled_proxy())}
    return _start_isthmus("isthmus-busy-poll", plan, cpus, env, "--busy-poll-ms", "1")


def _start_isthmus(name: str, plan: BoltPlan, cpus: str, env: Mapping[str, str] | None, *options: str) -> Running:
    bootstrap = write_bootstrap(isthmus_bootstrap(plan), plan.folder, name)
    argv: list[str | Path] = [*module("isthmus_proxy"), "run", "-c", bootstrap, "--log-level", "warning", *options]
    return start(name, argv, plan, cpus, env)


def _mosn(plan: BoltPlan, cpus: str) -> Running:
    path = plan.folder / "mosn.json"
    path.write_text(json.dumps(mosn_config(plan)))
    return start("mosn", [go_program("mosn"), "-c", path], plan, cpus)


def _direct(plan: BoltPlan, cpus: str) -> Running:
    del cpus
    return Running(plan.origin_port, None)


SUBJECTS: dict[str, Callable[[BoltPlan, str], Running]] = {
    "isthmus": _isthmus,
    "isthmus-pure": _isthmus_pure,
    "isthmus-busy-poll": _isthmus_busy_poll,
    "mosn": _mosn,
    "direct": _direct,
}
