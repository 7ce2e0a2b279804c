"""Real ZooKeeper, from Debian's packages, as one process with its data in a temporary directory."""

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import peers
from harness.ports import free_port
from harness.process import Process

JARS = (Path("/usr/share/java/zookeeper.jar"), Path("/usr/share/zookeeper/zookeeper.jar"))
REMEDY = "apt-get install zookeeper default-jre-headless"
_MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"


def available() -> bool:
    """Whether ZooKeeper and a Java can be run here."""
    return shutil.which("java") is not None and any(jar.is_file() for jar in JARS)


class ZooKeeper:
    """A ZooKeeper server on a free loopback port. Data and port survive ``stop``/``kill`` and ``start``."""

    def __init__(self, *, tick_ms: int = 500) -> None:
        if not available():
            peers.missing("ZooKeeper", REMEDY)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="isthmus-zookeeper-"))
        self._config = self._write_config(tick_ms)
        self._process: Process | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def process(self) -> Process:
        """The running server."""
        if self._process is None:
            raise RuntimeError("ZooKeeper is stopped")
        return self._process

    def start(self) -> None:
        """Start the server and wait until it serves."""
        jar = next(jar for jar in JARS if jar.is_file())
        java = [shutil.which("java") or "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options = ["-Dzookeeper.log.dir=" + str(self.directory), "-Dzookeeper.jmx.log4j.disable=true"]
        argv = [*java, *options, "-cp", f"{self.directory}:{jar}", _MAIN, str(self._config)]
        self._process = Process("zookeeper", argv, log=self.directory / "zookeeper.log")
        try:
            self._process.wait_until(self._serves, within=60, what="serving")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server gracefully; its data stays."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """SIGKILL the server; its data stays."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def close(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_config(self, tick_ms: int) -> Path:
        """The configuration: session timeouts of 2 to 20 ticks, so that the default tick allows sessions of a second."""
        config = self.directory / "zoo.cfg"
        lines = [
            f"dataDir={self.directory / 'data'}",
            "clientPortAddress=127.0.0.1",
            f"clientPort={self.port}",
            f"tickTime={tick_ms}",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=ruok,srvr,wchs",
        ]
        config.write_text("\n".join(lines) + "\n")
        return config

    def _serves(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.sendall(b"srvr")
            return b"Mode: " in _read_all(connection)


def _read_all(connection: socket.socket) -> bytes:
    connection.settimeout(2)
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)
