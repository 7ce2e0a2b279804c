"""A sidecar restarted while its control plane is away serves what it was sent last, says so, and follows again later."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.xds import world
from demo.bootstraps import ApiType, client_sidecar
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import ControlPlane, Proxy
from harness.ports import free_port

HOST = "reviews.example"


class Handler(http.server.BaseHTTPRequestHandler):
    """Says which port it serves."""

    def do_GET(self) -> None:
        text = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def services() -> Iterator[tuple[int, int]]:
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    yield servers[0].server_port, servers[1].server_port
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_a_restart_without_control_plane_serves(api_type: ApiType, services: tuple[int, int], tmp_path: Path) -> None:
    one, two = services
    port, plane_port = free_port(), free_port()
    store = world.store(tmp_path, world.service(HOST, one, protocol="HTTP"))
    cache = tmp_path / "cache"
    plane = ControlPlane(store, tmp_path, grpc=f"127.0.0.1:{plane_port}")
    bootstrap = client_sidecar("client", port, f"127.0.0.1:{plane_port}", api_type)

    def served_by(expected: int) -> bool:
        answer = fetch(f"127.0.0.1:{port}", headers={"host": HOST})
        return answer.status == 200 and answer.text == str(expected)

    with plane, Proxy(bootstrap, tmp_path, options=["--xds-cache-path", str(cache)]) as proxy:
        proxy.wait_ready()
        eventually(lambda: served_by(one))
        eventually(lambda: proxy.stat("xds_cache.write_success") > 0)
        plane.kill()
        proxy.kill()
        proxy.restart()
        proxy.wait_ready()
        assert served_by(one)
        ready = proxy.admin("/ready").text
        assert ready.startswith("LIVE\nlast good configuration of 2"), ready
        assert proxy.stat("xds_cache.serving") == 1
        assert proxy.stat("xds_cache.restored_resources") > 0
        world.write(tmp_path, world.service(HOST, two, protocol="HTTP"))
        plane.restart()
        eventually(lambda: served_by(two))
        assert proxy.admin("/ready").text == "LIVE\n"
        assert proxy.stat("xds_cache.serving") == 0
        assert cache.stat().st_mode & 0o777 == 0o600
