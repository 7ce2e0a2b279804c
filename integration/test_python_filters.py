"""Filters in Python of installed packages, in the proxy as its users run it: the examples, in several workers, beside a broken one."""

from __future__ import annotations

import json
import socket
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy, module
from harness.origin import Origin
from harness.ports import free_port
from harness.process import run

EXAMPLES = Path(__file__).parent.parent / "packages" / "proxy" / "examples" / "filters"
BROKEN = """
from isthmus_proxy.extension import HttpFilter

class Broken(HttpFilter[dict]):
    async def on_request_headers(self, exchange, headers):
        if headers.get("x-break"):
            raise RuntimeError("broken")
"""


def install(name: str, entry_points: str, folder: Path) -> None:
    """What pip leaves of a package, beside its modules: a folder by which its entry points are found."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[isthmus_proxy.http_filters]\n{entry_points}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples, and a broken filter, where a new process finds them."""
    folder = tmp_path / "packages"
    folder.mkdir()
    paths = [str(folder)]
    for path in sorted(EXAMPLES.glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        points = project["entry-points"]["isthmus_proxy.http_filters"]
        install(project["name"].replace("-", "_"), "\n".join(f"{n} = {value}" for n, value in points.items()), folder)
        paths.append(str(path.parent / "src"))
    (folder / "broken_filter.py").write_text(BROKEN)
    install("broken_filter", "broken = broken_filter:Broken", folder)
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    return folder


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with Origin("first", "v1", tmp_path) as origin:
        yield origin


def python_filter(name: str, **fields: Any) -> dict[str, Any]:
    struct = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/isthmus.filters.http.python",
        "value": {"filter": name, **fields},
    }
    return {"name": name, "typed_config": struct}


def bootstrap(origin: Origin, port: int, *filters: dict[str, Any]) -> dict[str, Any]:
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": origin.port}}}
    variant_b = {
        "match": {"prefix": "/", "headers": [{"name": "x-variant", "string_match": {"exact": "b"}}]},
        "direct_response": {"status": 200, "body": {"inline_string": "variant b"}},
    }
    manager = {
        "@type": hcm,
        "stat_prefix": "test",
        "http_filters": [*filters, {"name": "router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [variant_b, {"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "c"}}],
                }
            ]
        },
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "l",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "c",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "c",
                        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    },
                }
            ],
        },
    }


class Collector:
    """Reads what request-audit sends, of all workers."""

    def __init__(self, expected: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._expected = expected
        self._streams: list[socket.socket] = []
        self._data: dict[int, bytes] = {}

    def lines(self) -> list[dict[str, Any]]:
        """What has come so far."""
        try:
            stream, _ = self._listener.accept()
            stream.settimeout(0.05)
            self._streams.append(stream)
        except TimeoutError:
            pass
        for number, stream in enumerate(self._streams):
            try:
                self._data[number] = self._data.get(number, b"") + stream.recv(65536)
            except TimeoutError:
                continue
        return [json.loads(line) for data in self._data.values() for line in data.split(b"\n")[:-1]]

    def close(self) -> None:
        for each in (*self._streams, self._listener):
            each.close()


def test_examples_work_in_several_workers(packages: Path, origin: Origin, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a key of the test's own")
    port, requests = free_port(), 60
    collector = Collector(requests)
    filters = [
        python_filter("request-audit", config={"collector": f"127.0.0.1:{collector.port}", "headers": ["x-number"]}),
        python_filter("broken"),
        python_filter("ab-cookie", config={"variants": {"a": 1, "b": 1}}),
        python_filter("header-signing", config={"key_file": str(key)}, timeout="0.5s"),
    ]
    options = ["--concurrency", "2", "--drain-time", "1"]
    with Proxy(bootstrap(origin, port, *filters), tmp_path, options=options) as proxy:
        proxy.wait_ready()

        def ask(number: int) -> tuple[int, str, str]:
            headers = {"x-number": str(number)} | ({"x-break": "1"} if number % 3 == 0 else {})
            response = fetch(f"127.0.0.1:{port}", "/echo", headers=headers)
            return response.status, response.header("set-cookie") or "", response.text

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(requests)))
        assert [status for status, _, _ in answers] == [500 if n % 3 == 0 else 200 for n in range(requests)]
        served = [answer for number, answer in enumerate(answers) if number % 3]
        assert {cookie[:9] for _, cookie, _ in served} == {"variant=a", "variant=b"}
        for _, cookie, text in served:
            assert (text == "variant b") == cookie.startswith("variant=b")
            assert cookie.startswith("variant=b") or "x-signature" in text
        seen = eventually(lambda: lines if len(lines := collector.lines()) == requests else None, what="the audit")
        assert sorted(int(line["headers"]["x-number"][0]) for line in seen) == list(range(requests))
        assert {line["details"] for line in seen} >= {"python_filter_error", "via_upstream"}
        assert proxy.stat("http.test.python.broken.errors") == requests // 3
        assert proxy.stat("http.test.python.request-audit.sent") == requests
    collector.close()


def test_a_filter_that_is_not_installed_is_refused_by_path(packages: Path, origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(origin, free_port(), python_filter("nobody"))))
    refused = run([*module("isthmus_proxy"), "validate", "-c", path])
    assert refused.returncode != 0
    assert "http_filters[0].typed_config.value.filter" in refused.stderr
    assert "installed: ab-cookie, broken, header-signing, request-audit, template" in refused.stderr
