"""The compose stack as an object: build, start, look at, kill and restart its containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.eventually import eventually
from harness.http import fetch

ROOT = Path(__file__).parent.parent.parent
PROJECT = "isthmus-compose-test"


class StackError(RuntimeError):
    """Compose failed, or a container is not what it should be; the message ends with the output."""


def _compose_command() -> list[str]:
    """Compose 2 is a plugin of docker, Compose 1 a program of its own."""
    if shutil.which("docker") is None:
        raise StackError("docker is not installed: apt-get install docker.io docker-compose, and start dockerd")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        raise StackError("Compose is not installed: apt-get install docker-compose")
    return ["docker-compose"]


def _own_environment() -> dict[str, str]:
    """Ours without PYTHONPATH: Compose 1 is a Python program whose package is called like this one."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Stack:
    """The running stack; a context manager that always tears it down."""

    def __init__(self) -> None:
        self._command = [*_compose_command(), "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml")]

    def compose(
        self, *arguments: str, within: float = 600, check: bool = True, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a compose command; its standard output."""
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            cwd=ROOT,
            env={**_own_environment(), **(env or {})},
        )
        if check and done.returncode:
            raise StackError(f"compose {' '.join(arguments)}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def build(self) -> None:
        """Build all images. Compose 1 needs the classic builder for a build on the host's network."""
        classic = {"DOCKER_BUILDKIT": "0"} if self._command[0] == "docker-compose" else {}
        self.compose("build", within=1500, env=classic)

    def start(self) -> None:
        """Start everything and wait until all health checks pass."""
        self.compose("up", "-d")
        self.wait_healthy()

    def containers(self) -> dict[str, dict[str, Any]]:
        """``docker inspect`` of every container, by service."""
        ids = self.compose("ps", "-q").split()
        if not ids:
            return {}
        inspected = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True, timeout=60)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in json.loads(inspected.stdout)}

    def unhealthy(self) -> dict[str, str]:
        """Services that do not run, or whose health check does not pass, with their state."""
        found = {}
        for service, one in self.containers().items():
            state = one["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            if state["Status"] != "running" or health != "healthy":
                found[service] = f"{state['Status']}, {health}"
        return found

    def wait_healthy(self, within: float = 180) -> None:
        """Wait until every container runs and is healthy."""
        try:
            eventually(lambda: not self.unhealthy(), within=within, every=0.5)
        except AssertionError as error:
            broken = self.unhealthy()
            logs = "".join(self.compose("logs", "--tail=30", service, check=False) for service in broken)
            raise StackError(f"not healthy: {broken}\n{logs}") from error

    def kill(self, service: str) -> None:
        """SIGKILL a container, as a crash would; it stays down until :meth:`revive`."""
        self.compose("kill", service)

    def revive(self, service: str) -> None:
        """Start a killed container again and wait until everything is healthy."""
        self.compose("start", service)
        self.wait_healthy()

    def isthmusctl(self, *arguments: str) -> str:
        """Run ``isthmusctl`` inside the control plane's container."""
        return self.compose("exec", "-T", "controlplane", "isthmusctl", *arguments)

    def apply(self, *rules: str) -> None:
        """Apply files of ``integration/compose/rules``."""
        self.isthmusctl("apply", *(part for rule in rules for part in ("-f", f"/rules/{rule}.yaml")))

    def metrics(self, address: str, path: str) -> str:
        """A metrics page, as Prometheus would read it."""
        response = fetch(address, path)
        if response.status != 200:
            raise StackError(f"http://{address}{path}: status {response.status}")
        return response.text

    def services(self) -> Sequence[str]:
        """All services of the default profile."""
        return self.compose("config", "--services").split()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
