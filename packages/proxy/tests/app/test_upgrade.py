"""Hot upgrades of real processes: nothing is refused, cut off or counted twice."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def tools(request: pytest.FixtureRequest) -> ModuleType:
    """The conftest of this folder."""
    plugin = request.config.pluginmanager.getplugin(str(Path(__file__).with_name("conftest.py")))
    assert isinstance(plugin, ModuleType)
    return plugin


class Load:
    """Clients that keep their connection, and others that open one for each request, until told to stop."""

    def __init__(self, port: int, clients: int = 3) -> None:
        self.port = port
        self._answered: list[int] = []  # of one append each: threads add to a number by turns that get lost
        self.failures: list[str] = []
        self._over = threading.Event()
        kinds = [self._keep_alive, self._one_by_one]
        self._threads = [threading.Thread(target=kind) for kind in kinds for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _keep_alive(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._over.wait(0.01):
            self._ask(connection)
        connection.close()

    def _one_by_one(self) -> None:
        while not self._over.wait(0.01):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self._ask(connection)
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.request("GET", "/direct")
            response = connection.getresponse()
            if (response.status, response.read()) != (200, b"hi"):
                self.failures.append(str(response.status))
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            connection.close()
        self._answered.append(1)

    @property
    def answers(self) -> int:
        """How many requests are over."""
        return len(self._answered)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


@contextmanager
def under_load(port: int) -> Iterator[Load]:
    load = Load(port)
    try:
        yield load
    finally:
        load.stop()


def counter(proxy: Any, name: str) -> int:
    found = [line for line in proxy.admin("/stats")[1].splitlines() if line.startswith(f"{name}: ")]
    return int(found[0].partition(": ")[2])


def test_processes_succeed_each_other_under_load(start: Callable[..., Any], tools: ModuleType, tmp_path: Path) -> None:
    options = ("--handover-path", str(tmp_path / "handover"), "--drain-time-s", "2")
    config = tools.document(port=tools.free_port())
    proxy = start(config, *options)
    with under_load(proxy.port) as load:
        for epoch in (1, 2, 3):
            before, answers = proxy, load.answers
            proxy = start(config, *options)
            assert before.wait() == 0
            assert counter(proxy, "server.hot_restart_epoch") == epoch
            tools.wait_for(lambda answers=answers: load.answers > answers + 50)
    assert load.failures == []
    assert counter(proxy, "http.in.downstream_rq_2xx") == load.answers


def test_a_request_in_flight_is_finished_by_the_process_that_has_it(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    options = ("--handover-path", str(tmp_path / "handover"), "--drain-time-s", "30")
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        config = tools.document(upstream.getsockname()[1], port=tools.free_port())
        first = start(config, *options)
        client = http.client.HTTPConnection("127.0.0.1", first.port, timeout=30)
        client.request("GET", "/")
        asked, _ = upstream.accept()
        with asked:
            asked.recv(65536)
            second = start(config, *options)
            assert second.get("/direct") == (200, "hi")
            assert first.process.poll() is None
            asked.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"late")
        client.close()
        assert first.wait() == 0
        tools.wait_for(lambda: counter(second, "http.in.downstream_rq_2xx") == 2)


def test_pipes_and_ports_of_any_number_stay(start: Callable[..., Any], tools: ModuleType, tmp_path: Path) -> None:
    options = ("--handover-path", str(tmp_path / "handover"), "--drain-time-s", "0.2")
    config = tools.document()
    (listener,) = config["static_resources"]["listeners"]
    listener["additional_addresses"] = [{"address": {"pipe": {"path": str(tmp_path / "pipe"), "mode": 0o600}}}]
    first = start(config, *options)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "pipe"))
    port = int(first.admin("/listeners")[1].split("::")[1].splitlines()[0].rpartition(":")[2])
    second = start(config, *options)
    assert first.wait() == 0
    assert tools.request("127.0.0.1", port, "/direct") == (200, "hi")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "pipe"))
        client.sendall(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert second.process.poll() is None


def test_a_successor_that_cannot_start_leaves_all_as_it_was(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    options = ("--handover-path", str(tmp_path / "handover"), "--drain-time-s", "0.2")
    config = tools.document(port=tools.free_port())
    first = start(config, *options)
    with under_load(first.port) as load:
        bad = tools.document(port=1)
        bad["static_resources"]["listeners"][0]["name"] = "other"
        bad["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] = "203.0.113.1"
        broken = start(bad, *options, ready=False)
        assert broken.wait() == 1
        assert "cannot listen here" in broken.stderr
        second = start(config, *options)
        assert first.wait() == 0
    assert load.failures == []
    assert counter(second, "server.hot_restart_epoch") == 1


def test_sighup_starts_a_successor_with_the_same_command_line(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    config = tools.document(port=tools.free_port())
    config["admin"]["address"]["socket_address"]["port_value"] = tools.free_port()
    first = start(config, "--handover-path", str(tmp_path / "handover"), "--drain-time-s", "0.5")
    with under_load(first.port) as load:
        first.signal(signal.SIGHUP)
        assert first.wait() == 0
        assert counter(first, "server.hot_restart_epoch") == 1, "the admin port is the successor's now"
    assert load.failures == []
    assert first.admin("/quitquitquit", "POST")[0] == 200
    tools.wait_for(lambda: not (tmp_path / "handover").exists())


@contextmanager
def successor(config: dict[str, Any], folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that may never have an admin port, and its log."""
    path, log = folder / "successor.json", folder / "successor.log"
    path.write_text(json.dumps(config))
    with log.open("wb") as output:
        command = [sys.executable, "-m", "isthmus_proxy", "upgrade", "-c", str(path), *options]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()


