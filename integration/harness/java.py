"""The Java applications of ``rpc_apps``, built by Maven into the peers' cache, as programs to be talked to line by line."""

import hashlib
import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import peers
from harness.conversation import Conversation
from harness.process import Process, run

SOURCES = Path(__file__).parents[1] / "rpc_apps"
BUILD_S = 900  # the first build also downloads what it depends on
REMEDY = "apt-get install maven openjdk-17-jdk-headless"
_OPENED = ("java.lang", "java.util", "java.math", "java.io", "java.net", "java.time", "java.util.concurrent")


def rpc_apps(main: str) -> list[Path]:
    """The class path of an application, built on first use of these sources.

    Raises RuntimeError with Maven's output when it cannot be built.
    """
    target = peers.install(f"rpc-apps-{_digest()}", _build)
    first = [target / "sofarpc" / "*"] if main == "SofaApp" else []
    return [target / "classes", *first, target / "dependency" / "*"]


def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(
        path for path in SOURCES.rglob("*") if path.suffix in {".java", ".xml"} and "target" not in path.parts
    ):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCES)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _build(target: Path) -> None:
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        peers.missing("Maven or a JDK", REMEDY)
    project = target / "project"
    shutil.copytree(SOURCES, project, ignore=shutil.ignore_patterns("target"))
    repository = peers.cache() / "m2"
    done = run(
        ["mvn", "-B", "-q", "-f", project / "pom.xml", f"-Dmaven.repo.local={repository}", "package"], within=BUILD_S
    )
    if done.returncode:
        raise RuntimeError(f"mvn package of {SOURCES} failed:\n{done.stdout}{done.stderr}")
    for name in ("classes", "dependency", "sofarpc"):
        (project / "target" / name).rename(target / name)
    shutil.rmtree(project)


def java(main: str, *arguments: str, home: Path) -> list[str | Path]:
    """The command line of one of the applications; what it writes goes below ``home``.

    Dubbo puts the address of a network in the place of loopback wherever it finds one: it is shown neither network nor host name.
    """
    hosts = home / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    small = ["-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    options = [f"-Duser.home={home}", f"-Dlogging.path={home}", "-Dbolt.tcp.heartbeat.interval=1000"]
    options += [f"-Djdk.net.hosts.file={hosts}", "-Ddubbo.network.interface.ignored=.*"]
    path = ":".join(map(str, rpc_apps(main)))
    return [
        shutil.which("java") or "java",
        *small,
        *opened,
        *options,
        "-cp",
        path,
        f"mesh.isthmus.apps.{main}",
        *arguments,
    ]


class Provider:
    """A provider; ``stop`` and ``start`` keep its port."""

    def __init__(self, main: str, name: str, port: int, home: Path, *more: str) -> None:
        self.name = name
        self.port = port
        self._argv = java(main, "provider", name, str(port), *more, home=home)
        self._home = home
        self._process: Process | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._process = Process(self.name, self._argv, log=self._home / f"{self.name}.log", cwd=self._home)
        try:
            self._process.wait_until(self._serves, what="serving")
        except BaseException:
            self.stop()
            raise

    def _serves(self) -> bool:
        return self._process is not None and "ready" in self._process.tail().splitlines()

    def stop(self) -> None:
        """Stop it as an operator would."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Consumer(Conversation):
    """A consumer that makes the calls it is told to."""

    def __init__(self, main: str, home: Path, *arguments: str) -> None:
        super().__init__(java(main, "consumer", *arguments, home=home), home)
