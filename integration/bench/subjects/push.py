"""Control planes, each serving the same services, and the way in which an operator changes one of them."""

from __future__ import annotations

import json
import resource
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.peers import go_program
from bench.procstat import tree
from bench.push_plan import (
    NAME_FORMAT,
    SOVEREIGN_TEMPLATE,
    PushPlan,
    service_entry,
    services_json,
    sovereign_config,
)
from harness import peers
from harness.isthmus import module, write_atomically
from harness.ports import accepts
from harness.process import Process, run

SOVEREIGN = "0.32.12"


class Change(Protocol):
    """Gives the first endpoint of a service another address."""

    def __call__(self, service: int, marker: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A started control plane. ``polled``: it is asked again and again over REST instead of streaming."""

    process: Process
    change: Change
    polled: bool = False

    @property
    def pids(self) -> list[int]:
        """The subject's processes."""
        return tree(self.process.pid)


def _start(
    name: str, argv: list[str | Path], plan: PushPlan, cpus: str, env: Mapping[str, str] | None = None
) -> Process:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    prefix: list[str | Path] = ["prlimit", f"--nofile={hard}", "taskset", "-c", cpus]
    return Process(name, [*prefix, *argv], log=plan.folder / f"{name}.log", env=env)


def _ready(process: Process, ready: Callable[[], bool]) -> None:
    try:
        process.wait_until(ready, within=120, what="serving")
    except BaseException:
        process.stop()
        raise


def isthmus(plan: PushPlan, cpus: str, *options: str) -> ControlPlane:
    """``isthmus-controlplane`` on a directory, one ServiceEntry a file; a change replaces the file."""
    store = plan.folder / "store"
    store.mkdir()
    for service in range(plan.services):
        (store / f"svc-{service:05d}.yaml").write_text(service_entry(plan, service))
    bind = ["--grpc", f"127.0.0.1:{plan.port}", "--admin", f"127.0.0.1:{plan.admin_port}", "--log-level", "warning"]
    argv = [*module("isthmus_controlplane"), "run", "--store", f"dir:{store}", *bind, *options]
    process = _start("isthmus-controlplane", [*argv], plan, cpus)

    def change(service: int, marker: str) -> None:
        write_atomically(store / f"svc-{service:05d}.yaml", service_entry(plan, service, marker))

    def ready() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{plan.admin_port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    _ready(process, ready)
    return ControlPlane(process, change)


def _go_control_plane(plan: PushPlan, cpus: str) -> ControlPlane:
    """go-control-plane's linear caches in a program of ours; a change is a request to that program."""
    admin = f"127.0.0.1:{plan.admin_port}"
    flags = ["-listen", f"127.0.0.1:{plan.port}", "-admin", admin, "-name", NAME_FORMAT]
    size = ["-services", str(plan.services), "-endpoints", str(plan.endpoints)]
    process = _start("goxds", [go_program("goxds"), *flags, *size], plan, cpus)

    def change(service: int, marker: str) -> None:
        target = f"http://{admin}/change?service={service}&marker={marker}"
        urllib.request.urlopen(urllib.request.Request(target, method="POST"), timeout=10).close()

    _ready(process, lambda: accepts("127.0.0.1", plan.port) and accepts("127.0.0.1", plan.admin_port))
    return ControlPlane(process, change)


def _sovereign(plan: PushPlan, cpus: str) -> ControlPlane:
    """Sovereign with one worker; a change replaces the file that its template context reads every second."""
    template, config = plan.folder / "endpoints.py", plan.folder / "sovereign.json"
    template.write_text(SOVEREIGN_TEMPLATE)
    config.write_text(json.dumps(sovereign_config(plan, template)))
    plan.services_file.write_text(services_json(plan, {}))
    changed: dict[int, str] = {}
    # PYTHONPATH is emptied: it runs in an environment of its own
    env = {"SOVEREIGN_CONFIG": f"file+json://{config}", "SOVEREIGN_HOST": "127.0.0.1", "SOVEREIGN_KEEPALIVE": "300"}
    env |= {"SOVEREIGN_PORT": str(plan.port), "SOVEREIGN_WORKERS": "1", "PYTHONPATH": ""}
    process = _start("sovereign", [sovereign_program()], plan, cpus, env)

    def change(service: int, marker: str) -> None:
        changed[service] = marker
        write_atomically(plan.services_file, services_json(plan, changed))

    _ready(process, lambda: accepts("127.0.0.1", plan.port))
    return ControlPlane(process, change, polled=True)


def sovereign_program() -> Path:
    """Sovereign's own command, in a virtual environment of the peers' cache."""
    return peers.install(f"sovereign-{SOVEREIGN}", _install_sovereign) / "run"


def _install_sovereign(target: Path) -> None:
    # The cache moves the finished folder, and console scripts name their interpreter by path: hence --target and a script
    # of ours, which finds the packages next to itself.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    done = run([*pip, target / "packages", f"sovereign=={SOVEREIGN}"], within=600)
    if done.returncode:
        peers.missing(f"sovereign {SOVEREIGN}", f"`pip install sovereign=={SOVEREIGN}` failed:\n{done.stderr}")
    script = target / "run"
    script.write_text(
        f'#!/bin/sh\nhere=$(dirname "$0")\nexec {sys.executable} -S -c "import sys; '
        "sys.path.insert(0, '$here/packages'); sys.argv[0] = 'sovereign'; "
        'from sovereign.server import main; main()"\n'
    )
    script.chmod(0o755)


SUBJECTS: dict[str, Callable[[PushPlan, str], ControlPlane]] = {
    "isthmus": isthmus,
    "go-control-plane": _go_control_plane,
    "sovereign": _sovereign,
}
