"""A real Eureka server, Spring Cloud's, whose jars Maven fetches on first use."""

import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers import SOURCES
from harness import peers
from harness.ports import accepts, free_port
from harness.process import Process, run

_SOURCE = SOURCES / "eureka"
_VERSION = "2023.0.3"
_SETTINGS = {
    "server.address": "127.0.0.1",
    "eureka.client.register-with-eureka": "false",
    "eureka.client.fetch-registry": "false",
    "eureka.server.response-cache-update-interval-ms": "100",
    "eureka.server.use-read-only-response-cache": "false",
    "eureka.server.enable-self-preservation": "false",
    "eureka.server.wait-time-in-ms-when-sync-empty": "0",
}


def _build(target: Path) -> None:
    maven, javac = peers.command("mvn", "maven"), peers.command("javac", "default-jdk-headless")
    steps: list[list[str | Path]] = [
        [
            maven,
            "-q",
            "-B",
            "-f",
            _SOURCE / "pom.xml",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={target / 'lib'}",
        ],
        [javac, "-cp", f"{target / 'lib'}/*", "-d", target / "classes", _SOURCE / "src" / "peer" / "EurekaPeer.java"],
    ]
    for step in steps:
        done = run(step, within=900)
        if done.returncode:
            raise RuntimeError(f"{step[0]} failed:\n{done.stdout}{done.stderr}")


class Eureka:
    """A server of one; what is registered dies with it."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="isthmus-eureka-"))
        installed = peers.install(f"eureka-{_VERSION}", _build)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        settings = [f"--{name}={value}" for name, value in (_SETTINGS | {"server.port": str(port)}).items()]
        java = [peers.command("java", "default-jre-headless"), "-Xmx300m", "-XX:TieredStopAtLevel=1"]
        argv = [*java, "-cp", f"{installed / 'lib'}/*:{installed / 'classes'}", "peer.EurekaPeer", *settings]
        self.process = Process("eureka", argv, log=self._directory / "eureka.log")
        try:
            self.process.wait_until(
                lambda: accepts("127.0.0.1", port) and self.instances() == {}, within=120, what="serving"
            )
        except BaseException:
            self.close()
            raise

    def register(self, app: str, address: str, port: int) -> None:
        """Register an instance, or renew it."""
        centre = {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"}
        instance = {
            "instanceId": f"{address}:{port}", "hostName": "h", "app": app, "ipAddr": address, "status": "UP",
            "port": {"$": port, "@enabled": "true"}, "dataCenterInfo": centre,
            "lastDirtyTimestamp": str(time.time_ns() // 1_000_000),
        }  # fmt: skip
        self.call("POST", f"/apps/{app}", {"instance": instance})

    def instances(self) -> dict[str, list[str]]:
        """The ids of the instances by application."""
        request = urllib.request.Request(f"http://{self.address}/eureka/apps", headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            applications = json.load(answer)["applications"]["application"]
        return {one["name"]: [instance["instanceId"] for instance in one["instance"]] for one in applications}

    def call(self, method: str, path: str, body: Any = None) -> None:
        """One request to the server."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}/eureka{path}", data, headers, method=method)
        urllib.request.urlopen(request, timeout=10).close()

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
