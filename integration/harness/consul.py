"""A real Consul of one member, built from its Go module on first use."""

import json
import shutil
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers import go_dependency
from harness.ports import free_port
from harness.process import Process


class Consul:
    """A development agent: a server in memory; ``stop`` and ``start`` begin anew."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="isthmus-consul-"))
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        ports = {"server": free_port(), "serf_lan": free_port(), "serf_wan": free_port(), "dns": -1, "grpc": -1}
        config = self._directory / "agent.json"
        config.write_text(json.dumps({"ports": {"http": self._port, **ports}, "disable_update_check": True}))
        argv: list[str | Path] = [
            go_dependency("consul", "github.com/hashicorp/consul"),
            "agent",
            "-dev",
            "-bind=127.0.0.1",
        ]
        self.process = Process("consul", [*argv, f"-config-file={config}"], log=self._directory / "consul.log")
        try:
            self.process.wait_until(self._leads, within=60, what="leading")
        except BaseException:
            self.close()
            raise

    def _leads(self) -> bool:
        with urllib.request.urlopen(f"http://{self.address}/v1/status/leader", timeout=5) as answer:
            return len(answer.read()) > len('""\n')

    def put(self, path: str, body: Any = None) -> None:
        """One PUT to the agent."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def services(self) -> dict[str, Any]:
        """The agent's services by id."""
        with urllib.request.urlopen(f"http://{self.address}/v1/agent/services", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def close(self) -> None:
        """Stop it."""
        self.process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