def test_one_that_waits_for_the_control_plane_takes_nothing_over_and_can_be_stopped(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    options = ("--handover-path", str(tmp_path / "handover"))
    first = start(tools.document(port=tools.free_port()), *options)
    config = tools.with_ads(tools.free_port())
    for name in ("cds_config", "lds_config"):
        config["dynamic_resources"][name]["initial_fetch_timeout"] = "0.1s"
    with successor(config, tmp_path, *options) as (process, log):
        tools.wait_for(lambda: "serves on until the control plane has answered" in log.read_text())
        assert first.get("/direct") == (200, "hi")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert first.get("/direct") == (200, "hi")
    start(tools.document(port=first.port), *options)
    assert first.wait() == 0, "another one may come"


def test_one_that_gets_no_admin_port_serves_without(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    options = ("--handover-path", str(tmp_path / "handover"), "--drain-time-s", "0.2")
    port = tools.free_port()
    first = start(tools.document(port=port), *options)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tools.document(port=port)
        config["admin"]["address"]["socket_address"]["port_value"] = taken.getsockname()[1]
        with successor(config, tmp_path, *options) as (process, log):
            assert first.wait() == 0
            tools.wait_for(lambda: "serves without an admin port" in log.read_text())
            assert tools.request("127.0.0.1", port, "/direct") == (200, "hi")
            last = start(tools.document(port=port), *options)
            assert process.wait(30) == 0, "it can be succeeded"
            assert counter(last, "server.hot_restart_epoch") == 2


def run(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "isthmus_proxy", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_what_cannot_be_is_said(tools: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(tools.document()))
    socket_path = str(tmp_path / "handover")
    status, error = run("upgrade", "-c", str(path), "--handover-path", socket_path)
    assert (status, "no process serves there; start the first one with the command run" in error) == (1, True)
    status, error = run("upgrade", "-c", str(path))
    assert (status, "upgrade needs the socket of the process that it succeeds" in error) == (1, True)
    status, error = run("run", "-c", str(path), "--concurrency", "2", "--handover-path", socket_path)
    assert (status, "use --concurrency 1" in error) == (1, True)
    status, error = run("run", "-c", str(path), "--handover-path", str(tmp_path / "no" / "folder"))
    assert (status, "cannot be listened on: No such file or directory" in error) == (1, True)
