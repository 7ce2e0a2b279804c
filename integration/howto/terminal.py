"""Runs the page's commands as they stand there, and keeps what they say."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from pathlib import Path

from harness.eventually import eventually
from harness.http import fetch
from harness.ports import accepts
from harness.process import Process, run
from howto.ports import Ports

SETTLED_S = 60.0
"""How long anything may take: the machine may be busy."""
OPERATOR = "ops".ljust(64, "-")
"""What the page calls the machine on which commands are typed; as long as its name, so that tables stay tables."""
_PARAMETERS = re.compile(r"%3F[\w%.~-]+")
"""Those of a Dubbo URL in a node's name."""


class Terminal:
    """A working directory, and what was said, by the name of the page's block."""

    def __init__(self, home: Path, ports: Ports) -> None:
        self.home = home
        self.ports = ports
        self.said: dict[str, str] = {}
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ISTHMUS_SERVER": f"http://{ports.address(15014)}",
            "NO_COLOR": "1",
        }
        self._processes: list[Process] = []

    def run(self, block: str, command: str) -> str:
        """Run it to its end. Raises AssertionError when it fails."""
        output = self.quietly(command)
        self.show(block, f"$ {command}\n{output}")
        return output

    def quietly(self, command: str) -> str:
        """Run it and show nothing. Raises AssertionError when it fails."""
        argv = ["env", "-C", str(self.home), *shlex.split(self.ports.real(command))]
        done = run(argv, within=SETTLED_S, env=self._environment)
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{output}"
        return output

    def show(self, block: str, text: str) -> None:
        """Put a text of this run into a block of the page."""
        machine = socket.gethostname()
        text = _PARAMETERS.sub("%3F...", text.replace(machine, OPERATOR[: len(machine)]))
        shown = self.ports.shown(text).rstrip("\n")
        print(f"{shown}\n", flush=True)
        self.said[block] = f"{self.said.get(block, '')}{shown}\n"

    def start(self, block: str, command: str, *, serves: int = 0) -> Process:
        """Start a program that goes on; ends when it listens on ``serves``, where given."""
        argv = shlex.split(self.ports.real(command))
        name = f"{Path(argv[0]).name}-{len(self._processes)}"
        log = self.home / f"{name}.log"
        process = Process(name, argv, log=log, cwd=self.home, env=self._environment)
        self._processes.append(process)
        if serves:
            self.show(block, f"$ {command} &")
            process.wait_until(lambda: accepts("127.0.0.1", self.ports.port(serves)), within=SETTLED_S, what="serving")
        return process

    def output(self, process: Process) -> str:
        """All that a program has said, in this run's words."""
        log = process.log
        return log.read_text() if log is not None and log.exists() else ""

    def wait_ready(self, admin: int) -> None:
        """Wait until the program with this admin port is ready."""
        address = self.ports.address(admin)
        eventually(lambda: fetch(address, "/ready").status == 200, within=SETTLED_S, what=f"{admin} is ready")

    def stop(self) -> None:
        """Stop what still runs, the last one first."""
        while self._processes:
            self._processes.pop().stop()
