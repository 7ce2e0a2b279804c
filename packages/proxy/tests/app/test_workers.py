"""Several workers behind one port: one admin view, one drain, crashes mended, errors told once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from .conftest import PATIENCE, Proxy, Start, document, free_port, request, wait_for


def children(proxy: Proxy) -> list[int]:
    pid = proxy.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stat(proxy: Proxy, name: str) -> int:
    for line in proxy.admin("/stats")[1].splitlines():
        key, _, value = line.partition(": ")
        if key == name:
            return int(value)
    return 0


def test_the_admin_view_adds_up_what_the_workers_did(start: Start) -> None:
    proxy = start(document(), "--concurrency", "3")
    assert len(children(proxy)) == 3
    assert stat(proxy, "server.concurrency") == 3
    assert stat(proxy, "server.live") == 1
    assert stat(proxy, "listener_manager.total_listeners_active") == 1
    for number in range(30):
        assert proxy.get("/direct") == (200, "hi")
        assert wait_for(lambda: stat(proxy, "http.in.downstream_rq_2xx") >= number + 1)  # noqa: B023 - waited for at once
    assert stat(proxy, "http.in.downstream_rq_2xx") == 30
    text = proxy.admin("/stats/prometheus?filter=downstream_rq_time")[1]
    assert 'envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="in"} 30' in text
    assert proxy.get("/upstream")[0] == 503
    clusters = json.loads(proxy.admin("/clusters?format=json")[1])
    (host,) = clusters["cluster_statuses"][0]["host_statuses"]
    assert {"name": "cx_connect_fail", "value": "1"} in host["stats"]
    assert "::cx_connect_fail::1\n" in proxy.admin("/clusters")[1]
    info = json.loads(proxy.admin("/server_info")[1])
    assert info["command_line_options"]["concurrency"] == 3
    assert proxy.admin("/config_dump")[0] == 200
    assert proxy.admin("/nowhere")[0] == 404


def test_orders_reach_every_worker(start: Start) -> None:
    proxy = start(document(), "--concurrency", "2")
    assert proxy.admin("/healthcheck/fail", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (503, "DRAINING\n")
    assert proxy.admin("/healthcheck/ok", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (200, "LIVE\n")
    assert proxy.admin("/healthcheck/ok")[0] == 405
    assert proxy.admin("/quitquitquit", "POST")[0] == 200
    assert proxy.wait() == 0


def test_a_worker_that_crashes_is_started_again(start: Start) -> None:
    proxy = start(document(), "--concurrency", "2")
    before = children(proxy)
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(set(children(proxy)) - {before[0]}) == 2)
    wait_for(lambda: proxy.admin("/ready")[0] == 200)
    assert before[1] in children(proxy)
    assert "ended by signal 9; it is started again in 0.5 s" in proxy.stderr
    for _ in range(10):
        assert proxy.get("/direct") == (200, "hi")


def test_sigterm_drains_all_and_sigint_ends_all(start: Start) -> None:
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        proxy = start(document(), "--concurrency", "2")
        workers = children(proxy)
        proxy.signal(number)
        assert proxy.wait() == status
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_workers_end_with_their_parent(start: Start) -> None:
    proxy = start(document(), "--concurrency", "2")
    workers = children(proxy)
    proxy.process.kill()
    wait_for(lambda: not [pid for pid in workers if _runs(pid)])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def run(tmp_path: Path, config: dict[str, Any]) -> tuple[int, str]:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "isthmus_proxy", "run", "-c", str(path), "--concurrency", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stderr


def test_a_taken_port_is_told_once(tmp_path: Path) -> None:

    with socket.create_server(("127.0.0.1", free_port())) as taken:
        status, said = run(tmp_path, document(port=taken.getsockname()[1]))
    assert status == 1
    assert said.count("cannot listen here: Address already in use") == 1


def test_a_pipe_and_a_port_without_reuse_are_shared(start: Start, tmp_path: Path) -> None:
    config = document()
    (listener,) = config["static_resources"]["listeners"]
    listener["enable_reuse_port"] = False
    listener["additional_addresses"] = [{"address": {"pipe": {"path": str(tmp_path / "pipe")}}}]
    proxy = start(config, "--concurrency", "2")
    rows = proxy.admin("/listeners")[1].splitlines()
    assert [row.rpartition("::")[2] for row in rows][1] == str(tmp_path / "pipe")
    port = int(rows[0].rpartition(":")[2])

    for _ in range(10):
        assert request("127.0.0.1", port, "/direct") == (200, "hi")
