"""A disk that stalls, is full, or takes no more: every request is answered, lost lines are counted, and logging resumes."""

import http.client
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.ports import free_port

PATIENCE = 20.0
TYPE = "type.googleapis.com/envoy.extensions."
PADDING = "x" * 8000
REQUESTS = 700
"""With 8 kB a line these are more than the buffer of 4 MiB and a pipe hold together."""


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(port: int, log: str) -> dict[str, Any]:
    text = {"text_format_source": {"inline_string": f"%REQ(:PATH)% {PADDING}\n"}}
    logs = [
        {
            "name": "file",
            "typed_config": {"@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": log, "log_format": text},
        }
    ]
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "access_log": logs,
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
    }
    chains = [{"filters": [{"name": "hcm", "typed_config": manager}]}]
    return {
        "admin": {"address": address(0)},
        "static_resources": {"listeners": [{"name": "l", "address": address(port), "filter_chains": chains}]},
    }


class Sidecar:
    def __init__(self, log: Path | str, directory: Path) -> None:
        self.port = free_port()
        self.proxy = Proxy(bootstrap(self.port, str(log)), directory)
        self.proxy.wait_ready()

    def get(self, count: int, path: str = "/") -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        statuses = []
        for _ in range(count):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
        return statuses


@pytest.fixture
def sidecars(tmp_path: Path) -> Iterator[Callable[[Path | str], Sidecar]]:
    running: list[Sidecar] = []

    def start(log: Path | str) -> Sidecar:
        running.append(Sidecar(log, tmp_path))
        return running[-1]

    yield start
    for sidecar in running:
        sidecar.proxy.kill()


def test_a_pipe_that_nobody_reads_costs_lines_and_no_request(
    sidecars: Callable[[Path | str], Sidecar], tmp_path: Path
) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        sidecar = sidecars(fifo)
        assert sidecar.get(REQUESTS) == [200] * REQUESTS
        assert sidecar.proxy.stat("access_log_file.write_dropped") > 0
        assert sidecar.proxy.stat("filesystem.write_total_buffered") <= 4 * 1024 * 1024
        os.set_blocking(reader, True)
        seen = b""

        def drained() -> bool:
            nonlocal seen
            seen = (seen + os.read(reader, 1 << 20))[-10000:]
            return sidecar.proxy.stat("filesystem.write_total_buffered") == 0

        eventually(drained, every=0)
        assert sidecar.get(1, "/again") == [200]
        eventually(lambda: b"/again" in os.read(reader, 1 << 20))
    finally:
        os.close(reader)


def test_a_full_disk_costs_lines_and_no_request(sidecars: Callable[[Path | str], Sidecar]) -> None:
    sidecar = sidecars("/dev/full")
    assert sidecar.get(REQUESTS) == [200] * REQUESTS
    eventually(lambda: sidecar.proxy.stat("filesystem.write_failed") > 0)
    assert sidecar.get(1) == [200]
    assert sidecar.proxy.ready()


def test_a_file_that_may_not_grow_costs_lines_until_it_may(
    sidecars: Callable[[Path | str], Sidecar], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    sidecar = sidecars(log)
    pid = sidecar.proxy.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    assert sidecar.get(REQUESTS) == [200] * REQUESTS
    eventually(lambda: sidecar.proxy.stat("filesystem.write_failed") > 0)
    assert log.stat().st_size <= 1 << 20
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    eventually(lambda: sidecar.proxy.stat("filesystem.write_total_buffered") == 0)
    assert sidecar.get(1, "/again") == [200]
    eventually(lambda: b"/again" in log.read_bytes()[-10000:])
