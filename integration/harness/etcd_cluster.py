"""A real etcd of three members on loopback, of which each can be killed and started again."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.etcd import binary
from harness.eventually import eventually
from harness.ports import free_port
from harness.process import Process, run

MEMBERS = ("one", "two", "three")


class EtcdCluster:
    """Three running members."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="isthmus-etcd-cluster-"))
        self._clients = {name: f"127.0.0.1:{free_port()}" for name in MEMBERS}
        self._peers = {name: f"http://127.0.0.1:{free_port()}" for name in MEMBERS}
        self._running = {name: self._start(name) for name in MEMBERS}
        try:
            eventually(lambda: self.leader() != "", what="a leader")
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The store's URL, with all members."""
        return f"etcd://{','.join(self._clients.values())}"

    def _start(self, name: str) -> Process:
        options = {
            "name": name,
            "data-dir": str(self._directory / name),
            "listen-client-urls": f"http://{self._clients[name]}",
            "advertise-client-urls": f"http://{self._clients[name]}",
            "listen-peer-urls": self._peers[name],
            "initial-advertise-peer-urls": self._peers[name],
            "initial-cluster": ",".join(f"{member}={peer}" for member, peer in self._peers.items()),
        }
        flags = [part for option, value in options.items() for part in (f"--{option}", value)]
        return Process(f"etcd-{name}", [binary("etcd"), *flags], log=self._directory / f"{name}.log")

    def leader(self) -> str:
        """The name of the leader among the members that run; empty while there is none."""
        for name, process in self._running.items():
            if process.running:
                with contextlib.suppress(RuntimeError, ValueError, IndexError):
                    status = json.loads(self.ctl(name, "endpoint", "status", "-w", "json"))[0]["Status"]
                    if status["leader"] == status["header"]["member_id"]:
                        return name
        return ""

    def ctl(self, member: str, *arguments: str) -> str:
        """Run ``etcdctl`` against one member; its standard output.

        Raises:
            RuntimeError: it failed.
        """
        done = run([binary("etcdctl"), "--endpoints", self._clients[member], *arguments], env={"ETCDCTL_API": "3"})
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def others(self, member: str) -> list[str]:
        """The members but one."""
        return [name for name in MEMBERS if name != member]

    def kill(self, member: str) -> None:
        """SIGKILL a member."""
        self._running[member].kill()

    def start(self, member: str) -> None:
        """Start a killed member again, with its data."""
        self._running[member] = self._start(member)

    def stop(self) -> None:
        """Stop all."""
        for process in self._running.values():
            process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
