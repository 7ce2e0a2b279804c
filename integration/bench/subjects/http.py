"""HTTP proxies, each started from the same plan, and ``direct``: the load on the origin without a proxy.

``isthmus`` is what pip makes of the sources where there is a C compiler: the wheel whose data path is compiled. ``isthmus-pure`` is
the same, interpreted, as pip makes it without one.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.http_plan import HttpPlan, envoy_bootstrap, haproxy_config, nginx_config
from bench.mosn_plan import mosn_config
from bench.peers import go_program
from bench.procstat import tree
from harness import peers
from harness.compiled import compiled_proxy
from harness.envoy import envoy_binary, write_bootstrap
from harness.isthmus import module
from harness.ports import accepts
from harness.process import Process


@dataclass(frozen=True, slots=True)
class Running:
    """A started subject: where the load goes, and the process that is measured (None: no proxy)."""

    port: int
    process: Process | None

    @property
    def pids(self) -> list[int]:
        """The subject's processes."""
        return [] if self.process is None else tree(self.process.pid)

    def stop(self) -> None:
        """Stop it and wait."""
        if self.process is not None:
            self.process.stop()


class Plan(Protocol):
    """What starting a subject needs of its task."""

    @property
    def port(self) -> int: ...
    @property
    def folder(self) -> Path: ...


def start(name: str, argv: list[str | Path], plan: Plan, cpus: str, env: Mapping[str, str] | None = None) -> Running:
    """Start a program that will listen on the port of ``plan``, on the processors ``cpus``."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # 10,000 idle connections need more than the usual soft limit
    prefix: list[str | Path] = ["prlimit", f"--nofile={hard}", *(["taskset", "-c", cpus] if cpus else [])]
    process = Process(name, [*prefix, *argv], log=plan.folder / f"{name}.log", env=env)
    try:
        process.wait_until(lambda: accepts("127.0.0.1", plan.port), within=60, what="listening")
    except BaseException:
        process.stop()
        raise
    return Running(plan.port, process)


def isthmus(plan: HttpPlan, cpus: str) -> Running:
    """The compiled proxy."""
    return _start_isthmus("isthmus", plan, cpus, {"PYTHONPATH": str(compiled_proxy())})


def isthmus_pure(plan: HttpPlan, cpus: str) -> Running:
    """The interpreted proxy."""
    return _start_isthmus("isthmus-pure", plan, cpus, None)


def _isthmus_busy_poll(plan: HttpPlan, cpus: str) -> Running:
    env = {"PYTHONPATH": str(compiled_proxy())}
    return _start_isthmus("isthmus-busy-poll", plan, cpus, env, "--busy-poll-ms", "20")


def _start_isthmus(name: str, plan: HttpPlan, cpus: str, env: Mapping[str, str] | None, *options: str) -> Running:
    bootstrap = write_bootstrap(envoy_bootstrap(plan), plan.folder, name)
    argv: list[str | Path] = [*module("isthmus_proxy"), "run", "-c", bootstrap, "--log-level", "warning", *options]
    return start(name, argv, plan, cpus, env)


def envoy(plan: HttpPlan, cpus: str) -> Running:
    """Envoy with one worker."""
    bootstrap = write_bootstrap(envoy_bootstrap(plan), plan.folder, "envoy")
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return start("envoy", [envoy_binary(), "-c", bootstrap, *options], plan, cpus)


def _haproxy(plan: HttpPlan, cpus: str) -> Running:
    path = plan.folder / "haproxy.cfg"
    path.write_text(haproxy_config(plan))
    return start("haproxy", [peers.command("haproxy", "haproxy"), "-db", "-f", path], plan, cpus)


def _nginx(plan: HttpPlan, cpus: str) -> Running:
    path = plan.folder / "nginx.conf"
    path.write_text(nginx_config(plan))
    return start("nginx", [peers.command("nginx", "nginx-light"), "-c", path, "-p", plan.folder], plan, cpus)


def _mosn(plan: HttpPlan, cpus: str) -> Running:
    path = plan.folder / "mosn.json"
    path.write_text(json.dumps(mosn_config(plan)))
    return start("mosn", [go_program("mosn"), "-c", path], plan, cpus)


def direct(plan: HttpPlan, cpus: str) -> Running:
    """No proxy at all."""
    del cpus
    return Running(plan.origin_port, None)


SUBJECTS: dict[str, Callable[[HttpPlan, str], Running]] = {
    "isthmus": isthmus,
    "isthmus-pure": isthmus_pure,
    "envoy": envoy,
    "haproxy": _haproxy,
    "nginx": _nginx,
    "mosn": _mosn,
    "direct": direct,
}

BUSY_POLLING: dict[str, Callable[[HttpPlan, str], Running]] = {"isthmus-busy-poll": _isthmus_busy_poll}
"""For the suite of latencies: what the option of never sleeping buys, at the cost of a core."""
