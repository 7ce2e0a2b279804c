from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def wait_for(condition: Callable[[], Any]) -> Any:
    """Poll until ``condition`` gives something true, and answer that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"not within {PATIENCE:g} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def document(upstream_port: int = 1, *, port: int = 0, access_log: Path | None = None) -> dict[str, Any]:
    """A bootstrap with one listener: ``/direct`` is answered by the proxy, all else goes upstream."""
    manager: dict[str, Any] = {
        "@type": HCM,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "name": "local",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"path": "/direct"},
                            "direct_response": {"status": 200, "body": {"inline_string": "hi"}},
                        },
                        {"match": {"prefix": "/"}, "route": {"cluster": "up"}},
                    ],
                }
            ],
        },
    }
    if access_log is not None:
        url = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        manager["access_log"] = [{"name": "file", "typed_config": {"@type": url, "path": str(access_log)}}]
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": _address("127.0.0.1", 0)},
        "static_resources": {
            "listeners": [
                {
                    "name": "web",
                    "address": _address("127.0.0.1", port),
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [_cluster("up", upstream_port)],
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address("127.0.0.1", port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def with_ads(port: int) -> dict[str, Any]:
    """A bootstrap that takes everything from a control plane on ``port``."""
    cluster = _cluster("xds", port)
    url = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": url, "explicit_http_config": {"http2_protocol_options": {}}}
    cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": _address("127.0.0.1", 0)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {"clusters": [cluster]},
    }


class Proxy:
    """A running ``isthmus-proxy`` process."""

    def __init__(self, directory: Path, config: dict[str, Any], *arguments: str) -> None:
        self.address_file = directory / "admin"
        path = directory / "bootstrap.json"
        path.write_text(json.dumps(config))
        self.stderr_path = directory / "stderr"
        command = [sys.executable, "-m", "isthmus_proxy", "run", "-c", str(path)]
        command += ["--admin-address-path", str(self.address_file), *arguments]
        with self.stderr_path.open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=errors, stderr=errors)
        wait_for(lambda: self.address_file.exists() or self.process.poll() is not None)

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        host, _, port = self.address_file.read_text().rpartition(":")
        return request(host, int(port), path, method)

    def wait_ready(self) -> None:
        wait_for(lambda: self.admin("/ready")[0] == 200)

    @property
    def port(self) -> int:
        (row,) = self.admin("/listeners")[1].splitlines()
        return int(row.rpartition(":")[2])

    def get(self, path: str) -> tuple[int, str]:
        return request("127.0.0.1", self.port, path)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def request(host: str, port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


Start = Callable[..., Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts proxies, and ends them with the test."""
    running: list[Proxy] = []

    def make(config: dict[str, Any], *arguments: str, ready: bool = True) -> Proxy:
        directory = tmp_path / f"proxy{len(running)}"
        directory.mkdir()
        proxy = Proxy(directory, config, *arguments)
        running.append(proxy)
        if ready:
            proxy.wait_ready()
        return proxy

    yield make
    for proxy in running:
        proxy.process.kill()
        proxy.process.wait()
