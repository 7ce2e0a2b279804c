"""Our own programs, run as their users run them: from the command line, each in its own process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from harness.envoy import write_bootstrap
from harness.http import Response, fetch
from harness.process import Process, run


def module(name: str) -> list[str]:
    """The command line of one of our programs in this environment."""
    return [sys.executable, "-m", name]


class _Program:
    """One of our programs that writes the addresses it is bound to into a file once it listens."""

    def __init__(self, name: str, argv: Sequence[str | Path], address_path: Path, directory: Path) -> None:
        self.name = name
        self._argv = [*argv]
        self._address_path = address_path
        self._log = directory / f"{name}.log"
        self.process = self._start()

    def _start(self) -> Process:
        self._address_path.unlink(missing_ok=True)
        process = Process(self.name, self._argv, log=self._log)
        try:
            process.wait_until(
                lambda: self._address_path.is_file() and self._address_path.read_text().strip(), what="listening"
            )
        except BaseException:
            process.stop()
            raise
        return process

    def restart(self) -> None:
        """Start it again after :meth:`stop` or :meth:`kill`, with the same command line."""
        self.process = self._start()

    def stop(self) -> int:
        """Stop it gracefully; return the exit status."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Proxy(_Program):
    """``isthmus-proxy run`` with an Envoy bootstrap given as mapping, YAML text or file."""

    def __init__(
        self,
        bootstrap: Mapping[str, Any] | str | Path,
        directory: Path,
        *,
        name: str = "isthmus-proxy",
        options: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.bootstrap = write_bootstrap(bootstrap, directory, name)
        address_path = directory / f"{name}.admin"
        argv: list[str | Path] = [
            *module("isthmus_proxy"),
            "run",
            "-c",
            self.bootstrap,
            "--admin-address-path",
            address_path,
            *options,
        ]
        super().__init__(name, argv, address_path, directory)

    @property
    def admin_address(self) -> str:
        """``host:port`` of the admin interface."""
        return self._address_path.read_text().strip()

    def admin(self, path: str, method: str = "GET") -> Response:
        """One request to the admin interface."""
        return fetch(self.admin_address, path, method=method)

    def ready(self) -> bool:
        """Whether ``/ready`` answers 200."""
        return self.admin("/ready").status == 200

    def wait_ready(self, within: float | None = None) -> Self:
        """Wait until it is ready."""
        self.process.wait_until(self.ready, within=within)
        return self

    def stat(self, name: str) -> int:
        """One counter or gauge by its full name; 0 when it is not there."""
        for line in self.admin("/stats").text.splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return int(value)
        return 0


class _Addressed(_Program):
    """A program whose address file is a JSON object: purpose -> ``host:port``."""

    @property
    def addresses(self) -> dict[str, str]:
        """All bound addresses."""
        loaded: dict[str, str] = json.loads(self._address_path.read_text())
        return loaded

    @property
    def admin_address(self) -> str:
        """``host:port`` of the admin interface."""
        return self.addresses["admin"]

    def admin(self, path: str, method: str = "GET", body: bytes | None = None) -> Response:
        """One request to the admin interface."""
        return fetch(self.admin_address, path, method=method, body=body)


class ControlPlane(_Addressed):
    """``isthmus-controlplane run``. For restarts that clients survive, give fixed ports."""

    def __init__(
        self,
        store: str,
        directory: Path,
        *,
        mcp: Sequence[str] = (),
        grpc: str = "127.0.0.1:0",
        admin: str = "127.0.0.1:0",
        name: str = "isthmus-controlplane",
        options: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        address_path = directory / f"{name}.addresses"
        sources = [part for source in mcp for part in ("--mcp", f"xds://{source}")]
        bind = ["--grpc", grpc, "--admin", admin, "--address-path", str(address_path)]
        argv: list[str | Path] = [*module("isthmus_controlplane"), "run", "--store", store, *sources, *bind, *options]
        super().__init__(name, argv, address_path, directory)

    @property
    def grpc_address(self) -> str:
        """``host:port`` of the xDS server."""
        return self.addresses["grpc"]

    def ctl(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``isthmusctl`` against this control plane; with ``check``, a failure raises and shows what it said."""
        done = run(
            [*module("isthmus_controlplane.ctl"), "--server", f"http://{self.admin_address}", *arguments],
            env={"NO_COLOR": "1"},
        )
        if check and done.returncode:
            raise AssertionError(
                f"isthmusctl {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def status(self) -> Any:
        """``isthmusctl status`` as JSON."""
        return json.loads(self.ctl("status", "-o", "json").stdout)


class Bridge(_Addressed):
    """``isthmus-mcp-bridge run`` over the given registries (the ``registries`` list of its configuration)."""

    def __init__(
        self,
        registries: Sequence[Mapping[str, Any]],
        directory: Path,
        *,
        mcp: str = "127.0.0.1:0",
        admin: str = "127.0.0.1:0",
        name: str = "isthmus-mcp-bridge",
        options: Sequence[str] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """``more`` are further fields of the configuration."""
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / f"{name}.yaml"
        configuration = {
            "mcp": {"address": mcp},
            "admin": {"address": admin},
            "registries": [dict(one) for one in registries],
            **(more or {}),
        }
        self.config.write_text(yaml.safe_dump(configuration, sort_keys=False))
        address_path = directory / f"{name}.addresses"
        argv: list[str | Path] = [
            *module("isthmus_mcp_bridge"),
            "run",
            "-c",
            self.config,
            "--address-path",
            address_path,
            *options,
        ]
        super().__init__(name, argv, address_path, directory)

    @property
    def mcp_address(self) -> str:
        """``host:port`` of the MCP server."""
        return self.addresses["mcp"]


def write_atomically(path: Path, text: str) -> None:
    """Replace a file the way careful editors do, so that a watcher never sees half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(path)
